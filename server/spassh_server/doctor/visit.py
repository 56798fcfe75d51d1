"""Everything that `spasshd doctor` looks at, in order."""

import sys
from collections.abc import Iterator
from contextlib import suppress

import psutil

from spassh.protocol.finding import Finding, Result
from spassh.protocol.packet import Gate
from spassh.timekeeping import is_synchronised

from .. import control
from ..accounts import find_account
from ..answer import daemon_state
from ..clock import booted_ms, monotonic_ms, now_ms, wall_clock
from ..config import Config
from ..daemon import load_server_keys
from ..firewall import Firewall, FirewallError, Settings
from ..firewall.detours import find_detours
from ..firewall.foreign import Foreign
from ..firewall.nft import best
from ..firewall.select import choose
from ..mistakes import (
    begun_without_gpg,
    find_problems,
    missing_interfaces,
    unusable_widths,
    with_open_invites,
    without_gpg,
)
from ..systemd import is_service_manager
from ..toml import ConfigError
from ..trial import Trial, on_trial, read_trial, settings_of
from ..userfiles import read_users
from .commands import Commands
from .disk import look_at_disk
from .hearing import listen_to_itself
from .judge_filter import (
    Filter,
    judge_detours,
    judge_filter,
    judge_foreign,
    judge_tracking,
)
from .judge_host import (
    judge_clock,
    judge_hearing,
    judge_interfaces,
    judge_listeners,
    judge_place,
)
from .judge_service import (
    MOST_NAMED,
    judge_configuration,
    judge_daemon,
    judge_invites,
    judge_service,
    judge_store,
    judge_trial,
    judge_users,
)
from .machine import read_machine
from .service import ask_systemd
from .sockets import Session, down_interfaces, own_addresses, read_sockets
from .tracking import look_at_conntrack


def visit(settings: Config) -> Iterator[Finding]:
    """Yield all findings. Nothing is changed but for one datagram to ourselves."""
    commands = Commands(settings.path, is_service_manager())
    trial = _read_trial(settings)
    tried = on_trial(settings, trial)
    # What is on trial is looked at as if it were there for good.
    guarded = settings_of(settings, trial, holds=False)
    problems = find_problems(settings)
    yield from judge_configuration(settings, problems, commands)
    if trial is not None and tried:
        left = (trial.ends - monotonic_ms()) // 1000
        yield judge_trial(tried, left, commands)
    users, broken = read_users(settings)
    everybody = list(users.by_name.values())
    yield from judge_users(settings, everybody, broken, now_ms(), commands)
    for warning in without_gpg(settings, everybody)[:MOST_NAMED]:
        what, _, remedy = warning.partition(": ")
        yield Finding("users", Result.WARNING, what, remedy)
    yield from judge_invites(with_open_invites(everybody, now_ms()))

    state, strange = None, ""
    try:
        state = daemon_state(settings)
    except control.NoAnswerError as error:
        strange = str(error)
    except control.NotRunningError:
        pass
    refused = begun_without_gpg(settings, everybody, state)
    if refused:
        what = f"spasshd runs without gpg, and refuses what {refused} signs"
        yield Finding("users", Result.PROBLEM, what, commands.restart)
    yield from judge_daemon(state, strange, len(users), settings.knock_port, commands)
    yield judge_service(settings, ask_systemd(), commands)

    running = state is not None
    firewall, seen = _ask_filter(settings, trial)
    yield from judge_filter(seen, commands, running=running)
    yield from judge_foreign(seen, commands, running=running)
    if firewall is not None:
        for warning in unusable_widths(firewall, everybody)[:MOST_NAMED]:
            remedy = "see 'widths' of the user's file, or take another backend"
            yield Finding("users", Result.WARNING, warning, remedy)
        yield from _look_for_detours(guarded)
    yield from _look_at_sockets(guarded, commands)

    down = down_interfaces(settings.interfaces)
    yield from judge_interfaces(settings, missing_interfaces(settings), down)
    hearing = listen_to_itself(
        settings.interfaces,
        settings.knock_port,
        lambda: _frames(settings),
        _gate(settings),
    )
    yield judge_hearing(settings, hearing, commands)
    problem = state["store_problem"] if state else ""
    yield from _look_at_store(settings, problem, commands)
    yield judge_clock(synchronised=is_synchronised())
    yield from judge_place(settings, own_addresses(), read_machine())


def _read_trial(settings: Config) -> Trial | None:
    # Of one that is damaged, the daemon says so.
    with suppress(ConfigError):
        return read_trial(settings, booted_ms(), monotonic_ms())
    return None


def _ask_filter(
    settings: Config, trial: Trial | None
) -> tuple[Firewall | None, Filter]:
    """Ask the packet filter, which may answer a part of it."""
    wanted = settings.firewall
    try:
        firewall, why = choose(settings.backend, wanted, wall_clock)
        if on_trial(settings, trial):
            wanted = settings_of(settings, trial, holds=firewall.holds)
            firewall, _ = choose(firewall.name, wanted, wall_clock)
    except FirewallError as error:
        return None, Filter(why=str(error), hint=error.hint)
    seen = Filter(firewall.name, why)
    try:
        seen = seen._replace(warnings=tuple(firewall.warnings()))
        if firewall.name == "nftables":
            missing = Foreign(wanted, best()).missing()
            seen = seen._replace(missing=tuple(missing))
    except FirewallError as error:
        seen = seen._replace(warnings=(*seen.warnings, str(error)))
    try:
        return firewall, seen._replace(in_place=firewall.in_place())
    except FirewallError as error:
        return firewall, seen._replace(unknown=str(error), hint=error.hint)


def _look_for_detours(guarded: Settings) -> Iterator[Finding]:
    try:
        detours = find_detours(guarded)
    except FirewallError as error:
        remedy = "see for yourself: nft list ruleset"
        yield Finding("bypass", Result.UNKNOWN, str(error), remedy)
    else:
        yield from judge_detours(guarded, detours)


def _look_at_sockets(guarded: Settings, commands: Commands) -> Iterator[Finding]:
    sessions: list[Session] = []
    try:
        listeners, sessions = read_sockets(guarded.protect)
    except (OSError, psutil.Error) as error:
        yield Finding("listeners", Result.UNKNOWN, str(error), "ss -lntup")
    else:
        yield from judge_listeners(guarded.protect, listeners, commands)
    if sys.platform == "linux":
        tracking = look_at_conntrack(sessions)
        yield from judge_tracking(guarded, tracking, commands)


def _look_at_store(
    settings: Config, problem: str, commands: Commands
) -> Iterator[Finding]:
    try:
        account = find_account(settings)
    except ConfigError:
        return  # It was told with the configuration.
    disk = look_at_disk(settings.state_dir)
    yield from judge_store(settings.state_dir, disk, account, problem, commands)


def _gate(settings: Config) -> Gate | None:
    """Return what the server's key makes, or None: it was told with the rest."""
    with suppress(ConfigError):
        return load_server_keys(settings).gate
    return None


def _frames(settings: Config) -> int | None:
    """Return how many frames the daemon has counted, or None if none answers."""
    try:
        frames: int = daemon_state(settings)["counters"].get("frames", 0)
    except control.NotRunningError:
        return None
    return frames
