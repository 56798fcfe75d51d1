"""`protect`, `confirm` and `unprotect`: what they write, ask and say."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.server.parties import HERE, key_table

from spassh_server import cli, config, control
from spassh_server.clock import booted_ms, monotonic_ms
from spassh_server.login import Above
from spassh_server.ports import Port
from spassh_server.trial import Trial, read_trial, write_trial
from spassh_server.verbs import confirm

Captured = pytest.CaptureFixture[str]

SSH = Port(6, 22)
THERE = "192.0.2.7"
assert bytes([192, 0, 2, 7]) == HERE


class Site:
    """A configuration, and a daemon that answers."""

    def __init__(self, directory: Path, capsys: Captured) -> None:
        self.path = directory / "spasshd.toml"
        self._capsys = capsys
        self.write('protect = []  # soon\nrun_dir = "run"\n')
        self.config = config.load(str(self.path))
        os.mkdir(self.config.run_dir)
        os.mkdir(self.config.users_dir)
        self.user = Path(self.config.users_dir) / "ada.toml"
        self.user.write_text(key_table(9))
        self.user.chmod(0o600)
        self.asked: list[str] = []
        self.seen: list[tuple[Trial | None, tuple[Port, ...]]] = []
        """At each request to protect: the trial, and what the file protects."""
        self.answers: dict[str, Any] = {"protect": {}, "proof": {"proved": True}}
        self.running = True

    def write(self, text: str) -> None:
        self.path.write_text(text)
        self.path.chmod(0o640)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", str(self.path)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def ask(self, run_dir: str, request: str) -> Any:
        if not self.running:
            raise control.NotRunningError("nobody")
        assert run_dir == self.config.run_dir
        self.asked.append(request)
        if request == control.PROTECT:
            self.seen.append((self.trial, self.protected))
        return self.answers[request.partition(" ")[0]]

    @property
    def trial(self) -> Trial | None:
        return read_trial(self.config, booted_ms(), monotonic_ms())

    @property
    def protected(self) -> tuple[Port, ...]:
        return config.load(str(self.path)).protect

    def begin(self, *, seconds: int = 100) -> None:
        """Have a trial that has been under way for a minute."""
        now = monotonic_ms()
        trial = Trial((SSH,), now - 60_000, now + 1000 * seconds)
        write_trial(self.config, trial, booted_ms())


@pytest.fixture
def site(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path, capsys)
    monkeypatch.setattr(control, "ask", made.ask)
    return made


Logins = Callable[..., None]


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> Logins:
    """Have a login above us, which is so many seconds old."""

    def have(age: float, *connections: tuple[int, str]) -> None:
        monkeypatch.setattr(
            confirm, "processes_above", lambda: [Above(age, connections)]
        )

    return have


class TestProtect:
    def test_begins_a_trial_and_changes_no_configuration(self, site: Site) -> None:
        before = monotonic_ms()
        code, out, err = site("protect", "tcp/22", "--confirm-within", "90s")
        assert (code, err) == (0, "")
        assert out.startswith("on trial for 90 s: tcp/22\n")
        assert site.protected == ()
        assert site.trial is not None
        assert site.trial.ports == (SSH,)
        assert before + 90_000 <= site.trial.ends <= monotonic_ms() + 90_000
        ((at_the_time, _),) = site.seen
        assert at_the_time is not None
        # A login that was begun before the drop was in place does not count.
        assert at_the_time.begun <= site.trial.begun

    def test_takes_two_minutes_if_nobody_says(self, site: Site) -> None:
        assert site("protect", "tcp/22")[1].startswith("on trial for 120 s: ")

    @pytest.mark.parametrize("time", ["9", "61m", "3601s", "0", "-1", "1h", "", "m"])
    def test_takes_no_time_that_makes_no_sense(self, site: Site, time: str) -> None:
        with pytest.raises(SystemExit, match="2"):
            site("protect", "tcp/22", f"--confirm-within={time}")

    @pytest.mark.parametrize(
        ("answer", "running", "code"), [({"error": "no"}, True, 1), ({}, False, 3)]
    )
    def test_leaves_no_trial_that_nobody_has_begun(
        self, site: Site, answer: dict[str, str], running: bool, code: int
    ) -> None:
        site.answers["protect"], site.running = answer, running
        assert site("protect", "tcp/22")[0] == code
        assert site.trial is None

    def test_says_if_there_is_nothing_to_do(self, site: Site) -> None:
        site.write('protect = ["tcp/22"]\nrun_dir = "run"\n')
        assert site("protect", "tcp/22")[:2] == (0, "protected already: tcp/22\n")
        assert site.asked == []

    def test_refuses_what_nobody_could_be_granted(self, site: Site) -> None:
        code, _, err = site("protect", "tcp/443")
        assert code == 1
        assert "error: tcp/443 is not in grant_ports" in err

    def test_refuses_to_shut_everybody_out(self, site: Site) -> None:
        site.user.unlink()
        code, _, err = site("protect", "tcp/22")
        assert code == 1
        assert "error: there are no users" in err

    def test_refuses_where_somebody_else_drops(self, site: Site) -> None:
        site.write('manage = "accept"\nrun_dir = "run"\n')
        code, _, err = site("protect", "tcp/22")
        assert code == 1
        assert 'error: manage is "accept"' in err

    def test_takes_a_port(self, site: Site) -> None:
        code, _, err = site("protect")
        assert code == 2
        assert "error: no port was named" in err

    def test_can_do_without_a_trial(self, site: Site) -> None:
        code, out, _ = site("protect", "tcp/22", "--now")
        assert (code, out) == (0, "protected: tcp/22\n")
        assert site.seen == [(None, (SSH,))]
        assert site.path.read_text().startswith('protect = ["tcp/22"]  # soon\n')
        assert stat.S_IMODE(site.path.stat().st_mode) == 0o640

    def test_without_a_trial_it_may_come_before_the_daemon(self, site: Site) -> None:
        site.running = False
        code, _, err = site("protect", "tcp/22", "--now")
        assert code == 0
        assert "dropped when it starts" in err
        assert site.protected == (SSH,)

    def test_follows_a_link_to_the_file(self, site: Site, tmp_path: Path) -> None:
        target = tmp_path / "kept.toml"
        site.path.rename(target)
        site.path.symlink_to(target)
        assert site("protect", "tcp/22", "--now")[0] == 0
        assert site.path.is_symlink()
        assert site.protected == (SSH,)


class TestRollBack:
    def test_ends_the_trial(self, site: Site) -> None:
        site.begin()
        code, out, _ = site("protect", "--roll-back")
        assert (code, out) == (0, "rolled back: tcp/22\n")
        assert site.seen == [(None, ())]

    def test_does_no_harm_without_one(self, site: Site) -> None:
        expected = (0, "no trial is under way\n", "")
        assert site("protect", "--roll-back") == expected
        assert site.asked == []

    def test_without_a_daemon_nobody_takes_it_up_again(self, site: Site) -> None:
        site.begin()
        site.running = False
        code, _, err = site("protect", "--roll-back")
        assert code == 0
        assert "it ends in 99 s" in err or "it ends in 100 s" in err
        assert site.trial is None


class TestConfirm:
    def test_makes_it_last(self, site: Site, logins: Logins) -> None:
        site.begin()
        logins(5.0, (22, THERE))
        code, out, err = site("confirm")
        assert (code, out, err) == (0, "protected: tcp/22\n", "")
        assert site.asked == [f"proof {THERE}", "protect"]
        # The file comes first: whoever is killed in between is locked in, not out.
        assert site.seen == [(None, (SSH,))]

    def test_takes_a_trial(self, site: Site, logins: Logins) -> None:
        logins(5.0, (22, THERE))
        code, _, err = site("confirm")
        assert code == 1
        assert "error: nothing is on trial" in err

    def test_is_too_late_when_it_has_ended(self, site: Site, logins: Logins) -> None:
        site.begin(seconds=0)
        logins(5.0, (22, THERE))
        assert site("confirm")[0] == 1
        assert site.protected == ()

    def refused(self, site: Site, why: str) -> None:
        before = site.path.read_text()
        code, out, err = site("confirm")
        assert (code, out) == (1, "")
        assert f"error: {why}" in err
        assert site.path.read_text() == before
        assert site.trial is not None
        assert "protect" not in site.asked

    @pytest.mark.parametrize("connections", [(), ((2222, THERE),)])
    def test_takes_a_login_through_the_port(
        self, site: Site, logins: Logins, connections: tuple[tuple[int, str], ...]
    ) -> None:
        site.begin()
        logins(5.0, *connections)
        self.refused(site, "this is no login through tcp/22")

    def test_takes_a_login_that_is_younger_than_the_trial(
        self, site: Site, logins: Logins
    ) -> None:
        site.begin()
        logins(61.0, (22, THERE))
        self.refused(site, "this login is older than the trial")

    @pytest.mark.parametrize(
        "answer", [{"proved": False}, {"error": "unknown request"}, {"proved": 1}, {}]
    )
    def test_takes_a_knock_during_the_trial(
        self, site: Site, logins: Logins, answer: dict[str, Any]
    ) -> None:
        site.begin()
        logins(5.0, (22, THERE))
        site.answers["proof"] = answer
        self.refused(site, f"no knock let {THERE} in since the trial began")

    def test_takes_a_daemon(self, site: Site, logins: Logins) -> None:
        site.begin()
        logins(5.0, (22, THERE))
        site.running = False
        code, _, err = site("confirm")
        assert code == 3
        assert "error: spasshd is not running" in err
        assert site.protected == ()

    def test_says_if_the_daemon_refuses(self, site: Site, logins: Logins) -> None:
        site.begin()
        logins(5.0, (22, THERE))
        site.answers["protect"] = {"error": "the firewall refused"}
        code, _, err = site("confirm")
        assert code == 1
        assert "error: the firewall refused" in err


class TestUnprotect:
    def test_takes_the_port_out(self, site: Site) -> None:
        site.write('protect = ["tcp/22", "tcp/80"]\nrun_dir = "run"\n')
        code, out, _ = site("unprotect", "tcp/22")
        assert (code, out) == (0, "not protected any more: tcp/22\n")
        assert site.protected == (Port(6, 80),)
        assert site.asked == ["protect"]

    def test_ends_a_trial_of_it(self, site: Site) -> None:
        site.begin()
        assert site("unprotect", "tcp/22")[0] == 0
        assert site.seen == [(None, ())]

    def test_does_no_harm_again(self, site: Site) -> None:
        assert site("unprotect", "tcp/22")[:2] == (0, "not protected: tcp/22\n")
        assert site.asked == []

    def test_says_what_else_to_do_without_a_daemon(self, site: Site) -> None:
        site.write('protect = ["tcp/22"]\nrun_dir = "run"\n')
        site.running = False
        code, _, err = site("unprotect", "tcp/22")
        assert code == 0
        assert "'spasshd stop --open'" in err
        assert site.protected == ()
