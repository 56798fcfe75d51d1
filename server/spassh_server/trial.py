"""A drop on trial: it ends by itself, unless somebody who got in confirms it in time.

The trial is a file in run_dir, which only root writes. The granter reads it for itself,
so nobody who talks to the granter can shut a port. Times are those of the monotonic
clock, which no wrong date moves, and a boot ends every trial.
"""

import os
from contextlib import suppress
from typing import Final, NamedTuple

from .config import Config
from .files import read_private, replace
from .firewall import Settings
from .limits import MAX_TRIAL_SECONDS
from .ports import Port
from .toml import read_toml

_MAX_MS: Final = 1 << 62
_KEYS: Final = ("booted", "begun", "ends", "ports")
_SAME_BOOT_MS: Final = 10_000
"""How far the wall clock may be set within a trial. One boot lasts longer than that."""


class Trial(NamedTuple):
    """Ports that are dropped until `ends`, and then what they were before."""

    ports: tuple[Port, ...]
    begun: int
    """Milliseconds of the monotonic clock at which it was written."""
    ends: int
    """Milliseconds of the same clock."""


def encode_trial(trial: Trial, booted: int) -> str:
    """Spell a trial; `booted` is when the machine was, in ms since 1970."""
    ports = ", ".join(f'"{port}"' for port in trial.ports)
    return (
        "# A drop on trial: see 'protect' in spasshd(8).\n"
        f"booted = {booted}\n"
        f"begun = {trial.begun}\n"
        f"ends = {trial.ends}\n"
        f"ports = [{ports}]\n"
    )


def parse_trial(text: str, path: str, booted: int, now: int) -> Trial | None:
    """Read a trial; return None if it has ended at `now` (ms), or with another boot.

    So has one in which the clock was set by more than ten seconds: nobody could tell.

    Raises:
        ConfigError: it is none.
    """
    table = read_toml(text, path)
    table.only(_KEYS)
    trial = Trial(
        table.ports("ports", ()),
        table.integer("begun", -1, 0, _MAX_MS),
        table.integer("ends", -1, 0, _MAX_MS),
    )
    begun_in = table.integer("booted", -_MAX_MS, 1 - _MAX_MS, _MAX_MS)
    is_this_boot = abs(begun_in - booted) <= _SAME_BOOT_MS
    # A clock that is as wrong after each boot makes the boots alike, so whatever can be
    # seen of it has to be right.
    is_whole = 0 < trial.ends - trial.begun <= 1000 * MAX_TRIAL_SECONDS
    is_now = trial.begun <= now < trial.ends
    return trial if is_this_boot and is_whole and is_now and trial.ports else None


def read_trial(config: Config, booted: int, now: int) -> Trial | None:
    """Return the trial that is under way at `now` (ms), if there is one.

    Raises:
        ConfigError: the file is damaged, or others than root can write it.
    """
    path = _path(config)
    if not os.path.lexists(path):
        return None
    return parse_trial(read_private(path, secret=True), path, booted, now)


def write_trial(config: Config, trial: Trial, booted: int) -> None:
    """Make `trial` the one that is under way.

    Raises:
        OSError: it cannot be written.
    """
    replace(_path(config), encode_trial(trial, booted))


def clear_trial(config: Config) -> None:
    """Take the trial away, if there is one.

    Raises:
        OSError: it cannot be taken away.
    """
    with suppress(FileNotFoundError):
        os.unlink(_path(config))


def on_trial(config: Config, trial: Trial | None) -> tuple[Port, ...]:
    """Return the ports that `trial` drops and `config` does not.

    Those that nobody could be granted are not among them, nor is any port if somebody
    else owns the drop.
    """
    if trial is None or config.manage != "drop":
        return ()
    return tuple(
        port
        for port in trial.ports
        if port in config.grant_ports and port not in config.protect
    )


def settings_of(config: Config, trial: Trial | None, *, holds: bool) -> Settings:
    """Return what a firewall is told, which `holds` ports on trial by itself or not."""
    settings, ports = config.firewall, on_trial(config, trial)
    if holds:
        return settings._replace(trial=ports)
    return settings._replace(protect=(*settings.protect, *ports))


def _path(config: Config) -> str:
    return os.path.join(config.run_dir, "trial")
