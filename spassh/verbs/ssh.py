"""The ssh program: the one place where the client starts a program.

It gets an argument list and no shell of this computer. The server's shell reads what it
is to run there, so that is made of words which mean themselves to every shell.
"""

import math
import os
import re
import selectors
import signal
import subprocess  # noqa: TID251 - this is the one place where the client starts one
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from shutil import which
from tempfile import TemporaryDirectory, TemporaryFile
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
    " an invite of 'spasshd user add', and another name of a server that has a profile"
    " goes into its 'hosts': see 'spassh list'"
)

_CONNECT: Final = 20
"""Seconds until sshd says who it is. A name that no profile has may be shut."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9._:%=/+-]+")

LOGIN_TIMEOUT: Final = 20.0
"""Seconds for a login where nobody has anything to type."""

_FAREWELL: Final = 10.0
"""Seconds to end a session in, whatever time is left for anything else."""

_SOBER: Final = (
    *("-a", "-x", "-T"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "RemoteCommand=none"),
)
"""What ssh_config(5) may say for a login, and what is in the way of a command."""

_SILENT: Final = (*("-o", "BatchMode=yes"), *("-o", "ConnectTimeout=10"))
"""For when nobody is to be asked anything."""


class Target(NamedTuple):
    """Whom to log in to, as the user said it."""

    host: str
    login: str = ""
    """Empty leaves it to ssh."""
    port: int = 0
    """0 leaves it to ssh."""

    @property
    def said(self) -> str:
        """The user's own word for it, without the port."""
        return f"{self.login}@{self.host}" if self.login else self.host

    @property
    def ask_doctor(self) -> str:
        """The hint for who has set everything up, and does not get in."""
        return f"'spassh doctor {self.said}' looks for the reason"


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


class Explained(NamedTuple):
    """What ssh says of its configuration for a target."""

    values: dict[str, str]
    """The first value of each keyword, which is in small letters."""
    story: list[str]
    """Which files it has read, and which blocks of them apply: `ssh -v`."""


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
    if port and not _port(port):
        raise UsageError(f"not a port: {port}", "a port is a number from 1 to 65535")
    return Target(host, login, _port(port))


def _port(text: str) -> int:
    """Return the port that `text` is, or 0 if it is none."""
    digits = text.isascii() and text.isdigit() and len(text) <= 5
    return int(text) if digits and int(text) < 1 << 16 else 0


