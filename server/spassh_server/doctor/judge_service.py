"""Findings about spasshd itself: its files, its users, and whether it runs. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, Final

from spassh.protocol.finding import Finding, Result, Value

from ..config import Config
from ..ports import Port
from ..store import MAX_BYTES
from ..toml import ConfigError
from ..users import User
from .commands import Commands
from .disk import Disk
from .service import UNIT, Service

MOST_NAMED: Final = 5
"""Of how many users or files the names are told; of others, the number."""
MOST_LISTED: Final = 50
"""How many of them programs are told."""

_OK, _UNKNOWN = Result.OK, Result.UNKNOWN
_WARNING, _PROBLEM = Result.WARNING, Result.PROBLEM


def judge_configuration(
    settings: Config, problems: Iterable[ConfigError], commands: Commands
) -> list[Finding]:
    """Say what the configuration asks for, or what is wrong with it."""
    found = [
        Finding("configuration", _PROBLEM, str(error), error.hint) for error in problems
    ]
    protect = [str(port) for port in settings.firewall.dropped]
    data: Mapping[str, Value] = {
        "path": settings.path,
        "protect": protect[:MOST_LISTED],
        "port": settings.knock_port,
    }
    knocks = f"knocks come to udp/{settings.knock_port}"
    if found:
        return found
    if settings.manage == "accept":
        seen = f"{settings.path}: the drop is left to another firewall, and {knocks}"
        remedy = "without a grant, from another host: nc -vz -w 5 ADDRESS 22"
        return [Finding("configuration", _UNKNOWN, seen, remedy, data)]
    if not protect:
        seen = (
            f"{settings.path}: no port is protected, so everybody reaches them all,"
            " unless another firewall drops"
        )
        protecting = commands.spasshd("protect tcp/22")
        remedy = f"{protecting}; or with proof, from a client: spassh lock"
        return [Finding("configuration", _WARNING, seen, remedy, data)]
    seen = f"{settings.path}: protects {list_some(protect)}, and {knocks}"
    return [Finding("configuration", _OK, seen, "", data)]


def judge_trial(ports: Sequence[Port], seconds: int, commands: Commands) -> Finding:
    """Say which ports are dropped on trial, and for how long."""
    names = list_some([str(port) for port in ports])
    seen = f"{names} on trial: open again in {seconds} s, if nobody confirms it"
    remedy = f"in a login that was made since: {commands.spasshd('confirm')}"
    return Finding("configuration", _WARNING, seen, remedy)


def judge_users(
    settings: Config,
    users: Sequence[User],
    broken: Sequence[ConfigError],
    now: int,
    commands: Commands,
) -> list[Finding]:
    """Say who can be let in at the time `now` (ms since 1970)."""
    found = [
        Finding("users", _PROBLEM, str(error), error.hint)
        for error in broken[:MOST_NAMED]
    ]
    if len(broken) > MOST_NAMED:
        seen = f"{len(broken) - MOST_NAMED} more users' files are broken"
        found.append(Finding("users", _PROBLEM, seen, commands.spasshd("check")))
    allowed = [user for user in users if _is_allowed(user, now)]
    data = {"users": len(users), "allowed": len(allowed)}
    if not allowed:
        who = "none of them is allowed in now" if users else "there are none"
        worth = _PROBLEM if settings.firewall.dropped else _WARNING
        seen = f"nobody is let in: {who}"
        remedy = commands.spasshd("user list" if users else "user add NAME")
        return [*found, Finding("users", worth, seen, remedy, data)]
    others = [user.name for user in users if user not in allowed]
    if others:
        seen = f"not allowed in now: {list_some(others)}"
        remedy = "see 'not_before' and 'expires' of the user and the keys"
        found.append(Finding("users", _WARNING, seen, remedy, data))
    else:
        seen = f"{len(users)} can be let in: {list_some([user.name for user in users])}"
        found.append(Finding("users", _OK, seen, "", data))
    return found


def judge_invites(names: Sequence[str]) -> list[Finding]:
    """Say who has a key that has travelled in an invite."""
    if not names:
        return []
    seen = f"with the key of an invite, which others may have seen: {list_some(names)}"
    return [Finding("users", _WARNING, seen, "on the user's computer: spassh enroll")]


def judge_daemon(
    state: dict[str, Any] | None,
    strange: str,
    users: int,
    port: int,
    commands: Commands,
) -> list[Finding]:
    """Judge what the daemon says of itself.

    Args:
        state: its answer, or None if there is none.
        strange: why what answers cannot be it, or empty.
        users: how many the files have.
        port: the UDP port for knocks.
        commands: those of the remedies.
    """
    if state is None:
        if strange:
            seen = f"a daemon runs, and does not answer as one: {strange}"
            return [Finding("daemon", _PROBLEM, seen, commands.restart)]
        seen = "spasshd is not running, so nobody is let in"
        return [Finding("daemon", _PROBLEM, seen, commands.start)]
    found = []
    data = {"pid": state["pid"], "drops": state["capture_drops"]}
    if not state["ready"]:
        seen = "it is starting: the granter has not answered yet"
        remedy = "if it goes on, see why in the log, and then: " + commands.restart
        found.append(Finding("daemon", _WARNING, seen, remedy, data))
    if state["users"] != users:
        seen = f"the daemon knows {state['users']} users, and the files have {users}"
        found.append(
            Finding("daemon", _WARNING, seen, commands.spasshd("reload"), data)
        )
    if state["capture_drops"]:
        seen = (
            f"{state['capture_drops']} packets came too fast for it: among so many to"
            f" udp/{port}, a knock may be lost"
        )
        remedy = f"see who floods: tcpdump -n -c 20 udp port {port}"
        found.append(Finding("daemon", _WARNING, seen, remedy, data))
    if not found:
        seen = f"it runs, pid {state['pid']}, and is ready"
        found.append(Finding("daemon", _OK, seen, "", data))
    return found


def judge_service(settings: Config, service: Service, commands: Commands) -> Finding:
    """Say whether the daemon comes back after a reboot: without it, nothing is shut."""
    data = {"enabled": service.enabled, "active": service.active}
    if service.problem:
        remedy = f"systemctl status {UNIT}"
        return Finding("boot", _UNKNOWN, service.problem, remedy)
    if not commands.is_service:
        what = f"{UNIT} has another file" if service.load else "systemd is not here"
        seen = f"it is not known who starts spasshd at the next boot: {what}"
        return Finding(
            "boot", _UNKNOWN, seen, f"see that this is run: {commands.start}"
        )
    if service.load == "loaded" and service.enabled in {"enabled", "static", "alias"}:
        return Finding("boot", _OK, f"{UNIT} is {service.enabled}", "", data)
    worth = _PROBLEM if settings.firewall.dropped else _WARNING
    how = service.enabled or service.load
    if service.load == "not-found":
        seen = f"there is no {UNIT}: after the next boot nothing is shut"
        remedy = f"install the {UNIT} of spassh, then: systemctl enable {UNIT}"
    else:
        seen = f"{UNIT} is {how}: after the next boot nothing is shut, or nobody let in"
        remedy = f"systemctl enable {UNIT}"
        if how.startswith("masked"):
            remedy = f"systemctl unmask {UNIT}, then: {remedy}"
    return Finding("boot", worth, seen, remedy, data)


def judge_store(
    path: str, disk: Disk, owner: tuple[int, int], problem: str, commands: Commands
) -> list[Finding]:
    """Judge the directory of the replay memory.

    Args:
        path: state_dir.
        disk: what it is.
        owner: uid and gid of the listener.
        problem: what the daemon says of its store, or empty.
        commands: those of the remedies.
    """
    data: Mapping[str, Value] = {"path": path, "free": disk.free}
    if disk.is_missing:
        seen = f"{path}: not there yet; the daemon makes it when it starts"
        return [Finding("store", _UNKNOWN, seen, commands.start)]
    found = [
        Finding("store", _PROBLEM, f"{path}: {fault}", remedy, data)
        for fault, remedy in _faults(quote(path), disk, owner)
    ]
    if problem:
        remedy = "mend what is told above, or see the disk; it tries again by itself"
        seen = f"{problem}: a restart refuses what was made before it"
        found.append(Finding("store", _PROBLEM, seen, remedy, data))
    if not found:
        seen = f"{path}: the listener's own, and {disk.free >> 20} MiB are free"
        found.append(Finding("store", _OK, seen, "", data))
    return found


def _faults(path: str, disk: Disk, owner: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a directory, each with what mends it."""
    if disk.problem:
        yield disk.problem, f"ls -ld {path}"
        return
    if not disk.is_directory:
        yield "not a directory, and the daemon follows no link", f"ls -ld {path}"
        return
    uid, gid = owner
    if (disk.uid, disk.gid) != owner:
        theirs, ours = f"{disk.uid}:{disk.gid}", f"{uid}:{gid}"
        fault = f"belongs to {theirs}, and not to the listener, {ours}"
        yield fault, f"chown -R {ours} {path}"
    if disk.mode != 0o700:
        yield f"has the mode {disk.mode:03o}, and not 700", f"chmod 700 {path}"
    if disk.read_only:
        mount = f'"$(findmnt -no TARGET -T {path})"'
        yield "the disk is read-only", f"mount -o remount,rw {mount}"
    elif disk.files == 0:
        yield "the disk can hold no more files", f"df -i {path}"
    elif disk.free < MAX_BYTES:
        fault = f"{disk.free} bytes are free, and it may take {MAX_BYTES}"
        yield fault, f"make room: df -h {path}"


def _is_allowed(user: User, now: int) -> bool:
    """Tell whether the user and one of the keys are allowed in at that time."""
    begun = user.not_before <= now
    over = bool(user.expires) and user.expires <= now
    keys = any(not key.expires or key.expires > now for key in user.all_keys)
    return begun and not over and keys


def list_some(names: Sequence[str]) -> str:
    """Return the first of `names`, and how many more there are."""
    more = len(names) - MOST_NAMED
    told = ", ".join(names[:MOST_NAMED])
    return f"{told} and {more} more" if more > 0 else told
