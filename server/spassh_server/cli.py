"""spasshd: the command line. Each verb has its module in `verbs`."""

import argparse
import os
import sys
from importlib import import_module

from spassh import __version__

from . import events
from .config import BACKENDS, DEFAULT_PATH
from .ports import Port, parse_port
from .toml import ConfigError

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_NOT_RUNNING = 3

_EPILOG = """exit status: 0 success, 1 error, 2 usage, 3 spasshd is not running.
The manual: spasshd(8), spasshd.toml(5)."""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    # Whatever we were started with, nobody else may write what we make.
    os.umask(0o022)
    options = _parser().parse_args(arguments)
    try:
        verb = import_module(f".verbs.{options.module}", __package__)
        status: int = verb.run(options)
    except ConfigError as error:
        events.error(error, error.hint)
        return EXIT_ERROR
    except ImportError as error:
        events.error(
            f"{error.name or 'a module'} is not installed",
            "apt install python3-scapy, or pip install 'spassh[server]'",
        )
        return EXIT_ERROR
    except PermissionError as error:
        events.error(f"{error.filename}: permission denied", "run this as root")
        return EXIT_ERROR
    except OSError as error:
        events.error(f"{error.filename or 'spasshd'}: {error.strerror or error}")
        return EXIT_ERROR
    return status


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
        help="add, list or remove users",
        description="Add, list or remove users. Each has a file in users_dir.",
    )
    actions = user.add_subparsers(title="verbs", metavar="VERB", required=True)
    add = _verb(actions, "add", "user_add", "add a user and print the invite")
    add.add_argument("name", metavar="NAME", help="the user's name")
    add.add_argument(
        "--key",
        metavar="PUBLIC",
        help="the client's public key, from 'spassh keygen' (default: make a key and"
        " put it into the invite)",
    )
    add.add_argument(
        "--address",
        default="",
        metavar="NAME",
        help="the server's name or address in the invite (default: from the"
        " configuration, else the host's name)",
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
    _verb(actions, "list", "user_list", "list the users and their ports")
    remove = _verb(actions, "remove", "user_remove", "remove a user and the keys")
    remove.add_argument("name", metavar="NAME", help="the user's name")

    _verb(verbs, "check", "check", "find mistakes in configuration and users")
    _verb(verbs, "run", "run", "run the daemon in the foreground")
    status = _verb(verbs, "status", "status", "show the daemon's state and live grants")
    status.add_argument("--json", action="store_true", help="as JSON on one line")
    _verb(verbs, "reload", "reload", "take changed users over, as SIGHUP does")
    stop = _verb(verbs, "stop", "stop", "end the daemon; the drop stays in place")
    stop.add_argument(
        "--open",
        action="store_true",
        help="take the drop and everything else out of the firewall as well",
    )
    return parser


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


def _port(text: str) -> Port:
    try:
        return parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
