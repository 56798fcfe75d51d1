"""The helper: it has gpg look at OpenPGP messages for the listener.

It runs as the listener's user, without capabilities, and knows neither the network nor
the firewall. Each message gets a process of its own with a time limit and little of
everything else; when that is over, nothing of it is left. It leaves when the listener
does.
"""

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess  # noqa: TID251 - gpg's agent, which gpg does not start within limits
import time
from typing import Final

from .. import events
from ..firewall.run import DIRECTORIES, find
from ..privsep.landlock import confine_helper
from ..privsep.sandbox import SandboxError, keep_capabilities
from .gpg import Gpg, GpgError
from .keeper import keep
from .message import (
    ANSWER_SIZE,
    QUESTION_SIZE,
    Answer,
    HelperMessageError,
    Question,
    Verdict,
    decode_answer,
    decode_question,
    encode_answer,
)

AT_ONCE: Final = 2
"""Messages that gpg looks at. More would only take turns on a small machine."""
WORKER_SECONDS: Final = 3
"""How long it may take. Elgamal takes 40 ms."""
CPU_SECONDS: Final = 2
MEMORY_BYTES: Final = 1 << 30
"""Address space of a worker, and of gpg. Each thread of Python takes 72 MiB of it."""
FILE_BYTES: Final = 1 << 20
"""Size of a file that gpg may write: it has a random seed and locks."""
OPEN_FILES: Final = 64

_MOST_DESCRIPTORS: Final = 4096
"""More than the helper ever has."""
_AGENT_SECONDS: Final = 10


class _Worker:
    """One message, and the process that has gpg look at it."""

    def __init__(self, question: Question, gpg: Gpg, recipient: str) -> None:
        self.number = question.number
        self.ends = time.monotonic() + WORKER_SECONDS
        self.pipe, theirs = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self.pipe)
            os.close(theirs)
            raise
        if not self.pid:
            _work(question, gpg, recipient, theirs)
        os.close(theirs)

    def end(self) -> Answer:
        """Kill what is left of it; return its answer, or that there is none."""
        timed_out = time.monotonic() >= self.ends
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        # Before the worker has made its session, there is no such group.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.set_blocking(self.pipe, False)
        try:
            data = os.read(self.pipe, ANSWER_SIZE + 1)
        except BlockingIOError:
            data = b""
        os.close(self.pipe)
        verdict = Verdict.TIMEOUT if timed_out else Verdict.FAILED
        try:
            answer = decode_answer(data)
        except HelperMessageError:
            return Answer(self.number, verdict)
        return answer if answer.number == self.number else Answer(self.number, verdict)


def _work(question: Question, gpg: Gpg, recipient: str, pipe: int) -> None:
    """Answer one question and end; this is the worker."""
    try:
        # What reads bytes of others has no way to the listener but its answer.
        os.closerange(3, pipe)
        os.closerange(pipe + 1, _MOST_DESCRIPTORS)
        os.setsid()
        for limit, most in (
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_FSIZE, FILE_BYTES),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
        ):
            resource.setrlimit(limit, (most, most))
        answer = gpg.open(question.number, question.message, recipient)
        os.write(pipe, encode_answer(answer))
    finally:
        # Whatever went wrong: the other half of this fork must not go on twice.
        os._exit(0)


