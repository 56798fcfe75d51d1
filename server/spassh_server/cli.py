"""spasshd: the command line. Each verb has its module in `verbs`."""

import argparse
import os
import sys
from datetime import UTC, datetime
from importlib import import_module
from ipaddress import ip_address

from spassh import __version__

from . import events
from .config import BACKENDS, DEFAULT_PATH
from .limits import MAX_TRIAL_SECONDS, MIN_TRIAL_SECONDS, TRIAL_SECONDS
from .openpgp.gpg import GpgError
from .ports import Port, parse_port
from .toml import ConfigError
from .verbs.errors import VerbError

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 4
"""Of `run`, after 'spasshd stop'. By it a service manager can tell that from a signal
of somebody who did not mean to leave the ports shut to everybody."""
EXIT_NOT_PERMITTED = 5
"""Of `stop --open`, where the kernel lets nobody change the packet filter: in a
container without a network of its own, which has put nothing in there."""

_EPILOG = """exit status: 0 success, 1 error, 2 usage, 3 spasshd is not running,
4 run was ended by 'spasshd stop', 5 'stop --open' may not change the packet
filter, 130 interrupted.
The manual: spasshd(8), spasshd.toml(5)."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    # Whatever we were started with, nobody else may write what we make.
    os.umask(0o022)
    options = _parser().parse_args(arguments)
    try:
        verb = import_module(f".verbs.{options.module}", __package__)
        status: int = verb.run(options)
        # Here, where it can still be told from an error of ours.
        sys.stdout.flush()
    except (ConfigError, GpgError, VerbError) as error:
        events.error(error, error.hint)
        return error.status if isinstance(error, VerbError) else EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ImportError as error:
        events.error(
            f"{error.name or 'a module'} is not installed",
            "apt install libpcap0.8 python3-scapy python3-psutil,"
            " or pip install 'spassh[server]'",
        )
        return EXIT_ERROR
    except OSError as error:
        _tell(error)
        return EXIT_ERROR
    return status


def _tell(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has seen enough. The interpreter would say it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    elif isinstance(error, PermissionError):
        events.error(f"{error.filename}: permission denied", "run this as root")
    else:
        reason = error.strerror or str(error)
        events.error(f"{error.filename}: {reason}" if error.filename else reason)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spasshd",
        description="Opens the firewall for clients that prove who they are with one"
        "\npacket, and stays silent to everybody else.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"spasshd {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    init = _verb(verbs, "init", "init", "make the keys and a commented spasshd.toml")
    init.add_argument(
        "--protect",
        action="append",
        default=[],
        type=_port,
        metavar="PORT",
        help="drop this port, such as tcp/22, for everybody without a grant;"
        " may be repeated (default: protect nothing)",
    )
    init.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="the packet filter to drive (default: %(default)s)",
    )
    init.add_argument(
        "--address",
        default="",
        metavar="NAME",
        help="name or address for invites (default: the host's name)",
    )

    user = verbs.add_parser(
        "user",
        help="add, rotate, list or remove users",
        description="Add, rotate, list or remove users. Each has a file in users_dir.",
    )
    actions = user.add_subparsers(title="verbs", metavar="VERB", required=True)
    add = _verb(actions, "add", "user_add", "add a user and print the invite")
    add.add_argument("name", metavar="NAME", help="the user's name")
    _add_invite_options(add)
    add.add_argument(
        "--beside",
        default="",
        metavar="PUBLIC",
        help="add the key to a user who is there already, and has this key",
    )
    add.add_argument(
        "--port",
        action="append",
        default=[],
        type=_port,
        metavar="PORT",
        help="a port the user may reach, such as tcp/22; may be repeated"
        " (default: grant_ports of the configuration)",
    )
    add.add_argument(
        "--gnupg",
        default="",
        metavar="FILE",
        help="have requests signed by the OpenPGP public key in this file, or on"
        " standard input if it is -; the server's is printed behind the invite",
    )
    rotate = _verb(
        actions, "rotate", "user_rotate", "give a user a new key, and end the old ones"
    )
    rotate.add_argument("name", metavar="USER", help="the user's name")
    _add_invite_options(rotate)
    rotate.add_argument(
        "--overlap",
        type=_days,
        default=7,
        metavar="DAYS",
        help="how long the old keys go on (default: %(default)s)",
    )
    _verb(actions, "list", "user_list", "list the users and their ports")
    remove = _verb(actions, "remove", "user_remove", "remove a user and the keys")
    remove.add_argument("name", metavar="USER", help="the user's name")
    remove.add_argument(
        "--key",
        default="",
        metavar="PUBLIC",
        help="remove this one of the user's keys, and nothing else",
    )

    moving = _verb(
        verbs, "import-fwknop", "import_fwknop", "make users of fwknopd's access.conf"
    )
    moving.add_argument(
        "directory",
        metavar="DIRECTORY",
        help="where fwknopd.conf and access.conf are, such as /etc/fwknop",
    )
    _verb(verbs, "check", "check", "find mistakes in configuration and users")
    doctor = _verb(
        verbs, "doctor", "doctor", "look for what keeps people out, or lets them in"
    )
    doctor.add_argument("--json", action="store_true", help="print JSON on one line")
    explain = _verb(verbs, "explain", "explain", "say what would happen to a packet")
    explain.add_argument(
        "packet",
        metavar="PACKET",
        help="a file of captured packets, - for one on standard input, or the bytes of"
        " one datagram in hexadecimal",
    )
    explain.add_argument(
        "--source",
        type=_address,
        default=b"",
        metavar="ADDRESS",
        help="where the packet came from, instead of what the file says",
    )
    explain.add_argument(
        "--source-port",
        type=_number,
        metavar="PORT",
        help="the UDP port that it came from",
    )
    explain.add_argument(
        "--now",
        type=_moment,
        metavar="TIME",
        help="judge it at this time, such as 2030-01-31T12:00:00Z, or @ and seconds"
        " since 1970 (default: when it was captured)",
    )
    explain.add_argument(
        "--json", action="store_true", help="print a line of JSON for each packet"
    )
    run = _verb(verbs, "run", "run", "run the daemon in the foreground")
    run.add_argument(
        "--pcap",
        default="",
        metavar="FILE",
        help="take the packets from a file, or from standard input if it is -, and"
        " end when they are answered",
    )
    status = _verb(verbs, "status", "status", "show the daemon's state and live grants")
    status.add_argument("--json", action="store_true", help="print JSON on one line")
    metrics = _verb(verbs, "metrics", "metrics", "print the state for Prometheus")
    metrics.add_argument(
        "--output",
        default="",
        metavar="FILE",
        help="replace this file instead, for the textfile collector of node_exporter",
    )
    _verb(verbs, "reload", "reload", "take changed users over, as SIGHUP does")
    revoke = _verb(
        verbs, "revoke", "revoke", "take back the live grants of a user or an address"
    )
    revoke.add_argument(
        "target", metavar="USER|ADDRESS", help="a user's name, or an address"
    )
    revoke.add_argument(
        "--kill",
        action="store_true",
        help="end the connections as well that were made with such grants",
    )
    flush = _verb(verbs, "flush", "revoke", "take back all live grants")
    flush.set_defaults(target=None, kill=False)
    _add_protect(verbs)
    stop = _verb(verbs, "stop", "stop", "end the daemon; the drop stays in place")
    stop.add_argument(
        "--open",
        action="store_true",
        help="take the drop and everything else out of the packet filter as well",
    )
    return parser


def _add_protect(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs that change what is dropped."""
    protect = _verb(
        verbs, "protect", "protect", "drop ports, on trial until that is confirmed"
    )
    protect.add_argument(
        "ports",
        nargs="*",
        type=_port,
        metavar="PORT",
        help="a port that is in grant_ports, such as tcp/22",
    )
    how = protect.add_mutually_exclusive_group()
    how.add_argument(
        "--confirm-within",
        type=_trial,
        default=TRIAL_SECONDS,
        metavar="TIME",
        help="roll back after this time, such as 90s or 10m, if nobody confirms"
        " (default: 2m)",
    )
    how.add_argument(
        "--now", action="store_true", help="for good, and without any confirmation"
    )
    how.add_argument(
        "--roll-back", action="store_true", help="end the trial that is under way"
    )
    _verb(verbs, "confirm", "confirm", "make what is on trial last")
    unprotect = _verb(
        verbs, "unprotect", "unprotect", "do not drop these ports any more"
    )
    unprotect.add_argument(
        "ports", nargs="+", type=_port, metavar="PORT", help="a port, such as tcp/22"
    )


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    module: str,
    help_text: str,
) -> argparse.ArgumentParser:
    description = f"{help_text[0].upper()}{help_text[1:]}."
    parser = verbs.add_parser(name, help=help_text, description=description)
    parser.set_defaults(module=module)
    parser.add_argument(
        "--config",
        default=DEFAULT_PATH,
        metavar="PATH",
        help="the configuration file (default: %(default)s)",
    )
    return parser


