"""What the firewall drops: what spasshd.toml says, and what is on trial beside it.

Whoever asks for a change says only that there is one. What it is, the granter reads
from files that root alone can write.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from .. import config, events
from ..clock import booted_ms, monotonic_ms
from ..config import Config
from ..firewall import Firewall, FirewallError, Settings
from ..limits import MAX_PROVED_ADDRESSES
from ..ports import Port
from ..toml import ConfigError
from ..trial import Trial, on_trial, read_trial, settings_of

Make = Callable[[Settings], Firewall]
"""Makes a firewall of the kind that is in use, with other settings."""

_AGAIN_MS = 1000
"""Between an end of a trial that failed and the next try."""


class Protection:
    """The firewall as it was told last, and how to tell it anew."""

    def __init__(self, settings: Config, firewall: Firewall, make: Make) -> None:
        """Begin with the `firewall` that `settings` make, which is not prepared yet."""
        self.firewall = firewall
        self._config = settings
        self._make = make
        self._protect = settings.protect
        self._trial: Trial | None = None
        self._proved: set[bytes] = set()
        self._again = 0

    def start(self) -> None:
        """Prepare the firewall, with a trial that an earlier run has left.

        Raises:
            FirewallError: it refused, and not because of the trial.
        """
        try:
            trial = read_trial(self._config, booted_ms(), monotonic_ms())
            if on_trial(self._config, trial):
                self._change(self._protect, trial)
                return
        except (ConfigError, FirewallError) as error:
            events.error(f"trial: {error}", error.hint)
        self.firewall.prepare()

    def apply(self) -> None:
        """Have the firewall drop what the files say now.

        Raises:
            ConfigError: a file is wrong. All is as before.
            FirewallError: the firewall refused. It was told again what it was before.
        """
        trial = read_trial(self._config, booted_ms(), monotonic_ms())
        self._change(self._read(), trial)

    def until_end(self) -> int | None:
        """End the trial if its time is over; return ms until it is time, or None."""
        if self._trial is None:
            return None
        now = monotonic_ms()
        left = max(self._trial.ends, self._again) - now
        if left > 0:
            return left + 1
        ports = on_trial(self._config, self._trial)
        try:
            self._end()
        except FirewallError as error:
            events.error(f"trial: {error}", error.hint)
            self._again = now + _AGAIN_MS
            return _AGAIN_MS
        events.say("rollback", ports=_listed(ports))
        return None

    def mended(self) -> None:
        """Drop again what is on trial: the firewall has been made anew.

        Raises:
            FirewallError: it refused. The ports on trial are open.
        """
        self._hold(self.firewall, self._trial)

    def leave(self) -> None:
        """End a trial because nobody is left who could: the next run may go on with it.

        What spasshd.toml protects stays dropped.
        """
        if self._trial is None:
            return
        try:
            self._end()
        except FirewallError as error:
            events.error(f"trial: {error}", error.hint)

    def note(self, address: bytes) -> None:
        """Remember that `address` was let in, if there is a trial."""
        if self._trial is not None and len(self._proved) < MAX_PROVED_ADDRESSES:
            self._proved.add(address)

    def is_proved(self, address: bytes) -> bool:
        """Tell whether `address` was let in since the trial began."""
        return self._trial is not None and address in self._proved

    def _read(self) -> tuple[Port, ...]:
        """Return what the configuration file protects.

        Raises:
            ConfigError: it is wrong, or more has changed than can be done as we run.
        """
        fresh = config.load(self._config.path)
        for port in fresh.protect:
            if port not in self._config.grant_ports:
                what = f"{port} was not in grant_ports when spasshd was started"
                raise ConfigError(fresh.path, 0, "protect", what, "restart spasshd")
        return fresh.protect

    def _end(self) -> None:
        protect = self._protect
        try:
            protect = self._read()
        except ConfigError as error:
            events.error(error, error.hint)
        self._change(protect, None)

    def _change(self, protect: tuple[Port, ...], trial: Trial | None) -> None:
        """Prepare another firewall in the place of the one there is."""
        wanted = self._config._replace(protect=protect)
        ports = on_trial(wanted, trial)
        trial = trial if ports else None
        holds = self.firewall.holds
        firewall = self._make(settings_of(wanted, trial, holds=holds))
        try:
            firewall.prepare()
            self._hold(firewall, trial)
        except FirewallError:
            with suppress(FirewallError):
                self.firewall.prepare()
                self._hold(self.firewall, self._trial)
            raise
        if trial is None or self._trial is None or trial.begun != self._trial.begun:
            self._proved.clear()
        self.firewall, self._protect, self._trial = firewall, protect, trial
        events.say("protect", ports=_listed(protect), trial=_listed(ports))

    def _hold(self, firewall: Firewall, trial: Trial | None) -> None:
        if trial is not None and firewall.holds:
            left = trial.ends - monotonic_ms()
            if left > 0:
                firewall.hold(-(-left // 1000))


def _listed(ports: Iterable[Port]) -> str:
    return ",".join(map(str, ports)) or "nothing"
