"""What the verbs have in common that change which ports are dropped."""

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from . import control, events
from .clock import booted_ms, monotonic_ms, wall_clock
from .config import Config, parse
from .files import read_private, replace
from .firewall import FirewallError
from .firewall.select import choose
from .ports import Port
from .protect_line import with_protect
from .toml import ConfigError
from .trial import Trial, clear_trial, read_trial, settings_of

Ports = tuple[Port, ...]

_PATIENCE: Final = 10.0
"""Seconds to wait for another verb that changes the same."""
_INTERVAL: Final = 0.05


class BusyError(Exception):
    """Another verb does not come to its end."""


def listed(ports: Iterable[Port]) -> str:
    """Name the ports."""
    return ", ".join(map(str, ports))


@contextmanager
def alone(settings: Config) -> Iterator[None]:
    """Keep out all others who would change what is protected.

    The lock is a file that nobody but root can open, so nobody else can hold it.

    Raises:
        BusyError: somebody had it all the time.
        OSError: there is no run_dir.
    """
    path = os.path.join(settings.run_dir, "protect.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        _lock(fd)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise BusyError from None
            time.sleep(_INTERVAL)
        else:
            return


def trial_now(settings: Config) -> Trial | None:
    """Return the trial that is under way.

    Raises:
        ConfigError: the file is damaged, or others than root can write it.
    """
    return read_trial(settings, booted_ms(), monotonic_ms())


def end_trial(settings: Config) -> Ports:
    """Take the trial away, in whatever state it is; return its ports if it had some."""
    try:
        trial = trial_now(settings)
    except ConfigError as error:
        events.error(error, "it is taken away")
        trial = None
    clear_trial(settings)
    return trial.ports if trial else ()


def rewrite(settings: Config, change: Callable[[Ports], Ports]) -> Ports:
    """Change what the configuration file protects; return what it protects now.

    Its mode, its owner and its group stay, and so does a link that leads to it.

    Raises:
        ConfigError: the file is wrong, or cannot be changed by a program.
        OSError: it cannot be written.
    """
    path = os.path.realpath(settings.path)
    text = read_private(path, secret=False)
    ports = tuple(dict.fromkeys(change(parse(text, settings.path).protect)))
    changed = with_protect(text, settings.path, ports)
    if changed != text:
        replace(path, changed, like=os.stat(path))
    return ports


def see_rewritable(settings: Config, ports: Ports) -> None:
    """See that the configuration file can be changed so that it protects `ports`.

    Raises:
        ConfigError: it cannot, and the hint is what to write by hand.
    """
    with_protect(read_private(settings.path, secret=False), settings.path, ports)


def have_applied(settings: Config) -> bool:
    """Have the daemon do what the files say now; say why if it does not.

    Raises:
        NotRunningError: there is none.
    """
    problem = control.ask(settings.run_dir, control.PROTECT).get("error")
    if problem:
        events.error(problem)
    return not problem


def is_in_force(settings: Config, protect: Ports, trial: Trial | None) -> bool:
    """Ask the kernel whether it drops just that, and say so if it does not.

    What the daemon says of it does not count: the half of it that answers is the one
    that reads the network.
    """
    wanted = settings._replace(protect=protect)
    try:
        firewall, _ = choose(settings.backend, wanted.firewall, wall_clock)
        told = settings_of(wanted, trial, holds=firewall.holds)
        firewall, _ = choose(firewall.name, told, wall_clock)
        if firewall.in_place():
            return True
    except FirewallError as error:
        events.error(error, error.hint)
        return False
    events.error(
        f"what is dropped is not what {settings.path} says",
        "restart spasshd, which takes over what was changed by hand",
    )
    return False
