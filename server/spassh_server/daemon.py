"""The listener: opens the capture, becomes nobody in particular, and judges packets.

It starts the granter first, as a program of its own, before any key is in memory. What
follows once it is unprivileged is in `listener`.
"""

import os
import resource
import select
import signal
import socket
import stat
import subprocess  # noqa: TID251 - starts the granter, the one program of our own
import sys
from collections.abc import Sequence
from typing import NamedTuple

from spassh.protocol.errors import TextFormError
from spassh.protocol.keys import SECRET, decode_key
from spassh.protocol.opening import ServerKeys

from . import control, events
from .accounts import Account, find_account
from .capture import Capture, open_captures
from .capture_file import CaptureFile
from .clock import now_ms
from .config import Config
from .files import read_private
from .listener import Listener
from .lock import take_lock
from .privsep import sandbox
from .privsep.landlock import confine
from .store import FILES, MAX_BYTES, ReplayStore, boot_id
from .systemd import Notifier
from .toml import ConfigError

_BOOT = os.path.join(os.path.dirname(os.path.abspath(sandbox.__file__)), "boot.py")

# Root without CAP_DAC_OVERRIDE may not read what is the listener's alone, but it may
# say where it is.
_PLACE = getattr(os, "O_PATH", os.O_RDONLY)

_GRANTER_EXIT_SECONDS = 10
_HELPER_EXIT_SECONDS = 5
_LOCK_SECONDS = 3


class DaemonError(Exception):
    """The daemon cannot start, or cannot go on. `hint` may name the remedy."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def run(config: Config, pcap: str = "") -> bool:
    """Run the daemon until it is told to stop; return whether the stop verb did.

    Args:
        config: what spasshd.toml says.
        pcap: a file to take packets from instead of the network, or empty.

    Raises:
        ConfigError, CaptureError, DaemonError, SandboxError: it cannot go on.
        GranterGoneError: the granter left first.
    """
    if os.geteuid() != 0:
        raise DaemonError("spasshd run needs root", "it gives root up when it is ready")
    events.open_log(config.log)
    # A reload that comes too early is none: all is read at the start anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Who started us may have ignored it, and then the granter's end would not be told.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    account = find_account(config)
    lock = _take_lock(config)
    state = _open_state_directory(config.state_dir, account)
    mark = _open_mark(config)
    granter, sock = _start_granter(config, lock)
    helper = _start_helper(config, account)
    try:
        keys = load_server_keys(config)
        captures = _open_captures(config, pcap, keys.gate.tag_key)
        poll = select.poll()
        server = control.ControlServer(config.run_dir, poll)
        notifier = Notifier()
        boot = boot_id()
        sandbox.become(account.uid, account.gid, file_bytes=_file_bytes())
        state = _enter(state)
        if not confine(state):
            events.say("warning", text="this kernel has no Landlock: see spasshd(8)")
        store = ReplayStore(state, now_ms(), boot, mark)
        for problem in filter(None, (store.lost, store.problem)):
            events.error(problem, "packets made before this start are not accepted")
        return Listener(
            config=config,
            keys=keys,
            captures=captures,
            store=store,
            granter=sock,
            server=server,
            poll=poll,
            notifier=notifier,
            helper=helper and helper.sock,
        ).serve()
    finally:
        sock.close()
        if helper is not None:
            _end_helper(helper)
        _reap(granter)
        os.close(state)
        os.close(mark)
        os.close(lock)


def _open_mark(config: Config) -> int:
    """Return the file in run_dir that says whether the replay store has a gap.

    It is another disk than that of the store, as a rule: none at all.
    """
    path = os.path.join(config.run_dir, "replay-gap")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise DaemonError(f"{path}: {error.strerror}") from error


def _open_captures(
    config: Config, pcap: str, tag_key: bytes
) -> Sequence[Capture | CaptureFile]:
    port, fwknop, others = config.knock_port, config.fwknop, config.fwknop_transports
    if pcap:
        return [CaptureFile(pcap, port, fwknop=fwknop, transports=others)]
    captures = open_captures(
        config.interfaces, port, fwknop=fwknop, tag_key=tag_key, transports=others
    )
    if sys.platform == "linux":
        if not all(one.kept.untagged for one in captures):
            text = "this kernel does not check the tag of packets: see spasshd(8)"
            events.say("warning", text=text)
        elif not all(one.kept.copies for one in captures):
            text = "this kernel does not count copies of packets: see spasshd(8)"
            events.say("note", text=text)
    return captures


def _file_bytes() -> int:
    """Return how large a file the listener may make: no larger than its store.

    A log that is a file is one that the listener writes, and it may be larger.
    """
    return resource.RLIM_INFINITY if stat.S_ISREG(os.fstat(2).st_mode) else MAX_BYTES


def _take_lock(config: Config) -> int:
    """Make run_dir; return the descriptor of the lock that one daemon holds."""
    try:
        os.makedirs(config.run_dir, mode=0o755, exist_ok=True)
        status = os.stat(config.run_dir)
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise DaemonError(
                f"{config.run_dir}: others than root can write there",
                f"chown root: {config.run_dir}; chmod 755 {config.run_dir}",
            )
        # A granter whose listener was killed needs a moment to notice.
        return take_lock(config, _LOCK_SECONDS)
    except BlockingIOError as error:
        raise DaemonError(
            "spasshd runs already with this configuration",
            f"'spasshd stop --config {config.path}' ends it",
        ) from error
    except OSError as error:
        raise DaemonError(f"{config.run_dir}: {error.strerror}") from error


def _open_state_directory(path: str, account: Account) -> int:
    """Make state_dir and give it to the listener's user; return where it is.

    The listener owns it, so root follows no link there and does nothing inside.
    """
    flags = _PLACE | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.makedirs(path, mode=0o755, exist_ok=True)
        place = os.open(path, flags)
        status = os.fstat(place)
        mode = stat.S_IMODE(status.st_mode)
        if (status.st_uid, status.st_gid, mode) != (*account, 0o700):
            _give_state_directory(path, account)
    except OSError as error:
        hint = ""
        if isinstance(error, PermissionError):
            hint = f"make it that of the account {account.uid}, which 'user' names"
        raise DaemonError(f"{path}: {error.strerror}", hint) from error
    return place


def _give_state_directory(path: str, account: Account) -> None:
    """Make the directory `path` the listener's; it takes CAP_CHOWN."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        strange = sorted(set(os.listdir(fd)) - FILES)
        if strange:
            # A typing error such as "/etc" must not give that away.
            raise DaemonError(
                f"state_dir {path}: {strange[0]!a} in it is not ours",
                "take a directory that holds nothing else",
            )
        os.fchmod(fd, 0o700)
        os.fchown(fd, account.uid, account.gid)
    finally:
        os.close(fd)


