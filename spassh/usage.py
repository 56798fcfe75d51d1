"""The command line of every verb, for argparse. spassh(1) says more about each."""

import argparse  # noqa: TID253 - `proxy` does not come by here
from typing import NoReturn  # noqa: TID253 - and argparse has loaded more

from . import __version__
from .errors import UsageError


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in our words, and on which page to look."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"'{self.prog} --help' shows what there is")


def parser() -> _Parser:
    """Return the parser of the whole command line."""
    top = _Parser(
        prog="spassh",
        description="Single Packet Authorization for the SSH you already use.",
        epilog="spassh(1) says more. ssh runs 'spassh proxy'; you run the others once.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"spassh {__version__}")
    verbs = top.add_subparsers(
        dest="verb", metavar="VERB", required=True, title="verbs"
    )
    _add_proxy(verbs)
    _add_enroll(verbs)
    _add_rotate(verbs)
    _add_doctor(verbs)
    _add_import(verbs)
    _add_import_fwknop(verbs)
    _add_keygen(verbs)
    _add_knock(verbs)
    _add_run(verbs)
    _add_lock(verbs)
    _add_list(verbs)
    _add_show(verbs)
    _add_forget(verbs)
    return top


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line of a verb other than `proxy`.

    Raises:
        UsageError: it is wrong.
    """
    end = len(arguments)
    if arguments[:1] == ["run"] and "--" in arguments:
        # argparse would take a second "--", which belongs to the command, for its own.
        end = arguments.index("--")
    options = parser().parse_args(arguments[:end])
    if options.verb == "run":
        options.command += arguments[end + 1 :]
    return options


_Verbs = argparse._SubParsersAction  # noqa: SLF001 - argparse has no public name for it


def _add_proxy(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "proxy",
        help="connect ssh to a port behind spassh: its ProxyCommand",
        description="Knock if a profile names HOST, connect, and hand the connection"
        " to ssh. Set 'ProxyCommand spassh proxy -- %h %p' in ssh_config(5).",
        allow_abbrev=False,
    )
    verb.add_argument(
        "--fdpass",
        action="store_true",
        help="hand over the socket itself; needs 'ProxyUseFdpass yes' in ssh_config",
    )
    verb.add_argument(
        "-v", "--verbose", action="store_true", help="tell the story, with times"
    )
    verb.add_argument("host", metavar="HOST", help="where to connect to: %%h for ssh")
    verb.add_argument("port", metavar="PORT", help="TCP port: %%p for ssh")
    verb.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="the host as you wrote it, which a profile may name as well: %%n for ssh",
    )
    verb.add_argument(
        "login",
        metavar="LOGIN",
        nargs="?",
        help="whom to log in as, for profiles that ask for it: %%r for ssh",
    )


def _add_enroll(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "enroll",
        help="make yourself known to a server, over the SSH that works now",
        description="Log in to HOST with ssh, register a key with spasshd there, write"
        " the profile, tell ssh, and knock. To do it again does no harm.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "-p", dest="port", metavar="PORT", default="", help="the port of sshd there"
    )
    verb.add_argument(
        "--name",
        metavar="NAME",
        default="",
        help="what spasshd calls you; by default your login and the name of this"
        " computer",
    )
    verb.add_argument(
        "--gnupg",
        metavar="KEYID",
        default="",
        help="sign each request with this OpenPGP key of yours as well",
    )
    verb.add_argument(
        "--yes",
        action="store_true",
        help="add an Include to ~/.ssh/config without asking",
    )
    verb.add_argument(
        "-v", "--verbose", action="store_true", help="tell the story, with times"
    )
    verb.add_argument(
        "host", metavar="[LOGIN@]HOST", help="the server, as you give it to ssh"
    )


def _add_rotate(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "rotate",
        help="replace your key for a server by a fresh one",
        description="Log in to HOST with ssh, give spasshd there a fresh key, see that"
        " it works, and have the old one forgotten. To do it again goes on with what"
        " was interrupted.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "-p", dest="port", metavar="PORT", default="", help="the port of sshd there"
    )
    verb.add_argument(
        "-v", "--verbose", action="store_true", help="tell the story, with times"
    )
    verb.add_argument(
        "host", metavar="[LOGIN@]HOST", help="the server, as you give it to ssh"
    )


def _add_doctor(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "doctor",
        help="say why a login does not work or is slow, and what mends it",
        description="Look at everything that a login to HOST needs, knock, and ask the"
        " server if ssh gets in without a question.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "-p", dest="port", metavar="PORT", default="", help="the port of sshd there"
    )
    verb.add_argument("--json", action="store_true", help="print JSON on one line")
    verb.add_argument(
        "-v", "--verbose", action="store_true", help="tell the story, with times"
    )
    verb.add_argument(
        "host", metavar="[LOGIN@]HOST", help="the server, as you give it to ssh"
    )


def _add_import(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "import",
        help="take an invite in: the server's keys, and where to knock",
        description="Read an invite, and write the profile of its server.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default="-",
        help="where the invite is; standard input if it is '-' or left out",
    )
    verb.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        help="another name or address of the server, as you give it to ssh;"
        " may be repeated",
    )
    verb.add_argument(
        "--force",
        action="store_true",
        help="take the profile over, even if it belongs to another server or another"
        " user; replace it if it is broken",
    )
    verb.add_argument(
        "--passphrase-file",
        metavar="FILE",
        default="",
        help="a private file with the passphrase of a sealed invite, which is asked for"
        " on the terminal otherwise",
    )


def _add_import_fwknop(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "import-fwknop",
        help="make profiles of the stanzas of fwknop's client",
        description="Write a profile for each stanza of FILE, and tell what has no"
        " counterpart in one.",
        allow_abbrev=False,
    )
    verb.add_argument("file", metavar="FILE", help="the stanzas, mostly ~/.fwknoprc")


def _add_keygen(verbs: "_Verbs[_Parser]") -> None:
    verbs.add_parser(
        "keygen",
        help="make a key of your own, and print its public half",
        description="Make the client's own key, for invites that carry none, and"
        " print its public half.",
        allow_abbrev=False,
    )


def _add_knock(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "knock",
        help="ask a server to open a port, for what is not ssh",
        description="Knock once at each address of the server that a profile names. No"
        " answer comes back.",
        allow_abbrev=False,
    )
    verb.add_argument(
        "--access",
        metavar="PORT",
        default="tcp/22",
        help="the port to open, such as tcp/443 or udp/60001; tcp/22 if left out",
    )
    verb.add_argument(
        "--for",
        dest="lifetime",
        metavar="TIME",
        default="",
        help="how long to keep it open, such as 30s or 5m; the server has its own"
        " limit, and its own value if this is left out",
    )
    verb.add_argument(
        "--allow",
        metavar="ADDRESS",
        default="",
        help="whom to let in, if the server permits to name another address than the"
        " one that the packet comes from",
    )
    verb.add_argument(
        "--resolve-url",
        metavar="URL",
        default="",
        help="ask there for the address that this computer has outside, and have that"
        " let in",
    )
    verb.add_argument("host", metavar="HOST", help="a name or address of the profile")


def _add_lock(verbs: "_Verbs[_Parser]") -> None:
    lock = verbs.add_parser(
        "lock",
        help="have a server drop its SSH port for everybody without a knock",
        description="Have spasshd on HOST drop the port on trial, knock and log in"
        " anew, and confirm it. Without that, the server opens the port again by"
        " itself after two minutes.",
        allow_abbrev=False,
    )
    unlock = verbs.add_parser(
        "unlock",
        help="have a server open its SSH port for everybody again",
        description="Have spasshd on HOST drop the port no more.",
        allow_abbrev=False,
    )
    for verb in (lock, unlock):
        verb.add_argument(
            "-p", dest="port", metavar="PORT", default="", help="the port of sshd there"
        )
        verb.add_argument(
            "-v", "--verbose", action="store_true", help="tell the story, with times"
        )
        verb.add_argument(
            "host", metavar="[LOGIN@]HOST", help="the server, as you give it to ssh"
        )


def _add_list(verbs: "_Verbs[_Parser]") -> None:
    verbs.add_parser(
        "list",
        help="print the profiles: file, user and hosts",
        description="Print a line for each profile: its file, the user and the hosts,"
        " with tabs between.",
        allow_abbrev=False,
    )


def _add_show(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "show",
        help="print what is known of a server, without the secrets",
        description="Print the profile for HOST, without the secrets.",
        allow_abbrev=False,
    )
    verb.add_argument("host", metavar="HOST", help="a name or address of the profile")


def _add_forget(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "forget",
        help="remove the profile of a server",
        description="Remove the profile that names HOST. The server still knows the"
        " key.",
        allow_abbrev=False,
    )
    verb.add_argument("host", metavar="HOST", help="a name or address of the profile")


def _add_run(verbs: "_Verbs[_Parser]") -> None:
    verb = verbs.add_parser(
        "run",
        usage="%(prog)s [-h] HOST -- PROGRAM [ARGUMENT ...]",
        help="ask a server to run a command that its administrator lets you run",
        description="Send a command to the server that a profile names. No answer comes"
        " back: the server's log tells what became of it.",
        allow_abbrev=False,
    )
    verb.add_argument("host", metavar="HOST", help="a name or address of the profile")
    verb.add_argument(
        "command",
        metavar="COMMAND",
        nargs="*",
        help="an absolute path and arguments, after '--'",
    )
