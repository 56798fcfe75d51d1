"""The programs of the administrator that the granter runs: commands and hooks.

Without any in the configuration, this does nothing and takes no capability.
"""

import select
import time
from collections.abc import Callable
from typing import Final

from ..addresses import text
from ..clock import wall_clock
from ..commands import match
from ..config import Config
from ..firewall import Grant
from ..toml import ConfigError
from .hooks import Hooks
from .job_log import JobLog
from .jobs import Account, Ended, Job, Jobs, check_program, find_account
from .message import RunMessage
from .sandbox import CAP_KILL, CAP_SETGID, CAP_SETUID

_AT_ONCE: Final = 8
_WAITING: Final = 64
_LONGEST_WAIT_SECONDS: Final = 60
"""The clock may be set while we wait for the end of a grant."""


class Programs:
    """Starts what is allowed, and hears how it ended."""

    def __init__(self, settings: Config, poll: select.poll) -> None:
        """Look everything up that is needed later, while nobody waits for us.

        Raises:
            ConfigError: an account or a program is not there, or others may change it.
        """
        self._settings = settings
        self._log = JobLog(time.monotonic)
        self._accounts = find_accounts(settings)
        self._commands = Jobs(poll, at_once=_AT_ONCE, waiting=_WAITING)
        self._hook_jobs = Jobs(poll, at_once=_AT_ONCE, waiting=_WAITING)
        self._hooks: Hooks | None = None
        if settings.on_open or settings.on_close:
            self._hooks = Hooks(settings.run_dir, self._start_hook)

    @property
    def capabilities(self) -> frozenset[int]:
        """What it takes to become another account, and to end what runs as it."""
        if not self._accounts:
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
            argv,
            self._accounts[command.run_as],
            command.seconds,
            say,
            {"SPASSH_USER": wanted.user, "SPASSH_ADDRESS": address},
            # One user's slow command keeps that user waiting, and nobody else.
            lane=wanted.user,
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

    def close(self) -> None:
        """End what still runs."""
        self._commands.close()
        self._hook_jobs.close()

    def _start_hook(
        self, name: str, told: bytes, lane: str, done: Callable[[], None]
    ) -> None:
        settings = self._settings
        argv = settings.on_open if name == "on_open" else settings.on_close
        if not argv:
            done()
            return

        def say(ended: Ended) -> None:
            self._log.hook(name, ended)
            if ended.status != "stopped":
                done()

        account = self._accounts[settings.hook_user]
        job = Job(argv, account, settings.hook_timeout, say, stdin=told, lane=lane)
        # What was opened elsewhere has to be closed there, however busy we are.
        if not self._hook_jobs.start(job, owed=name == "on_close"):
            say(Ended("not-started", 0, b"too many hooks wait", 0))


def find_accounts(settings: Config) -> dict[str, Account]:
    """Look up every account that a program runs as, and see that programs are safe.

    Raises:
        ConfigError: an account or a program is not there, or others may change it.
    """
    hooks = {"on_open": settings.on_open, "on_close": settings.on_close}
    wanted = [("argv", "run_as", one.argv, one.run_as) for one in settings.command]
    wanted += [
        (key, "hook_user", argv, settings.hook_user) for key, argv in hooks.items()
    ]
    accounts = {}
    for program_key, account_key, argv, account in wanted:
        if not argv:
            continue
        key = program_key
        try:
            check_program(argv[0])
            key = account_key
            accounts[account] = find_account(account)
        except ValueError as error:
            hint = "see spasshd.toml(5)"
            raise ConfigError(settings.path, 0, key, str(error), hint) from error
    return accounts
