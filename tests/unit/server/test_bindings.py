"""What finds libpcap: in a program of its own, for a module is imported once."""

import subprocess
import sys

import pytest

pytest.importorskip("scapy.libs.winpcapy")

_CACHE_WITHOUT = "from ctypes import util; util.find_library = lambda name: None\n"
"""As it is between the installation of a library and the next run of ldconfig."""

_NO_LIBRARY = """\
import ctypes
def none(name): raise OSError(f"{name}: cannot open shared object file")
ctypes.CDLL = none
"""


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_libpcap_is_found_before_the_linkers_cache_knows_it() -> None:
    done = python(f"{_CACHE_WITHOUT}import spassh_server.capture")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_ctypes_finds_is_as_it_was() -> None:
    done = python(
        "from ctypes import util; before = util.find_library\n"
        "import spassh_server.libpcap; print(util.find_library is before)"
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_a_host_without_libpcap_is_told_what_to_install() -> None:
    done = python(
        f"{_CACHE_WITHOUT}{_NO_LIBRARY}"
        "from spassh_server.cli import main; import sys; sys.exit(main(['run']))"
    )
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error == "spasshd: error: libpcap is not installed"
    assert hint.startswith("spasshd: hint: apt install libpcap0.8 ")
