"""`protect`, `confirm` and `unprotect`: what they write, ask and say."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.server.child import needs_root
from unit.server.firewall_double import RecordingFirewall
from unit.server.parties import HERE, key_table

from spassh_server import cli, config, control, protecting
from spassh_server.clock import booted_ms, monotonic_ms
from spassh_server.firewall import Settings
from spassh_server.ports import Port
from spassh_server.privsep.message import Connection
from spassh_server.trial import Trial, read_trial, write_trial
from spassh_server.verbs import confirm, protect

Captured = pytest.CaptureFixture[str]

SSH = Port(6, 22)
LOGIN = Connection(HERE, 40_000, 22)
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
        self.answers: dict[str, Any] = {
            "protect": {},
            "proof": {"proved": True},
            "status": {},
        }
        self.running = True
        self.firewall = RecordingFirewall()
        self.told: list[Settings] = []
        """What the kernel was asked for."""

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

    def choose(
        self, _: str, settings: Settings, _clock: object
    ) -> tuple[RecordingFirewall, str]:
        self.told.append(settings)
        return self.firewall, "the test says so"

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
    monkeypatch.setattr(protecting, "choose", made.choose)
    return made


Logins = Callable[..., None]


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> Logins:
    """Have processes above us with these connections."""

    def have(*connections: Connection) -> None:
        monkeypatch.setattr(confirm, "connections_above", lambda: [[], connections])

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
        assert site.seen == [(site.trial, ())]
        # The kernel is asked before and after.
        assert [one.trial for one in site.told] == [(), (), (), (SSH,)]

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
        assert site.asked == ["status"]
        assert site.told[-1].protect == (SSH,)

    def test_does_not_say_so_of_what_the_file_alone_protects(self, site: Site) -> None:
        site.write('protect = ["tcp/22"]\nrun_dir = "run"\n')
        site.firewall.broken = True
        code, out, err = site("protect", "tcp/22")
        assert (code, out) == (1, "")
        assert f"error: what is dropped is not what {site.path} says" in err

    def test_begins_no_trial_beside_what_was_changed_by_hand(self, site: Site) -> None:
        site.write(
            'protect = ["tcp/443"]\ngrant_ports = ["tcp/22", "tcp/443"]\n'
            'run_dir = "run"\n'
        )
        site.firewall.broken = True
        assert site("protect", "tcp/22")[0] == 1
        assert "protect" not in site.asked
        assert site.trial is None

    def test_believes_no_daemon_that_says_it_drops(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The half that answers is the one that reads the network."""
        answers = iter([True, False])
        monkeypatch.setattr(site.firewall, "in_place", lambda: next(answers))
        assert site("protect", "tcp/22")[0] == 1
        assert site.trial is None
        assert site.asked[-2:] == ["protect", "protect"]

    def test_replaces_no_trial_of_somebody_else(self, site: Site) -> None:
        site.begin()
        before = site.trial
        code, _, err = site("protect", "tcp/22")
        assert code == 1
        assert "error: tcp/22 is on trial already, for " in err
        assert site.trial == before

    def test_takes_a_port_through_which_one_can_log_in(self, site: Site) -> None:
        site.write('grant_ports = ["udp/53"]\nrun_dir = "run"\n')
        site.user.write_text(f'ports = ["udp/53"]\n{key_table(9)}')
        code, _, err = site("protect", "udp/53")
        assert code == 1
        assert "error: no login comes through udp/53" in err

    def test_finds_out_first_whether_the_file_can_be_changed(self, site: Site) -> None:
        site.write('"protect" = []\nrun_dir = "run"\n')
        code, _, err = site("protect", "tcp/22")
        assert code == 1
        assert "protect: cannot be changed here" in err
        assert site.asked == ["status"]

    def test_waits_for_nobody_but_root(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who can read a directory can lock it."""
        monkeypatch.setattr(protecting, "_PATIENCE", 0)
        fds = [os.open(path, os.O_RDONLY) for path in (site.path, site.path.parent)]
        try:
            for fd in fds:
                fcntl.flock(fd, fcntl.LOCK_EX)
            assert site("protect", "tcp/22")[0] == 0
        finally:
            for fd in fds:
                os.close(fd)
        lock = os.path.join(site.config.run_dir, "protect.lock")
        assert stat.S_IMODE(os.stat(lock).st_mode) == 0o600

    @pytest.mark.parametrize(
        "words", [("protect", "tcp/22"), ("confirm",), ("unprotect", "tcp/22")]
    )
    def test_lets_one_verb_work_at_a_time(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
    ) -> None:
        monkeypatch.setattr(protecting, "_PATIENCE", 0)
        with protecting.alone(site.config):
            code, _, err = site(*words)
        assert code == 1
        assert "error: another verb is busy with what is protected" in err
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

    @needs_root
    def test_leaves_owner_group_and_mode_of_the_file(self, site: Site) -> None:
        os.chown(site.path, 0, 4)
        assert site("protect", "tcp/22", "--now")[0] == 0
        status = site.path.stat()
        assert (status.st_uid, status.st_gid) == (0, 4)
        assert stat.S_IMODE(status.st_mode) == 0o640

    def test_reads_the_file_again_when_it_is_its_turn(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody else may have taken a port out meanwhile."""
        site.write(
            'protect = ["tcp/80"]\ngrant_ports = ["tcp/22", "tcp/80"]\n'
            'run_dir = "run"\n'
        )
        alone = protecting.alone

        @contextlib.contextmanager
        def after_others(settings: config.Config) -> Iterator[None]:
            site.write(
                'protect = []\ngrant_ports = ["tcp/22", "tcp/80"]\nrun_dir = "run"\n'
            )
            with alone(settings):
                yield

        monkeypatch.setattr(protect, "alone", after_others)
        assert site("protect", "tcp/22", "--now")[0] == 0
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
        # Nor does it in case that nobody can tell that there is one.
        assert site.asked == ["protect"]

    @pytest.mark.parametrize(
        "words", [("protect", "--roll-back"), ("unprotect", "tcp/22")]
    )
    def test_takes_a_damaged_one_away(self, site: Site, words: tuple[str, ...]) -> None:
        path = os.path.join(site.config.run_dir, "trial")
        with open(path, "w", encoding="ascii") as file:
            file.write("ports = 1")
        code, _, err = site(*words)
        assert code == 0
        assert "error: " in err
        assert not os.path.exists(path)
        assert site.asked == ["protect"]

    def test_without_a_daemon_nobody_takes_it_up_again(self, site: Site) -> None:
        site.begin()
        site.running = False
        code, out, err = site("protect", "--roll-back")
        assert (code, out) == (0, "rolled back: tcp/22\n")
        assert "spasshd is not running" in err
        assert site.trial is None


class TestConfirm:
    def test_makes_it_last(self, site: Site, logins: Logins) -> None:
        site.begin()
        logins(LOGIN)
        code, out, err = site("confirm")
        assert (code, out, err) == (0, "protected: tcp/22\n", "")
        assert site.asked == [f"proof {THERE} 40000 22", "protect"]
        assert site.told[-1].trial == (SSH,), "the kernel was asked, too"
        # The file comes first: whoever is killed in between is locked in, not out.
        assert site.seen == [(None, (SSH,))]

    def test_takes_a_trial(self, site: Site, logins: Logins) -> None:
        logins(LOGIN)
        code, _, err = site("confirm")
        assert code == 1
        assert "error: nothing is on trial" in err

    def test_is_too_late_when_it_has_ended(self, site: Site, logins: Logins) -> None:
        site.begin(seconds=0)
        logins(LOGIN)
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

    @pytest.mark.parametrize("connections", [(), (Connection(HERE, 40_000, 2222),)])
    def test_takes_a_login_through_the_port(
        self, site: Site, logins: Logins, connections: tuple[Connection, ...]
    ) -> None:
        site.begin()
        logins(*connections)
        self.refused(site, "this is no login through tcp/22")

    def test_takes_a_kernel_that_drops(self, site: Site, logins: Logins) -> None:
        """Whatever the half of the daemon says that reads the network."""
        site.begin()
        logins(LOGIN)
        site.firewall.broken = True
        self.refused(site, "what is dropped is not what ")

    def test_may_be_the_last_thing_that_works(
        self, site: Site, logins: Logins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The daemon may die when the file is written: then it counts at the start."""
        site.begin()
        logins(LOGIN)

        def gone(_: object) -> bool:
            raise control.NotRunningError("gone")

        monkeypatch.setattr(confirm, "have_applied", gone)
        code, out, err = site("confirm")
        assert (code, out) == (0, "protected: tcp/22\n")
        assert "dropped when it starts" in err
        assert site.protected == (SSH,)

    @pytest.mark.parametrize(
        "answer", [{"proved": False}, {"error": "unknown request"}, {"proved": 1}, {}]
    )
    def test_takes_a_knock_during_the_trial(
        self, site: Site, logins: Logins, answer: dict[str, Any]
    ) -> None:
        site.begin()
        logins(LOGIN)
        site.answers["proof"] = answer
        self.refused(site, f"no knock has let this login from {THERE} in")

    def test_takes_a_daemon(self, site: Site, logins: Logins) -> None:
        site.begin()
        logins(LOGIN)
        site.running = False
        code, _, err = site("confirm")
        assert code == 3
        assert "error: spasshd is not running" in err
        assert site.protected == ()

    def test_says_if_the_daemon_refuses(self, site: Site, logins: Logins) -> None:
        site.begin()
        logins(LOGIN)
        site.answers["protect"] = {"error": "the packet filter refused"}
        code, _, err = site("confirm")
        assert code == 1
        assert "error: the packet filter refused" in err


class TestUnprotect:
    def test_takes_the_port_out(self, site: Site) -> None:
        site.write('protect = ["tcp/22", "tcp/80"]\nrun_dir = "run"\n')
        code, out, _ = site("unprotect", "tcp/22")
        assert (code, out) == (0, "not protected: tcp/22\n")
        assert site.told[-1].protect == (Port(6, 80),)
        assert site.protected == (Port(6, 80),)
        assert site.asked == ["protect"]

    def test_ends_a_trial_of_it(self, site: Site) -> None:
        site.begin()
        assert site("unprotect", "tcp/22")[0] == 0
        assert site.seen == [(None, ())]

    def test_is_applied_even_if_the_file_says_so_already(self, site: Site) -> None:
        """Somebody may have been killed when the file was written."""
        assert site("unprotect", "tcp/22")[:2] == (0, "not protected: tcp/22\n")
        assert site.asked == ["protect"]

    def test_leaves_a_trial_of_other_ports(self, site: Site) -> None:
        site.begin()
        assert site("unprotect", "tcp/80")[0] == 0
        assert site.trial is not None
        assert site.told[-1].trial == (SSH,)

    def test_says_if_the_port_is_still_dropped(self, site: Site) -> None:
        site.write('protect = ["tcp/22"]\nrun_dir = "run"\n')
        site.firewall.broken = True
        code, out, err = site("unprotect", "tcp/22")
        assert (code, out) == (1, "")
        assert "error: what is dropped is not what " in err

    def test_says_what_else_to_do_without_a_daemon(self, site: Site) -> None:
        site.write('protect = ["tcp/22"]\nrun_dir = "run"\n')
        site.running = False
        code, _, err = site("unprotect", "tcp/22")
        assert code == 0
        assert "'spasshd stop --open'" in err
        assert site.protected == ()
