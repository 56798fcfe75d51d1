"""The program `spassh`: which verb it is, and the clocks for all of them.

`proxy` runs at each login and is told from the others before argparse is imported. A
verb's module is imported when it is that verb's turn.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from .errors import ProfileError, SpasshError, UsageError
from .patterns import Wanted
from .ui import show, silent, storyteller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_PROXY_HINT = "usage: spassh proxy [--fdpass] [-v] HOST PORT [NAME [LOGIN]]"

_INTERRUPTED = 130
"""What the shell makes of SIGINT."""
_KILLED = 128
"""And of any signal, with its number added."""


def main() -> int:
    """Run the verb on the command line, and return the exit code."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["proxy"] and not _asks_for_help(arguments):
            _proxy(arguments[1:])
        return _other_verb(arguments)
    except BrokenPipeError:
        return _nobody_reads()
    except SpasshError as error:
        show(error)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED


def _nobody_reads() -> int:
    """End because whoever read our output has seen enough, and say nothing about it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return SpasshError.exit_code


def _proxy(arguments: list[str]) -> NoReturn:
    """Run `spassh proxy`, and leave without an orderly end of the interpreter.

    ssh waits for our exit, and the orderly end takes 5 to 10 ms. There is nothing to
    flush: nothing on this path writes through a buffer.
    """
    began = time.monotonic()
    # Looking for garbage among freshly imported modules would take up to 4 ms.
    gc.disable()
    code = 0
    try:
        _occupy_standard_descriptors()
        from .proxy import Clocks, proxy

        wanted, port, fdpass, verbose = proxy_arguments(arguments)
        tell = storyteller(time.monotonic, began) if verbose else silent
        proxy(wanted, port, Clocks(time.monotonic, _utc_ms), tell, fdpass=fdpass)
    except SpasshError as error:
        show(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    os._exit(code)


def _asks_for_help(arguments: list[str]) -> bool:
    # What comes after "--" is a host and a port, whatever it looks like.
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return not {"-h", "--help"}.isdisjoint(arguments[:end])


def proxy_arguments(arguments: list[str]) -> tuple[Wanted, int, bool, bool]:
    """Return whom to reach, the port, and whether `--fdpass` and `-v` are set.

    By hand, for argparse alone would take as long as all the rest of our own code.

    Raises:
        UsageError: this is no command line of `spassh proxy`.
    """
    flags, words = set(), []
    for at, argument in enumerate(arguments):
        if argument == "--":
            words += arguments[at + 1 :]
            break
        if argument.startswith("-"):
            flags.add(argument)
        else:
            words.append(argument)
    for unknown in sorted(flags - {"--fdpass", "-v", "--verbose"}):
        raise UsageError(f"unknown option {unknown}", _PROXY_HINT)
    if not 2 <= len(words) <= 4 or not words[0]:
        raise UsageError("proxy takes a host and a port", _PROXY_HINT)
    host, port, *more = words
    if host.startswith("-"):
        # It would be an option to the next program that is told of it.
        raise UsageError(f"not a host: {host}", "no host's name begins with '-'")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not (digits and 0 < int(port) < 1 << 16):
        raise UsageError(f"not a port: {port}", "a port is a number from 1 to 65535")
    verbose = bool(flags & {"-v", "--verbose"})
    return Wanted(host, *more), int(port), "--fdpass" in flags, verbose


def _other_verb(arguments: list[str]) -> int:
    from .usage import parse

    options = parse(arguments)
    _end_in_order()
    code = _VERBS[options.verb](options) or 0
    # Here, where it can still be told from an error of ours.
    sys.stdout.flush()
    return code


def _end_in_order() -> None:
    """Have these signals end us as Ctrl-C does, so that nothing is left behind.

    Enrolling and locking have a connection of ssh to close, and a trial to roll back.
    """
    import signal

    def end(number: int, _: object) -> NoReturn:
        raise SystemExit(_KILLED + number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has one of them
            signal.signal(getattr(signal, name), end)


def _enroll(options: Any) -> None:
    from .proxy import Clocks
    from .verbs.enroll import run
    from .verbs.ssh import parse_target

    tell = storyteller(time.monotonic, time.monotonic()) if options.verbose else silent
    target = parse_target(options.host, options.port)
    clocks = Clocks(time.monotonic, _utc_ms)
    run(target, options.name, clocks, tell, yes=options.yes, gnupg=options.gnupg)


def _lock(options: Any) -> None:
    from .proxy import Clocks
    from .verbs.lock import lock, unlock
    from .verbs.ssh import parse_target

    tell = storyteller(time.monotonic, time.monotonic()) if options.verbose else silent
    target = parse_target(options.host, options.port)
    run = lock if options.verb == "lock" else unlock
    run(target, Clocks(time.monotonic, _utc_ms), tell)


def _rotate(options: Any) -> None:
    from .proxy import Clocks
    from .verbs.rotate import run
    from .verbs.ssh import parse_target

    tell = storyteller(time.monotonic, time.monotonic()) if options.verbose else silent
    target = parse_target(options.host, options.port)
    run(target, Clocks(time.monotonic, _utc_ms), tell)


def _doctor(options: Any) -> int:
    from .proxy import Clocks
    from .verbs.doctor.visit import run
    from .verbs.ssh import parse_target

    tell = storyteller(time.monotonic, time.monotonic()) if options.verbose else silent
    target = parse_target(options.host, options.port)
    clocks = Clocks(time.monotonic, _utc_ms)
    is_well = run(target, clocks, tell, as_json=options.json)
    return 0 if is_well else SpasshError.exit_code


def _import(options: Any) -> None:
    from .verbs.import_ import run

    run(
        options.file,
        options.host,
        force=options.force,
        passphrase_file=options.passphrase_file,
    )


def _import_fwknop(options: Any) -> int:
    from .verbs.import_fwknop import run

    return 0 if run(options.file) else SpasshError.exit_code


def _keygen(_: Any) -> None:
    from .verbs.keygen import run

    run()


def _run(options: Any) -> None:
    from .verbs.run import run

    run(options.host, options.command, _utc_ms)


def _knock(options: Any) -> None:
    from .verbs.knock import run

    run(
        options.host,
        options.access,
        options.lifetime,
        options.allow,
        _utc_ms,
        resolve_url=options.resolve_url,
    )


def _list(_: Any) -> int:
    from .verbs.list_ import run

    return 0 if run() else ProfileError.exit_code


def _show(options: Any) -> None:
    from .verbs.show import run

    run(options.host)


def _forget(options: Any) -> None:
    from .verbs.forget import run

    run(options.host)


_VERBS: dict[str, Callable[[Any], int | None]] = {
    "doctor": _doctor,
    "enroll": _enroll,
    "forget": _forget,
    "import": _import,
    "import-fwknop": _import_fwknop,
    "keygen": _keygen,
    "knock": _knock,
    "list": _list,
    "lock": _lock,
    "rotate": _rotate,
    "run": _run,
    "show": _show,
    "unlock": _lock,
}


def _utc_ms() -> int:
    return time.time_ns() // 1_000_000


def _occupy_standard_descriptors() -> None:
    """Open /dev/null where ssh left a gap, lest a socket of ours be taken for it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
