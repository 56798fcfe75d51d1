"""The daemon's GnuPG home, for the verbs of an administrator.

It belongs to the listener's account. root does nothing in it: whoever is that account
could lay a link there. So gpg is run by a child that has become the account.
"""

import contextlib
import os
import re
import socket
import stat
import subprocess  # noqa: TID251 - gpgconf, which ends an agent of ours
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from ..accounts import Account, find_account
from ..config import Config
from ..firewall.run import find
from ..privsep.landlock import confine_helper
from ..privsep.sandbox import SandboxError, keep_capabilities
from .gpg import Gpg, GpgError
from .status import is_fingerprint

Work = Callable[[], str]

MAX_KEY_BYTES = 65_536
"""Size of a public key, with all that others say of it."""

_BEGIN = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = b"-----END PGP PUBLIC KEY BLOCK-----"
_ARMOUR = re.compile(rf"{_BEGIN.decode()}\n[ -~\n]*{_END.decode()}\n")
_PIPE_BYTES = 4 * MAX_KEY_BYTES
_AGENT_SECONDS = 10


class Added(NamedTuple):
    """A user's OpenPGP key that the daemon knows now."""

    fingerprint: str
    server: str
    """The server's public key, armoured."""
    is_new: bool
    """Whether there was no home before, so that the daemon has begun without it."""


def read_key(path: str) -> bytes:
    """Read a public key from a file, or from standard input if `path` is "-".

    What stands around an armoured key is left out.

    Raises:
        OSError: it cannot be read.
        GpgError: it is too large.
    """
    if path == "-":
        data = sys.stdin.buffer.read(MAX_KEY_BYTES + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(MAX_KEY_BYTES + 1)
    if len(data) > MAX_KEY_BYTES:
        raise GpgError(
            f"the OpenPGP key has more than {MAX_KEY_BYTES} bytes",
            "'gpg --export --export-options export-minimal KEYID' leaves out what"
            " others say of it",
        )
    start = data.find(_BEGIN)
    if start < 0:
        return data
    end = data.find(_END, start)
    return data[start : end + len(_END)] + b"\n" if end > 0 else data[start:]


def add_key(settings: Config, data: bytes) -> Added:
    """Have the daemon know a user's public key; make home and server's key if needed.

    Raises:
        ConfigError: there is no account for the listener.
        GpgError: the key or the home cannot be used.
        OSError: the home cannot be made.
    """
    account = find_account(settings)
    path = settings.gnupg_dir
    is_new = _make_home(path, account)
    answer = _as_account(account, path, lambda: _add(settings, data))
    fingerprint, _, server = answer.partition("\n")
    # Whoever is that account can have said anything, and it goes into a user's file.
    if not (is_fingerprint(fingerprint) and _ARMOUR.fullmatch(server)):
        raise _useless(account, path)
    return Added(fingerprint, server, is_new)


def _make_home(path: str, account: Account) -> bool:
    """Make the directory, unless it is there; tell whether it was made."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError as error:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == account.uid:
            return False
        raise GpgError(
            f"gnupg_dir {path} is no directory of the listener's account",
            f"chown -R {account.uid}:{account.gid} {path}; chmod 700 {path}",
        ) from error
    try:
        os.chown(path, account.uid, account.gid)
    except OSError:
        os.rmdir(path)
        raise
    return True


def _add(settings: Config, data: bytes) -> str:
    """Take the key in; return its fingerprint, a newline, and the server's key."""
    home = settings.gnupg_dir
    had_agent = _has_agent(home)
    try:
        gpg = Gpg(settings.gpg_path, home)
        with tempfile.NamedTemporaryFile(dir=home) as file:
            file.write(data)
            file.flush()
            fingerprint = gpg.look_at(file.name)
        gpg.add(data)
        server = gpg.server_key() or gpg.make_server_key()
        return f"{fingerprint}\n{gpg.export(server)}"
    finally:
        if not had_agent:
            _end_agent(home)


def _has_agent(home: str) -> bool:
    """Tell whether an agent runs already: that of the helper, which is to stay."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(os.path.join(home, "S.gpg-agent"))
        except OSError:
            return False
    return True


def _end_agent(home: str) -> None:
    """End the agent that gpg has started for us."""
    program = find("gpgconf")
    if program is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [program, "--homedir", home, "--kill", "gpg-agent"],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_AGENT_SECONDS,
            )


def _as_account(account: Account, home: str, work: Work) -> str:
    """Return what `work` returns in a child that is `account` and nothing else.

    Raises:
        GpgError: it did; or the child came to nothing.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _be(account, home, work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read(_PIPE_BYTES).decode(errors="replace")
    os.waitpid(pid, 0)
    kind, _, text = answer.partition("\n")
    if kind == "done":
        return text
    problem, _, hint = text.partition("\n")
    raise GpgError(problem, hint) if problem else _useless(account, home)


def _useless(account: Account, home: str) -> GpgError:
    return GpgError(
        f"gpg does not work in {home}",
        f"see that the directory belongs to uid {account.uid}, with mode 700",
    )


def _be(account: Account, home: str, work: Work, pipe: int) -> None:
    """Become the account, do it, and end; this is the child."""
    try:
        if os.geteuid() != account.uid:
            os.setgroups([])
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        os.umask(0o077)
        os.chdir("/")
        os.environ.clear()
        os.environ.update({"LC_ALL": "C", "PATH": "/usr/bin:/bin", "HOME": home})
        try:
            keep_capabilities(frozenset())
            # What is in the home may be from a helper that was taken over: its agent
            # must have no more than that has.
            confine_helper(home)
            answer = f"done\n{work()}"
        except (GpgError, SandboxError) as error:
            answer = f"failed\n{error}\n{error.hint}"
        with os.fdopen(pipe, "wb") as file:
            file.write(answer.encode())
    finally:
        os._exit(0)
