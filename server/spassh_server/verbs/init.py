"""spasshd init: the keys and a commented spasshd.toml."""

import os
from argparse import Namespace
from hashlib import blake2s

import psutil

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.errors import TextFormError
from spassh.protocol.keys import PUBLIC, SECRET, encode_key
from spassh.protocol.limits import DEFAULT_KNOCK_PORT
from spassh.protocol.names import check_host

from .. import events
from ..accounts import account_for_new_configuration
from ..config import DEFAULT_MARK, DEFAULT_PATH
from ..doctor.sockets import read_sockets
from ..files import write_new
from ..ports import Port

_TEMPLATE = """\
# spasshd.toml: see spasshd.toml(5). 'spasshd check' finds mistakes in it.
# Paths are relative to the directory of this file. A change needs a restart of
# spasshd; users (users_dir) are taken over by 'spasshd reload'.

# Ports dropped for everybody without a grant. Empty: nothing is protected, and the
# daemon only lets its users through a firewall that drops already. 'spassh lock' and
# 'spasshd protect' change this line, without a restart and without locking you out.
protect = [{protect}]

# The packet filter: "nftables", "iptables", or "auto" for the first that works.
backend = "{backend}"

# The most that any user can be granted, whatever a request asks for.
grant_ports = [{grant_ports}]
lifetime = 15           # seconds, when a request leaves it to us
max_lifetime = 300      # seconds
max_grants = 4096       # at the same time

# Where packets are captured, and on which UDP port. Nothing listens on that port; use
# one that no service of this machine uses.
interfaces = ["any"]
knock_port = {knock_port}

# What invites call this server. Without it: the host's name.
{address}

# The account that reads the network, without any privilege. A number needs no account.
user = "{user}"

# What the tables, chains and sets of this daemon are called. Two daemons on one machine
# need two names and two marks. The mark is one bit of the packet mark; it tells other
# firewalls on this machine that a packet was granted.
firewall_name = "{name}"
mark = {mark:#x}

key_file = "server.key"
users_dir = "users.d"
state_dir = "{state}"
run_dir = "{run}"
gnupg_dir = "{gnupg}"
"""


def run(options: Namespace) -> int:
    """Write the files, or nothing if one of them exists."""
    path = os.path.abspath(options.config)
    directory = os.path.dirname(path)
    key_file = os.path.join(directory, "server.key")
    for existing in (path, key_file):
        if os.path.lexists(existing):
            events.error(f"{existing} exists already", "move it away to begin anew")
            return 1
    try:
        address = check_host(options.address) if options.address else ""
    except TextFormError as error:
        events.error(error)
        return 2
    os.makedirs(os.path.join(directory, "users.d"), mode=0o700, exist_ok=True)
    knock_port = _free_knock_port()
    secret = os.urandom(32)
    write_new(key_file, encode_key(SECRET, secret) + "\n")
    try:
        write_new(path, _configuration(options, path, address, knock_port))
    except BaseException:
        # Half an installation would be in the way of the next try.
        os.unlink(key_file)
        raise
    print(f"configuration: {path}")
    print(f"server key: {encode_key(PUBLIC, PrivateKey(secret).public)}")
    if knock_port != DEFAULT_KNOCK_PORT:
        text = f"knock_port is {knock_port}: a program of this host has the usual one"
        events.say("note", text=text)
    if not options.protect:
        events.say("note", text="nothing is protected yet: see 'protect'")
    return 0


def _free_knock_port() -> int:
    """Return the usual port, or the next one that no program of this host has.

    It is dropped as soon as the daemon runs, and may be where an fwknopd gets the
    packets of everybody who has no other way in.
    """
    try:
        listeners, _ = read_sockets(())
    except (OSError, psutil.Error):
        return DEFAULT_KNOCK_PORT  # such as in a chroot without /proc
    taken = {one.port for one in listeners}
    numbers = range(DEFAULT_KNOCK_PORT, 1 << 16)
    free = (one for one in numbers if Port(17, one) not in taken)
    return next(free, DEFAULT_KNOCK_PORT)


def _configuration(
    options: Namespace, path: str, address: str, knock_port: int = DEFAULT_KNOCK_PORT
) -> str:
    standard = path == DEFAULT_PATH
    # Two daemons must share neither a table nor a mark; the path tells them apart.
    digest = blake2s(path.encode(), digest_size=3)
    # One of the bits 8 to 28: the lowest are what people use by hand.
    mark = DEFAULT_MARK if standard else 1 << (8 + digest.digest()[0] % 21)
    ports = options.protect or ["tcp/22"]
    return _TEMPLATE.format(
        protect=", ".join(f'"{port}"' for port in options.protect),
        grant_ports=", ".join(f'"{port}"' for port in ports),
        backend=options.backend,
        address=f'address = "{address}"'
        if address
        else '# address = "server.example.org"',
        knock_port=knock_port,
        mark=mark,
        user=account_for_new_configuration(),
        name="spassh" if standard else f"spassh-{digest.hexdigest()}",
        state="/var/lib/spassh" if standard else "state",
        run="/run/spassh" if standard else "run",
        gnupg="/var/lib/spassh-gnupg" if standard else "gnupg",
    )