def _add_invite_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--key",
        metavar="PUBLIC",
        help="the client's public key, from 'spassh keygen' (default: make a key and"
        " put it into the invite)",
    )
    verb.add_argument(
        "--address",
        default="",
        metavar="NAME",
        help="the server's name or address in the invite (default: from the"
        " configuration, else the host's name)",
    )
    verb.add_argument(
        "--valid-for",
        type=lambda text: _days(text, 1),
        default=0,
        metavar="DAYS",
        help="end the key that is made after so many days, unless the client has"
        " replaced it (default: it has no end)",
    )
    seal = verb.add_mutually_exclusive_group()
    seal.add_argument(
        "--passphrase",
        action="store_true",
        help="seal the invite with a passphrase, which is asked for on the terminal",
    )
    seal.add_argument(
        "--passphrase-file",
        default="",
        metavar="FILE",
        help="seal it with the first line of a file that nobody else can read",
    )
    verb.add_argument(
        "--qr",
        action="store_true",
        help="show the invite on the terminal as a QR code as well",
    )


def _port(text: str) -> Port:
    try:
        return parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _address(text: str) -> bytes:
    try:
        return ip_address(text).packed
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected an address") from error


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text[:6]) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError("expected a port from 0 to 65535")


def _moment(text: str) -> int:
    """Read a time as milliseconds since 1970-01-01 UTC."""
    try:
        if text.startswith("@"):
            moment = datetime.fromtimestamp(float(text[1:]), UTC)
        else:
            moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return max(0, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        pass
    raise argparse.ArgumentTypeError("expected a time with its offset from UTC")


def _trial(text: str) -> int:
    """Read how long a trial is, in seconds."""
    number, unit = text.rstrip("sm"), text.lstrip("0123456789")
    if number.isascii() and number.isdecimal() and unit in {"", "s", "m"}:
        seconds = int(number) * (60 if unit == "m" else 1) if len(number) < 6 else 0
        if MIN_TRIAL_SECONDS <= seconds <= MAX_TRIAL_SECONDS:
            return seconds
    raise argparse.ArgumentTypeError("expected 10s to 60m")


def _days(text: str, least: int = 0) -> int:
    if text.isascii() and text.isdecimal() and least <= int(text[:5]) <= 3650:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number of days from {least} to 3650")


if __name__ == "__main__":
    sys.exit(main())