def _enter(place: int) -> int:
    """Return state_dir open for reading, now that we are who may read it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        state = os.open(".", flags, dir_fd=place)
    except OSError as error:
        raise DaemonError(f"state_dir: {error.strerror}") from error
    os.close(place)
    return state


def _start_granter(
    config: Config, lock: int
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the other program; both have one end of a socket pair."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        granter = subprocess.Popen(
            [sys.executable, "-I", _BOOT, config.path, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # The granter holds the lock as well: it is free when both are gone.
            pass_fds=[theirs.fileno(), lock],
            cwd="/",
            env={
                "LC_ALL": "C",
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                # Standard error is the same as ours, and so is where it leads.
                "JOURNAL_STREAM": os.environ.get("JOURNAL_STREAM", ""),
            },
        )
    return granter, ours


class _Helper(NamedTuple):
    """The program that runs gpg."""

    process: subprocess.Popen[bytes]
    sock: socket.socket


def _start_helper(config: Config, account: Account) -> _Helper | None:
    """Start the program that runs gpg, if there is a GnuPG home for it."""
    if not os.path.isdir(config.gnupg_dir):
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        words = [config.gpg_path, config.gnupg_dir, config.log, str(theirs.fileno())]
        process = subprocess.Popen(
            [sys.executable, "-I", _BOOT, "--openpgp", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",
            env={
                "LC_ALL": "C",
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": config.gnupg_dir,
                "JOURNAL_STREAM": os.environ.get("JOURNAL_STREAM", ""),
            },
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            umask=0o077,
        )
    return _Helper(process, ours)


def _end_helper(helper: _Helper) -> None:
    """Wait for the helper, which leaves when its socket closes."""
    helper.sock.close()
    try:
        helper.process.wait(_HELPER_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        # Unlike the granter, it has the account that we have by now.
        helper.process.kill()
        helper.process.wait()


def _reap(granter: subprocess.Popen[bytes]) -> None:
    """Wait for the granter, which leaves when its socket closes."""
    try:
        granter.wait(_GRANTER_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        # We may not signal it any more: it is root and we are not. It will follow when
        # the firewall lets go of it, and every grant ends by itself.
        events.error("the granter is still busy with the packet filter")


def load_server_keys(config: Config) -> ServerKeys:
    """Read the server's key pair.

    Raises:
        ConfigError: the key file is missing, open to others, or damaged.
    """
    line = read_private(config.key_file, secret=True).strip()
    try:
        return ServerKeys(decode_key(SECRET, line))
    except TextFormError as error:
        raise ConfigError(
            config.key_file, 1, "", str(error), "restore it from a backup"
        ) from error
