"""Stand-ins for netstat and tcpdrop(8), on a BSD host with a few connections."""

import os
from pathlib import Path

from .install import write

_NETSTAT = """
import json, sys
assert sys.argv[1:] == ["--libxo", "json", "-n", "-p", "tcp"], sys.argv
def end(address, port):
    return {"address": address, "port": port}
def one(state, local, remote):
    return {"protocol": "tcp4", "local": local, "remote": remote, "tcp-state": state}
print(json.dumps({"statistics": {"socket": [
    one("LISTEN     ", end("*", "22"), end("*", "*")),
    one("ESTABLISHED", end("192.0.2.1", "22"), end("192.0.2.3", "4000")),
    one("ESTABLISHED", end("2001:db8::1", "22"), end("2001:db8::3", "4000")),
    one("ESTABLISHED", end("192.0.2.1", "80"), end("192.0.2.3", "4001")),
    one("TIME_WAIT  ", end("192.0.2.1", "22"), end("192.0.2.3", "4002")),
]}}))
"""


def install_netstat(directory: os.PathLike[str]) -> None:
    """Install a netstat that lists them."""
    write("netstat", _NETSTAT, directory)


def install_tcpdrop(directory: os.PathLike[str]) -> Path:
    """Install a tcpdrop; return the file of what it was to end."""
    log = Path(directory) / "dropped"
    text = f"import sys\nprint(*sys.argv[1:], file=open({str(log)!r}, 'a'))"
    write("tcpdrop", text, directory)
    return log
