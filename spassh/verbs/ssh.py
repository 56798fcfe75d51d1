"""The ssh program: the one place where the client starts a program.

It gets an argument list and no shell of this computer. The server's shell reads what it
is to run there, so that is made of words which mean themselves to every shell.
"""

import os
import re
import selectors
import subprocess  # noqa: TID251 - this is the one place where the client starts one
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from shutil import which
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from ..errors import SpasshError, UsageError, lower_reason
from ..protocol.errors import TextFormError
from ..protocol.names import check_host
from ..ui import Tell

MAX_OUTPUT: Final = 64 * 1024
"""Most bytes that a command may print, with what a shell's start-up files say."""

TIMEOUT: Final = 60.0
"""Seconds for one command. Whoever has to type something does it before."""

_CONNECTION_LOST: Final = 255
"""What ssh itself exits with, whatever the command would have."""

_LINGER: Final = 600
"""Seconds after which a connection ends by itself, should we be killed."""

# ssh of version 9.6 and later takes no others, and earlier ones give them to a shell.
_LOGIN: Final = re.compile(r"""\w(?:[^\s'"`;&<>|(){}$\\]|\\\w)*""")

_FIRST: Final = (
    "'ssh' has to work first; where the port is shut already, 'spassh import' takes in"
    " an invite of 'spasshd user add'"
)

_PLAIN: Final = re.compile(r"[A-Za-z0-9._:%=/-]+")

