"""What the firewall drops: what spasshd.toml says, and what is on trial beside it.

Whoever asks for a change says only that there is one. What it is, the granter reads
from files that root alone can write.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from .. import config
from ..clock import booted_ms, monotonic_ms
from ..config import Config
from ..events import Limiter
from ..firewall import Firewall, FirewallError, Settings
from ..ports import Port
from ..toml import ConfigError
from ..trial import Trial, on_trial, read_trial, settings_of
from .message import Connection
from .proofs import Proofs

Make = Callable[[Settings], Firewall]
"""Makes a firewall of the kind that is in use, with other settings."""
TakeBack = Callable[[tuple[Port, ...]], None]
"""Takes the grants of these ports back; raises FirewallError if one resists."""

_AGAIN_MS = 1000
"""Between an end of a trial that failed and the next try."""


class Protection:
    """The firewall as it was told last, and how to tell it anew."""

    def __init__(
        self,
        settings: Config,
        firewall: Firewall,
        make: Make,
        *,
        take_back: TakeBack,
        proofs: Proofs,
        lines: Limiter,
    ) -> None:
        """Begin with the `firewall` that `settings` make, which is not prepared yet.

        What is said goes through `lines`: a listener that was taken over may ask for
        changes without an end.
        """
        self.firewall = firewall
        self._config = settings
        self._make = make
        self._take_back = take_back
        self._proofs = proofs
        self._lines = lines
        self._protect = settings.protect
        self._trial: Trial | None = None
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
            self._complain(error)
        self.firewall.prepare()

    def apply(self) -> None:
        """Have the firewall drop what the files say now.

        Raises:
            ConfigError: a file is wrong. All is as before.
            FirewallError: the firewall refused. It was told again what it was before.
        """
        protect = self._read()
        trial = read_trial(self._config, booted_ms(), monotonic_ms())
        wanted = self._config._replace(protect=protect)
        known = {*protect, *on_trial(wanted, trial)}
        for port in trial.ports if trial else ():
            if port not in known:
                what = f"{port} was no port to protect when spasshd was started"
                raise ConfigError(wanted.path, 0, "", what, "restart spasshd")
        self._change(protect, trial)

    def until_end(self) -> int | None:
        """End the trial if its time is over; return ms until it is time, or None."""
        if self._trial is None:
            return None
        now = monotonic_ms()
        left = max(self._trial.ends, self._again) - now
        if left > 0:
            return left + 1
        ports = self._trial.ports
        try:
            self._end()
        except FirewallError as error:
            self._complain(error)
            self._again = now + _AGAIN_MS
            return _AGAIN_MS
        back = [port for port in ports if port not in self._protect]
        if back:
            self._lines.say("rollback", ports=_listed(back))
        return None

    def mended(self) -> None:
        """Drop again what is on trial: the firewall has been made anew.

        Raises:
            FirewallError: it refused. The ports on trial are open.
        """
        if self._trial is not None:
            self._hold(self.firewall, self._trial)
            self._begin(self._trial)

    def leave(self) -> None:
        """End a trial because nobody is left who could: the next run may go on with it.

        What spasshd.toml protects stays dropped.
        """
        if self._trial is None:
            return
        try:
            self._end()
        except FirewallError as error:
            self._complain(error)

    def note(self, address: bytes, port: Port) -> None:
        """Remember that `address` was let in to `port`, if there is a trial."""
        self._proofs.note(address, port)

    def is_proof(self, connection: Connection) -> bool:
        """Tell whether `connection` came through the drop that is on trial."""
        return self._trial is not None and self._proofs.holds(connection)

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
        """End the trial: what was confirmed stays, and nothing else is new."""
        mine = {*self._protect, *(self._trial.ports if self._trial else ())}
        protect = self._protect
        try:
            # Whoever was killed before we were told has confirmed all the same. What
            # else stands in the file waits until somebody says so.
            protect = tuple(port for port in self._read() if port in mine)
        except ConfigError as error:
            self._complain(error)
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
        before, self._trial = self._trial, trial
        self.firewall, self._protect = firewall, protect
        if trial is None:
            self._proofs.end()
        elif trial != before:
            self._begin(trial)
        self._lines.say("protect", ports=_listed(protect), trial=_listed(ports))

    def _begin(self, trial: Trial) -> None:
        """Take nothing for a proof but what comes from now on."""
        try:
            self._take_back(trial.ports)
            self._proofs.begin(trial.ports)
        except FirewallError as error:
            self._proofs.end()
            self._complain(error)
        except OSError as error:
            text = f"trial: nobody can confirm it: {error.strerror}"
            self._lines.error(text, "see 'protect --now' in spasshd(8)")

    def _complain(self, error: ConfigError | FirewallError) -> None:
        self._lines.error(f"trial: {error}", error.hint)

    def _hold(self, firewall: Firewall, trial: Trial | None) -> None:
        if trial is not None and firewall.holds:
            left = trial.ends - monotonic_ms()
            if left > 0:
                firewall.hold(-(-left // 1000))


def _listed(ports: Iterable[Port]) -> str:
    return ",".join(map(str, ports)) or "nothing"