class Ssh:
    """ssh to one target."""

    def __init__(
        self,
        target: Target,
        clock: Callable[[], float],
        tell: Tell,
        *,
        asks: bool = True,
        deadline: float = math.inf,
    ) -> None:
        """Find the program.

        Args:
            target: whom to log in to.
            clock: gives seconds.
            tell: takes the story.
            asks: whether ssh may ask the user for something.
            deadline: the time by that clock when all has to be over.

        Raises:
            SpasshError: there is none.
        """
        self._target = target
        self._clock = clock
        self._tell = tell
        self._asks = asks
        self._deadline = deadline
        self._way: tuple[str, ...] = ()
        self._control = "none"
        self._uses_shared = False
        # Absolute, so that it stays the same program until we are done.
        self._program = os.path.abspath(which("ssh") or "")
        if not os.path.isfile(self._program):
            raise SpasshError("there is no ssh in PATH", "install OpenSSH's client")

    def go_through(self, program: str) -> None:
        """Log in through spassh, although ssh_config(5) does not say so.

        `program` is a word of the shell that ssh starts.
        """
        proxy = f"ProxyCommand={program} proxy -- %h %p"
        self._way = ("-o", "ProxyUseFdpass=no", "-o", proxy)

    def settings(self) -> Settings:
        """Ask ssh what its configuration says.

        Raises:
            SpasshError: ssh does not take its configuration.
        """
        done = self._converse(self._argv("-G"))
        values = _values(done.output)
        port = _port(values.get("port", ""))
        if done.status or not values.get("hostname") or not port:
            raise SpasshError(
                f"ssh cannot say how it reaches {self._target.host}: {done.complaint}",
                "see that 'ssh -G' works",
            )
        proxy = values.get("proxycommand") or values.get("proxyjump", "")
        return Settings(values["hostname"], values.get("user", ""), port, proxy)

    def explained(self) -> Explained:
        """Return all that ssh makes of the target, and where it has it from.

        Raises:
            SpasshError: it does not say.
        """
        done = self._converse(self._argv("-v", "-G"))
        return Explained(_values(done.output), done.errors.splitlines())

    def is_shared(self) -> bool:
        """Tell whether a connection is there that ssh lets others use, and use it.

        That is what ControlMaster of ssh_config(5) is for.
        """
        self._uses_shared = True
        self._uses_shared = not self._converse(self._argv("-O", "check")).status
        return self._uses_shared

    @contextmanager
    def session(self, hint: str = _FIRST) -> Iterator[None]:
        """Log in once, for all commands that are run inside; `hint` is for who cannot.

        ssh asks on the terminal what it has to ask: a password, a touch of a key. And
        it knocks for itself, if it goes through spassh already, once and at this time.

        Raises:
            SpasshError: ssh does not get in, and has said why.
        """
        with TemporaryDirectory(prefix="spassh-") as directory:
            control = self._control = os.path.join(directory, "ssh")
            options = (
                "ControlMaster=yes",
                f"ControlPersist={_LINGER}",
                f"ConnectTimeout={_CONNECT}",
            )
            words = [word for option in options for word in ("-o", option)]
            argv = self._argv("-f", "-N", *self._way, *words)
            self._tell(f"running {' '.join(argv)}")
            try:
                self._log_in(argv, hint)
                yield
            finally:
                if os.path.exists(control):
                    with suppress(SpasshError):
                        self._converse(self._argv("-O", "exit"), limit=_FAREWELL)
                self._control = "none"

    def _log_in(self, argv: list[str], hint: str) -> None:
        if not self._asks:
            self._log_in_silently(argv)
            return
        # It goes to the background when it is in, and its errors go to the terminal.
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SpasshError(f"ssh does not get in to {self._target.host}", hint)

    def _log_in_silently(self, argv: list[str]) -> None:
        """Do it without a word on the terminal, and within the time."""
        # What goes to the background may keep a pipe open, and so this is a file.
        with TemporaryFile() as errors:
            # With a group of its own, for its ProxyCommand has to end with it.
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            seconds = min(LOGIN_TIMEOUT, self._limit())
            try:
                status = child.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise self._lost(f"not done after {seconds:.0f} s") from error
            finally:
                if child.returncode is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
            errors.seek(0)
            said = errors.read(MAX_OUTPUT).decode("utf-8", "replace")
        if status:
            raise self._lost(Done(status, "", said).complaint)

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
            *(() if self._asks else _SILENT),
            *(() if self._uses_shared else ("-o", f"ControlPath={self._control}")),
            *(("-p", str(port)) if port else ()),
            *(("-l", login) if login else ()),
            *options,
            "--",
            host,
        ]

    def _converse(
        self, argv: list[str], stdin: bytes = b"", *, limit: float | None = None
    ) -> Done:
        """Start the program, and return what it says within the bounds.

        It takes `limit` seconds at most, or those that a command may take.
        """
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
                seconds = self._limit() if limit is None else limit
                output, errors = self._collect(child, stdin, seconds)
            except BaseException:
                child.kill()
                raise
        return Done(child.returncode, _text(output), _text(errors))

    def _collect(
        self, child: "subprocess.Popen[bytes]", stdin: bytes, limit: float
    ) -> tuple[bytearray, bytearray]:
        deadline = self._clock() + limit
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
                    raise self._lost(f"not done after {limit:.0f} s")
                for key, _ in ready:
                    data = os.read(key.fd, MAX_OUTPUT)
                    key.data.extend(data)
                    if not data:
                        selector.unregister(key.fileobj)
                    if len(key.data) > MAX_OUTPUT:
                        raise self._lost(f"more than {MAX_OUTPUT} bytes of output")
        return output, errors

    def _limit(self) -> float:
        """Return the seconds that a command may take which begins now."""
        if self._deadline == math.inf:
            return TIMEOUT
        return min(TIMEOUT, max(0.0, self._deadline - self._clock()))

    def _lost(self, reason: str) -> SpasshError:
        return SpasshError(
            f"ssh to {self._target.host} failed: {reason}",
            "try again: what was done already stays",
        )


def _values(text: str) -> dict[str, str]:
    """Return the first value of each keyword in what `ssh -G` prints."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, value)
    return values


def _text(data: bytearray) -> str:
    return data.decode("utf-8", "replace")
