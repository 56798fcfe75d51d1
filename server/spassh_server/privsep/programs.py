"""The programs of the administrator that the granter runs: commands and hooks.

Without any in the configuration, this does nothing and takes no capability.
"""

import select
import time
from contextlib import suppress
from typing import Final, NamedTuple

from ..accounts import find_account as find_listener
from ..addresses import text
from ..clock import wall_clock
from ..commands import match
from ..config import Config
from ..firewall import Grant
from ..limits import MAX_GRANTS_PER_USER
from ..toml import ConfigError
from .hooks import Done, Hooks, Outcome
from .job import Account, Ended, Job
from .job_log import JobLog
from .jobs import Jobs, check_program, find_account
from .message import RunMessage
from .sandbox import CAP_KILL, CAP_SETGID, CAP_SETUID

_AT_ONCE: Final = 8
_WAITING: Final = 64
_COMMANDS_WAITING_EACH: Final = 4
_HOOKS_WAITING_EACH: Final = 8
"""Of one user, who must not keep all the others out."""
_CLOSES_WAITING: Final = 4096
_CLOSES_WAITING_EACH: Final = MAX_GRANTS_PER_USER
"""The same where there is no on_open to be refused, so that each grant would owe an
on_close at once. All that lives of one user may end at the same time."""
_LEAVE_SECONDS: Final = 5
"""For every on_close at the end. Whoever stops us waits for it."""
_LONGEST_WAIT_SECONDS: Final = 60
"""The clock may be set while we wait for the end of a grant."""
_TOO_MANY: Final = Ended("not-started", 0, b"too many hooks wait", 0)
_OUTCOMES: Final = {
    "0": Outcome.DONE,
    "not-started": Outcome.NOT_BEGUN,
    "dropped": Outcome.NOT_BEGUN,
}
"""What an `Ended.status` means for a hook; any other is that of one that failed."""


class Programs:
    """Starts what is allowed, and hears how it ended."""

    def __init__(self, settings: Config, poll: select.poll) -> None:
        """Look everything up that is needed later, while nobody waits for us.

        Raises:
            ConfigError: an account or a program is not there, or others may change it.
        """
        self._settings = settings
        self._log = JobLog(time.monotonic)
        self._known = find_accounts(settings)
        self._commands = Jobs(
            poll,
            at_once=_AT_ONCE,
            waiting=_WAITING,
            waiting_each=_COMMANDS_WAITING_EACH,
        )
        self._hook_jobs = Jobs(
            poll, at_once=_AT_ONCE, waiting=_WAITING, waiting_each=_HOOKS_WAITING_EACH
        )
        self._hooks: Hooks | None = None
        if settings.on_open or settings.on_close:
            runner = _HookRunner(settings, self._known, self._hook_jobs, self._log)
            self._hooks = Hooks(settings.run_dir, runner)

    @property
    def capabilities(self) -> frozenset[int]:
        """What it takes to become another account, and to end what runs as it."""
        if not self._known.accounts:
            return frozenset()
        return frozenset({CAP_SETUID, CAP_SETGID, CAP_KILL})

    def turn(self, ready: set[int]) -> None:
        """Do what there is to do, given the descriptors that are `ready`."""
        for fd in ready:
            if not self._commands.handle(fd):
                self._hook_jobs.handle(fd)
        if self._hooks is not None:
            self._hooks.run_due(wall_clock())

    def until_next(self) -> int | None:
        """Return the milliseconds until there is something to do, or None."""
        waits = [self._commands.until_next(), self._hook_jobs.until_next()]
        ends = self._hooks.next_end() if self._hooks is not None else None
        if ends is not None:
            left = min(ends - wall_clock(), _LONGEST_WAIT_SECONDS)
            waits.append(max(0, int(left * 1000)) + 1)
        return min((one for one in waits if one is not None), default=None)

    def run(self, wanted: RunMessage) -> tuple[bool, bool]:
        """Run the command; return whether it is allowed, and whether it is under way.

        The listener has judged it as well. This is the granter's own judgement.
        """
        # Another one may allow the same words, and run them as somebody else.
        named = [one for one in self._settings.command if one.name == wanted.command]
        command = match(named, wanted.argv)
        if command is None:
            return False, False
        address, argv = text(wanted.address), wanted.argv

        def say(ended: Ended) -> None:
            self._log.command(wanted.user, address, command, argv, ended)

        job = Job(
            self._known.programs[command.argv[0]],
            argv,
            self._known.accounts[command.run_as],
            command.seconds,
            say,
            {"SPASSH_USER": wanted.user, "SPASSH_ADDRESS": address},
            # One user's slow command keeps that user waiting, and nobody else.
            lane=wanted.user,
            user=wanted.user,
        )
        return True, self._commands.start(job)

    def opened(self, grant: Grant, seconds: int, user: str) -> None:
        """Tell the hooks of a grant."""
        if self._hooks is not None:
            self._hooks.opened(grant, seconds, user, wall_clock())

    def closed(self, grant: Grant) -> None:
        """Tell the hooks of a grant that was taken back."""
        if self._hooks is not None:
            self._hooks.closed(grant)

    def forget(self, user: str) -> None:
        """Drop the commands of `user` that still wait; what runs goes on."""
        self._commands.drop(user)

    def leave(self) -> None:
        """End in good order: run on_close for all that is open, then `close`.

        After a reboot nobody would know of it, for run_dir is empty then. Nor is it
        known whether we come back, so a restart closes early as well, and the next
        request for the grant opens again. What is not done within a few seconds stays
        in the journal, for the next start of the same boot.
        """
        self._commands.close()
        if self._hooks is not None:
            self._hooks.close_all()
            self._hook_jobs.finish(_LEAVE_SECONDS)
        self.close()

    def close(self) -> None:
        """End what still runs. Each on_close that is owed stays in the journal."""
        self._commands.close()
        self._hook_jobs.close()


