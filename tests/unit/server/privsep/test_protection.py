"""What is dropped follows the files, and a trial ends whatever becomes of it."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from unit.server.firewall_double import RecordingFirewall
from unit.server.parties import HERE, THERE

from spassh_server import config
from spassh_server.events import Limiter
from spassh_server.firewall import Firewall, FirewallError, Settings
from spassh_server.firewall.sessions import Session
from spassh_server.ports import Port
from spassh_server.privsep import protection as module
from spassh_server.privsep.message import Connection
from spassh_server.privsep.proofs import Proofs
from spassh_server.privsep.protection import Protection
from spassh_server.toml import ConfigError
from spassh_server.trial import Trial, clear_trial, write_trial

Captured = pytest.CaptureFixture[str]

SSH, WEB = Port(6, 22), Port(6, 443)
BOOTED = 1_767_225_600_000


class Site:
    """A configuration, a trial, and the firewalls that were made for them."""

    def __init__(self, directory: Path, clock: SimpleNamespace) -> None:
        self._path = directory / "spasshd.toml"
        self.clock = clock
        self.protect()
        self.config = config.load(str(self._path))
        os.mkdir(self.config.run_dir)
        self.made: list[tuple[Settings, RecordingFirewall]] = []
        self.failing: set[str] = set()
        self.holds = True
        first = self._make(self.config.firewall)
        self.taken_back: list[tuple[Port, ...]] = []
        self.resists = False
        self.begun: frozenset[Session] | None = frozenset()
        self.protection = Protection(
            self.config,
            first,
            self._make,
            take_back=self._take_back,
            proofs=Proofs(self._begun),
            lines=Limiter(lambda: 0.0, 1000),
        )

    def _take_back(self, ports: tuple[Port, ...]) -> None:
        assert self.protection.firewall is self.made[-1][1]
        self.taken_back.append(ports)
        if self.resists:
            raise FirewallError("it stays")

    def _begun(self, _: Iterable[Port]) -> frozenset[Session]:
        # Who is there on an older grant has to be seen, so that goes first.
        assert self.taken_back
        if self.begun is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return self.begun

    def _make(self, settings: Settings) -> Firewall:
        made = RecordingFirewall()
        made.holds = self.holds
        made.failing = set(self.failing)
        self.made.append((settings, made))
        return made

    def protect(self, *ports: str, more: str = "") -> None:
        """Write what is to be protected."""
        listed = ", ".join(f'"{port}"' for port in ports)
        self._path.write_text(
            f'protect = [{listed}]\ngrant_ports = ["tcp/22", "tcp/443"]\n{more}'
        )
        self._path.chmod(0o600)

    def begin(self, *ports: Port, seconds: int = 120) -> None:
        """Write a trial that begins now."""
        trial = Trial(ports, self.clock.ms, self.clock.ms + 1000 * seconds)
        write_trial(self.config, trial, BOOTED)

    @property
    def now(self) -> list[tuple[Port, ...]]:
        """What is dropped for good and on trial, as the last firewall was told."""
        settings, firewall = self.made[-1]
        assert self.protection.firewall is firewall
        return [settings.protect, settings.trial]

    @property
    def last(self) -> RecordingFirewall:
        return self.made[-1][1]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    clock = SimpleNamespace(ms=5_000_000)
    monkeypatch.setattr(module, "monotonic_ms", lambda: clock.ms)
    monkeypatch.setattr(module, "booted_ms", lambda: BOOTED)
    return Site(tmp_path, clock)


def test_without_a_trial_the_firewall_is_prepared_as_it_is(site: Site) -> None:
    site.protection.start()
    assert len(site.made) == 1
    assert site.last.calls == ["prepare"]
    assert site.protection.until_end() is None


def test_a_trial_is_held_for_the_time_it_has_left_and_then_taken_back(
    site: Site, capsys: Captured
) -> None:
    site.protection.start()
    site.begin(SSH)
    site.clock.ms += 20_500
    site.protection.apply()
    assert site.now == [(), (SSH,)]
    assert site.last.calls == ["prepare", "hold"]
    assert site.last.held == [100]
    assert site.protection.until_end() == 99_501

    site.clock.ms += 99_501
    assert site.protection.until_end() is None
    assert site.now == [(), ()]
    assert site.last.calls == ["prepare"]
    assert "rollback ports=tcp/22" in capsys.readouterr().err


def test_an_earlier_run_has_left_one(site: Site) -> None:
    site.begin(SSH, seconds=60)
    site.protection.start()
    assert site.now == [(), (SSH,)]
    assert site.last.held == [60]


@pytest.mark.parametrize("damage", ["", "ports = 1", "x"])
def test_one_that_is_damaged_is_none(site: Site, damage: str, capsys: Captured) -> None:
    site.begin(SSH)
    Path(site.config.run_dir, "trial").write_text(damage)
    site.protection.start()
    assert len(site.made) == 1
    assert site.last.calls == ["prepare"]
    assert "error: trial: " in capsys.readouterr().err


def test_one_that_the_firewall_refuses_at_the_start_is_none(
    site: Site, capsys: Captured
) -> None:
    site.begin(SSH)
    site.failing = {"hold"}
    site.protection.start()
    assert site.protection.firewall is site.made[0][1]
    assert site.made[0][1].calls[-1] == "prepare"
    assert "hold failed" in capsys.readouterr().err
    assert site.protection.until_end() is None


def test_what_is_confirmed_is_dropped_for_good(site: Site) -> None:
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    site.protect("tcp/22")
    clear_trial(site.config)
    site.protection.apply()
    assert site.now == [(SSH,), ()]
    site.clock.ms += 10**9
    assert site.protection.until_end() is None
    assert site.now == [(SSH,), ()]


def test_whoever_was_killed_after_writing_the_file_has_confirmed(site: Site) -> None:
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    site.protect("tcp/22")
    site.clock.ms += 120_000
    assert site.protection.until_end() is None
    assert site.now == [(SSH,), ()]


@pytest.mark.parametrize("step", ["prepare", "hold"])
def test_if_the_firewall_refuses_it_is_told_again_what_it_was(
    site: Site, step: str
) -> None:
    site.protection.start()
    before = site.last
    site.failing = {step}
    site.begin(SSH)
    with pytest.raises(FirewallError, match=f"{step} failed"):
        site.protection.apply()
    assert site.protection.firewall is before
    assert before.calls == ["prepare", "prepare"]
    assert site.protection.until_end() is None


def test_a_broken_file_changes_nothing(site: Site) -> None:
    site.protection.start()
    site.begin(SSH)
    site.protect("tcp/22", more="protect = 1\n")
    with pytest.raises(ConfigError):
        site.protection.apply()
    assert len(site.made) == 1


def test_a_broken_file_does_not_keep_a_trial_from_its_end(
    site: Site, capsys: Captured
) -> None:
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    site.protect(more="protect = 1\n")
    site.clock.ms += 120_000
    assert site.protection.until_end() is None
    assert site.now == [(), ()]
    assert "error: " in capsys.readouterr().err


def test_a_port_that_nobody_could_be_granted_is_refused(site: Site) -> None:
    """The listener and our bounds know the ports of the start."""
    site.protection.start()
    site.protect("tcp/80", more="")
    text = 'protect = ["tcp/80"]\ngrant_ports = ["tcp/80"]\n'
    Path(site.config.path).write_text(text)
    with pytest.raises(ConfigError, match="tcp/80 was not in grant_ports"):
        site.protection.apply()


def test_an_end_that_fails_is_tried_again(site: Site, capsys: Captured) -> None:
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    site.failing = {"prepare"}
    site.clock.ms += 120_000
    assert site.protection.until_end() == 1000
    assert "error: trial: prepare failed" in capsys.readouterr().err
    site.clock.ms += 400
    assert site.protection.until_end() == 601
    site.failing = set()
    site.clock.ms += 600
    assert site.protection.until_end() is None
    assert site.now == [(), ()]


def test_who_leaves_opens_what_is_on_trial(site: Site) -> None:
    site.protection.start()
    site.protection.leave()
    assert len(site.made) == 1
    site.protect("tcp/443")
    site.begin(SSH)
    site.protection.apply()
    assert site.now == [(WEB,), (SSH,)]
    site.protection.leave()
    assert site.now == [(WEB,), ()]


def test_after_it_was_mended_the_firewall_holds_again(site: Site) -> None:
    site.protection.start()
    site.protection.mended()
    assert site.last.held == []
    site.begin(SSH)
    site.protection.apply()
    site.clock.ms += 100_000
    site.protection.mended()
    assert site.last.held == [120, 20]


def test_a_packet_filter_that_holds_nothing_is_told_of_the_end(site: Site) -> None:
    site.holds = False
    site.protection.firewall.holds = False
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    assert site.now == [(SSH,), ()]
    assert site.last.held == []
    site.clock.ms += 120_000
    assert site.protection.until_end() is None
    assert site.now == [(), ()]


LOGIN = Connection(HERE, 40_000, 22)


def test_only_who_was_let_in_during_this_trial_proves_anything(site: Site) -> None:
    protection = site.protection
    protection.start()
    protection.note(HERE, SSH)
    assert not protection.is_proof(LOGIN)
    site.begin(SSH)
    protection.apply()
    assert site.taken_back == [(SSH,)]
    assert not protection.is_proof(LOGIN), "that was before"
    protection.note(HERE, SSH)
    assert protection.is_proof(LOGIN)
    # The same trial, because something else was asked for.
    protection.apply()
    assert protection.is_proof(LOGIN)
    assert site.taken_back == [(SSH,)]
    site.clock.ms += 1
    site.begin(SSH)
    protection.apply()
    assert not protection.is_proof(LOGIN), "that was an earlier trial"
    clear_trial(site.config)
    protection.apply()
    protection.note(HERE, SSH)
    assert not protection.is_proof(LOGIN)


def test_a_login_in_a_gap_of_the_drop_proves_nothing(site: Site) -> None:
    """The rules were flushed, or the daemon was started anew."""
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    site.begun = frozenset({Session((THERE, 22), (HERE, 40_000))})
    site.protection.mended()
    site.protection.note(HERE, SSH)
    assert not site.protection.is_proof(LOGIN)
    assert site.protection.is_proof(LOGIN._replace(client_port=40_001))


def test_a_trial_that_was_left_begins_anew(site: Site) -> None:
    site.begun = frozenset({Session((THERE, 22), (HERE, 40_000))})
    site.begin(SSH)
    site.protection.start()
    assert site.taken_back == [(SSH,)]
    site.protection.note(HERE, SSH)
    assert not site.protection.is_proof(LOGIN)


def test_if_an_older_grant_resists_nothing_is_a_proof(
    site: Site, capsys: Captured
) -> None:
    site.protection.start()
    site.begin(SSH)
    site.resists = True
    site.protection.apply()
    site.protection.note(HERE, SSH)
    assert not site.protection.is_proof(LOGIN)
    assert "error: trial: it stays" in capsys.readouterr().err


def test_if_nobody_can_tell_who_was_there_nothing_is_a_proof(
    site: Site, capsys: Captured
) -> None:
    site.protection.start()
    site.begin(SSH)
    site.begun = None
    site.protection.apply()
    assert site.now == [(), (SSH,)]
    site.protection.note(HERE, SSH)
    assert not site.protection.is_proof(LOGIN)
    assert "error: trial: nobody can confirm it" in capsys.readouterr().err


def test_what_was_changed_by_hand_waits_until_somebody_says_so(site: Site) -> None:
    """A trial of one port must not shut another one for good."""
    site.protection.start()
    site.begin(SSH)
    site.protection.apply()
    site.protect("tcp/443", "tcp/22")
    site.clock.ms += 120_000
    assert site.protection.until_end() is None
    assert site.now == [(SSH,), ()]
    site.protect("tcp/443")
    site.protection.leave()
    assert site.now == [(SSH,), ()]


def test_a_port_that_cannot_be_on_trial_is_told(site: Site) -> None:
    site.protection.start()
    site.begin(SSH, Port(6, 80))
    with pytest.raises(ConfigError, match="tcp/80 was no port to protect when"):
        site.protection.apply()
    assert len(site.made) == 1


def test_a_rollback_names_what_was_not_confirmed(site: Site, capsys: Captured) -> None:
    site.protection.start()
    site.begin(SSH, WEB)
    site.protection.apply()
    site.protect("tcp/22")
    site.clock.ms += 120_000
    site.protection.until_end()
    assert "rollback ports=tcp/443\n" in capsys.readouterr().err