class Helper:
    """Answers the listener's questions until it leaves."""

    def __init__(self, sock: socket.socket, gpg: Gpg, recipient: str) -> None:
        """Take our end of the socket, gpg, and the fingerprint of the server's key."""
        self._socket = sock
        self._gpg = gpg
        self._recipient = recipient
        self._workers: dict[int, _Worker] = {}

    def serve(self) -> None:
        """Work until the listener closes its end.

        Raises:
            HelperMessageError: the listener broke the rules.
        """
        try:
            while self._turn():
                continue
        finally:
            for worker in self._workers.values():
                worker.end()

    def _turn(self) -> bool:
        """Wait for something to do, and do it; return False when the listener left."""
        poll = select.poll()
        # Who is not read from waits in the socket, and the listener counts what it has
        # there. But that it has gone is heard in any case.
        has_room = len(self._workers) < AT_ONCE
        poll.register(self._socket, select.POLLIN if has_room else 0)
        for fd in self._workers:
            poll.register(fd, select.POLLIN)
        ready = dict(poll.poll(self._until_next()))
        now = time.monotonic()
        for fd, worker in list(self._workers.items()):
            if fd in ready or worker.ends <= now:
                del self._workers[fd]
                self._socket.send(encode_answer(worker.end()))
        if self._socket.fileno() not in ready:
            return True
        if not has_room:
            return False
        data = self._socket.recv(QUESTION_SIZE + 1)
        if not data:
            return False
        question = decode_question(data)
        try:
            worker = _Worker(question, self._gpg, self._recipient)
        except OSError:
            # No room for one more process now. Whoever asks again may find some; were
            # we to end, nobody could before the next start.
            answer = Answer(question.number, Verdict.FAILED)
            self._socket.send(encode_answer(answer))
        else:
            self._workers[worker.pipe] = worker
        return True

    def _until_next(self) -> int | None:
        if not self._workers:
            return None
        first = min(worker.ends for worker in self._workers.values())
        return max(0, int((first - time.monotonic()) * 1000)) + 1


def main(arguments: list[str]) -> int:
    """Run as `boot.py --openpgp GPG HOME LOG FD`, FD being a SOCK_SEQPACKET socket."""
    path, home, log, fd = arguments
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever stops the service stops the listener, and that ends us in good order.
        signal.signal(number, lambda *_: None)
    # A worker's end has to be told, whatever we were started with.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    events.open_log(log)
    with socket.socket(fileno=int(fd)) as sock:
        try:
            keep_capabilities(frozenset())
        except SandboxError as error:
            events.error(f"gnupg: {error}")
            return 1
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        keep(sock, lambda: _run(sock, path, home), lambda: _end_agent(home))
    return 0


def _run(sock: socket.socket, path: str, home: str) -> int:
    """Be the helper; return 0 if the listener has left, and else 1."""
    try:
        _serve(sock, path, home)
    except GpgError as error:
        events.error(f"gnupg: {error}", error.hint)
    except (SandboxError, HelperMessageError) as error:
        events.error(f"gnupg: {error}")
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except OSError as error:
        events.error(f"gnupg: {error.filename or home}: {error.strerror or error}")
    else:
        return 0
    return 1


def _end_agent(home: str) -> None:
    """End the agent of a helper that was killed."""
    with contextlib.suppress(GpgError):
        _agent("--kill", home)


def _serve(sock: socket.socket, path: str, home: str) -> None:
    gpg = Gpg(path, home)
    # One that is left from before may not be confined.
    _agent("--kill", home)
    # It has the listener's account: who takes gpg over must not change the replay
    # store, nor end the listener. The listener says it if the kernel cannot do so. And
    # the agent is confined as well, for whoever writes its options runs any program.
    confine_helper(home)
    recipient = gpg.server_key()
    if not recipient:
        raise GpgError(
            f"there is no secret key in {home}",
            "see that it is all the listener's own; 'spasshd user add --gnupg' makes"
            " one, and for clients of fwknop see spasshd.toml(5)",
        )
    _agent("--launch", home)
    try:
        Helper(sock, gpg, recipient).serve()
    finally:
        _agent("--kill", home)


def _agent(what: str, home: str) -> None:
    """Start or end the agent that has the server's key, outside of any worker's limits.

    Raises:
        GpgError: there is no such program, or it does not do so.
    """
    program = find("gpgconf")
    if program is None:
        raise GpgError(
            f"gpgconf not found in {', '.join(DIRECTORIES)}", "apt install gpgconf"
        )
    try:
        done = subprocess.run(
            [program, "--homedir", home, what, "gpg-agent"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_AGENT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GpgError(f"{program} cannot be run") from error
    if done.returncode:
        raise GpgError(f"gpg-agent does not {what.lstrip('-')} in {home}")