class _Known(NamedTuple):
    """What was looked up at the start."""

    accounts: dict[str, Account]
    """By name."""
    programs: dict[str, str]
    """What to execute, by the path as it is written."""


class _HookRunner:
    """Runs hooks as they are configured."""

    def __init__(
        self, settings: Config, known: _Known, jobs: Jobs, log: JobLog
    ) -> None:
        self._settings = settings
        self._known = known
        self._jobs = jobs
        self._log = log

    def start(self, name: str, told: bytes, lane: str, user: str, done: Done) -> None:
        settings = self._settings
        argv = settings.on_open if name == "on_open" else settings.on_close
        if not argv:
            if name == "on_open" and not self._may_owe(user):
                self._log.hook("on_close", _TOO_MANY)
                done(Outcome.NOT_BEGUN)
            else:
                # What is not there to be run has run, and the other one is told.
                done(Outcome.DONE)
            return

        def say(ended: Ended) -> None:
            self._log.hook(name, ended)
            if ended.status != "stopped":
                done(_OUTCOMES.get(ended.status, Outcome.FAILED))

        job = Job(
            self._known.programs[argv[0]],
            argv,
            self._known.accounts[settings.hook_user],
            settings.hook_timeout,
            say,
            stdin=told,
            lane=lane,
            user=user,
            # What was opened elsewhere has to be closed there, however busy we are.
            owed=name == "on_close",
        )
        if not self._jobs.start(job):
            say(_TOO_MANY)

    def _may_owe(self, user: str) -> bool:
        """Tell whether one more on_close of `user` may be owed without an on_open."""
        if self._jobs.waiting(user) >= _CLOSES_WAITING_EACH:
            return False
        return len(self._jobs) < _CLOSES_WAITING

    def drop(self, lane: str) -> None:
        self._jobs.drop(lane)


def find_accounts(settings: Config) -> _Known:
    """Look up every account that a program runs as, and every program.

    Raises:
        ConfigError: an account or a program is not there, or others may change it.
    """
    hooks = {"on_open": settings.on_open, "on_close": settings.on_close}
    wanted = [("argv", "run_as", one.argv, one.run_as) for one in settings.command]
    wanted += [
        (key, "hook_user", argv, settings.hook_user) for key, argv in hooks.items()
    ]
    known = _Known({}, {})
    for program_key, account_key, argv, account in wanted:
        if not argv:
            continue
        key = program_key
        hint = "see spasshd.toml(5)"
        try:
            known.programs[argv[0]] = check_program(argv[0])
            key = account_key
            found = known.accounts[account] = find_account(account)
        except ValueError as error:
            raise ConfigError(settings.path, 0, key, str(error), hint) from error
        if found.uid == _listener(settings):
            problem = f"'{account}' is what the listener runs as"
            hint = "give programs an account of their own: they could take it over"
            raise ConfigError(settings.path, 0, key, problem, hint)
    return known


def _listener(settings: Config) -> int | None:
    """Return the listener's uid, or None where it has no account, and cannot start."""
    with suppress(ConfigError):
        return find_listener(settings).uid
    return None