_SOBER: Final = (
    *("-a", "-x", "-T"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
)
"""What ssh_config(5) may say for a login, and what is in the way of a command."""


class Target(NamedTuple):
    """Whom to log in to, as the user said it."""

    host: str
    login: str = ""
    """Empty leaves it to ssh."""
    port: int = 0
    """0 leaves it to ssh."""


class Settings(NamedTuple):
    """What ssh makes of a target."""

    host: str
    login: str
    port: int
    proxy: str
    """The ProxyCommand or ProxyJump, or empty."""

    @property
    def goes_through_spassh(self) -> bool:
        """Whether the ProxyCommand is ours."""
        return re.search(r"\bspassh\b.*\sproxy\b", self.proxy) is not None


class Done(NamedTuple):
    """A program that has ended."""

    status: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The last line of the errors."""
        lines = self.errors.strip().splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"


def parse_target(text: str, port: str = "") -> Target:
    """Read `[LOGIN@]HOST`, and the value of `-p`.

    Raises:
        UsageError: ssh could take one of them for something else.
    """
    login, at, host = text.rpartition("@")
    try:
        check_host(host)
    except TextFormError as error:
        raise UsageError(
            f"not a host: {host}", "give the name or address that you give to ssh"
        ) from error
    if at and not _LOGIN.fullmatch(login):
        raise UsageError(f"not a login: {login}", "such as root@server.example")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if port and not (digits and 0 < int(port) < 1 << 16):
        raise UsageError(f"not a port: {port}", "a port is a number from 1 to 65535")
    return Target(host, login, int(port or 0))


class Ssh:
    """ssh to one target."""

    def __init__(self, target: Target, clock: Callable[[], float], tell: Tell) -> None:
        """Find the program; `clock` gives seconds, and `tell` takes the story.

        Raises:
            SpasshError: there is none.
        """
        self._target = target
        self._clock = clock
        self._tell = tell
        self._control = "none"
        # Absolute, so that it stays the same program until we are done.
        self._program = os.path.abspath(which("ssh") or "")
        if not os.path.isfile(self._program):
            raise SpasshError("there is no ssh in PATH", "install OpenSSH's client")

    def settings(self) -> Settings:
        """Ask ssh what its configuration says.

        Raises:
            SpasshError: ssh does not take its configuration.
        """
        done = self._converse(self._argv("-G"))
        values: dict[str, str] = {}
        for line in done.output.splitlines():
            key, _, value = line.partition(" ")
            values.setdefault(key, value)
        port = values.get("port", "")
        if done.status or not values.get("hostname") or not port.isdecimal():
            raise SpasshError(
                f"ssh cannot say how it reaches {self._target.host}: {done.complaint}",
                "see that 'ssh -G' works",
            )
        proxy = values.get("proxycommand") or values.get("proxyjump", "")
        return Settings(values["hostname"], values.get("user", ""), int(port), proxy)

    @contextmanager
    def session(self, hint: str = _FIRST) -> Iterator[None]:
        """Log in once, for all commands that are run inside; `hint` is for who cannot.

        ssh asks on the terminal what it has to ask: a password, a touch of a key. And
        it knocks for itself, if it goes through spassh already, once and at this time.

        Raises:
            SpasshError: ssh does not get in, and has said why.
        """
        with TemporaryDirectory(prefix="spassh-") as directory:
            self._control = os.path.join(directory, "ssh")
            options = ("ControlMaster=yes", f"ControlPersist={_LINGER}")
            argv = self._argv("-f", "-N", *(x for o in options for x in ("-o", o)))
            self._tell(f"running {' '.join(argv)}")
            try:
                self._log_in(argv, hint)
                yield
            finally:
                if os.path.exists(self._control):
                    with suppress(SpasshError):
                        self._converse(self._argv("-O", "exit"))
                self._control = "none"

    def _log_in(self, argv: list[str], hint: str) -> None:
        # It goes to the background when it is in, and its errors go to the terminal.
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SpasshError(f"ssh does not get in to {self._target.host}", hint)

    def run(self, *words: str, stdin: bytes = b"") -> Done:
        """Run a command on the server, to its end.

        Raises:
            SpasshError: the connection is lost, or it takes too long or says too much.
        """
        if not all(map(_PLAIN.fullmatch, words)):
            raise ValueError("a shell would not take these words as they are")
        self._tell(f"running on the server: {' '.join(words)}")
        done = self._converse([*self._argv(), " ".join(words)], stdin)
        self._tell(f"exit status {done.status}")
        if done.status == _CONNECTION_LOST:
            raise self._lost(done.complaint)
        return done

    def _argv(self, *options: str) -> list[str]:
        host, login, port = self._target
        return [
            self._program,
            *_SOBER,
            *("-o", f"ControlPath={self._control}"),
            *(("-p", str(port)) if port else ()),
            *(("-l", login) if login else ()),
            *options,
            "--",
            host,
        ]

    def _converse(self, argv: list[str], stdin: bytes = b"") -> Done:
        """Start the program, and return what it says within the bounds."""
        try:
            child = subprocess.Popen(
                argv,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise self._lost(lower_reason(error)) from error
        with child:
            try:
                output, errors = self._collect(child, stdin)
            except BaseException:
                child.kill()
                raise
        return Done(child.returncode, _text(output), _text(errors))

    def _collect(
        self, child: "subprocess.Popen[bytes]", stdin: bytes
    ) -> tuple[bytearray, bytearray]:
        deadline = self._clock() + TIMEOUT
        output, errors = bytearray(), bytearray()
        with selectors.DefaultSelector() as selector:
            for stream, collected in ((child.stdout, output), (child.stderr, errors)):
                if stream:
                    selector.register(stream, selectors.EVENT_READ, collected)
            if child.stdin:
                # A password: a pipe takes that without waiting for a reader.
                with suppress(BrokenPipeError):
                    child.stdin.write(stdin)
                child.stdin.close()
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - self._clock()))
                if not ready:
                    raise self._lost(f"not done after {TIMEOUT:.0f} s")
                for key, _ in ready:
                    data = os.read(key.fd, MAX_OUTPUT)
                    key.data.extend(data)
                    if not data:
                        selector.unregister(key.fileobj)
                    if len(key.data) > MAX_OUTPUT:
                        raise self._lost(f"more than {MAX_OUTPUT} bytes of output")
        return output, errors

    def _lost(self, reason: str) -> SpasshError:
        return SpasshError(
            f"ssh to {self._target.host} failed: {reason}",
            "try again: what was done already stays",
        )


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")
