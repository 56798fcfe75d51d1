"""Commands and hooks as the granter's configuration has them: real programs."""

import json
import select
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.server.child import needs_root
from unit.server.parties import HERE, NOW, SSH

from spassh_server import config
from spassh_server.config import Config
from spassh_server.firewall import Grant, Width
from spassh_server.limits import MAX_GRANTS_PER_USER
from spassh_server.privsep import programs as programs_module
from spassh_server.privsep.hook_journal import FIELDS
from spassh_server.privsep.message import RunMessage
from spassh_server.privsep.programs import Programs, find_accounts
from spassh_server.privsep.sandbox import CAP_KILL, CAP_SETGID, CAP_SETUID
from spassh_server.toml import ConfigError

Capture = pytest.CaptureFixture[str]

START = NOW / 1000
PATIENCE_MS = 30_000
GRANT = Grant(HERE, SSH, Width.FLOW, 40_000)

# Exit status 1, or the log would not say what it has printed.
TELL = 'on_open = ["/bin/sh", "-c", "cat; exit 1"]\n'
CLOSE = 'on_close = ["/bin/sh", "-c", "cat; exit 2"]\n'
SLOW = 'on_open = ["/bin/sleep", "1000"]\n'
SLOW_CLOSE = 'on_close = ["/bin/sleep", "1000"]\n'


def command(name: str, *argv: str, **more: str) -> str:
    """Spell a [[command]]."""
    lines = [f"[[command]]\nname = '{name}'\nargv = {list(argv)!r}"]
    return "\n".join([*lines, *(f"{key} = '{more[key]}'" for key in more)]) + "\n"


WHO = ("/bin/sh", "-c", "id -un; env | sort", "who")
WAIT = ("/bin/sleep", "1000")


class Granter:
    """The part of the granter's loop that has to do with programs."""

    def __init__(self, settings: Config, capsys: Capture) -> None:
        self.poll = select.poll()
        self.programs = Programs(settings, self.poll)
        self._capsys = capsys
        self._log: list[str] = []

    def run(self, *argv: str, name: str, user: str = "ada") -> tuple[bool, bool]:
        return self.programs.run(RunMessage(7, user, HERE, argv, name))

    @property
    def log(self) -> list[str]:
        """All that was said so far."""
        for line in self._capsys.readouterr().err.splitlines():
            self._log.append(line.removeprefix("spasshd: "))
        return self._log

    def turn(self) -> None:
        """Do what is due now, and wait for nothing."""
        self.programs.until_next()
        self.programs.turn({fd for fd, _ in self.poll.poll(0)})

    def finish_hooks(self) -> None:
        """Go on until no hook waits or runs."""
        while len(self.programs._hook_jobs):
            ready = self.poll.poll(PATIENCE_MS)
            assert ready, self.log
            self.programs.turn({fd for fd, _ in ready})

    def wait_for(self, what: str) -> str:
        """Go on until the log has `what`, and return its first such line."""
        while True:
            for line in self.log:
                if what in line:
                    return line
            limit = self.programs.until_next() or PATIENCE_MS
            ready = self.poll.poll(min(limit, PATIENCE_MS))
            assert ready or limit < PATIENCE_MS, (what, self.log)
            self.programs.turn({fd for fd, _ in ready})


Start = Callable[..., Granter]


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list with the wall clock in it."""
    now = [START]
    monkeypatch.setattr(programs_module, "wall_clock", lambda: now[0])
    return now


@pytest.fixture
def settings(tmp_path: Path) -> Callable[[str], Config]:
    def parsed(text: str) -> Config:
        return config.parse(f"run_dir = '{tmp_path}'\n{text}", "/spasshd.toml")

    return parsed


@pytest.fixture
def start(
    settings: Callable[[str], Config], wall: list[float], capsys: Capture
) -> Start:
    assert wall
    return lambda text="": Granter(settings(text), capsys)


class TestNothing:
    """In the configuration of nearly everybody."""

    def test_takes_no_capability(self, start: Start) -> None:
        assert start().programs.capabilities == frozenset()

    def test_is_waited_for(self, start: Start) -> None:
        granter = start()
        granter.programs.opened(GRANT, 15, "ada")
        assert granter.programs.until_next() is None
        granter.programs.closed(GRANT)
        granter.turn()
        granter.programs.close()
        assert granter.log == []

    def test_is_written_to_disk(self, start: Start, tmp_path: Path) -> None:
        granter = start()
        granter.programs.opened(GRANT, 15, "ada")
        assert [*tmp_path.iterdir()] == []

    def test_can_be_run(self, start: Start) -> None:
        assert start().run("/bin/true", name="true") == (False, False)


@pytest.mark.parametrize(
    "text",
    [command("who", *WHO), "on_open = ['/bin/true']", "on_close = ['/bin/true']"],
)
def test_any_program_takes_what_it_takes_to_become_another_account(
    start: Start, text: str
) -> None:
    kept = start(text).programs.capabilities
    assert kept == {CAP_SETUID, CAP_SETGID, CAP_KILL}


@needs_root
class TestCommands:
    TWO = (
        command("who", *WHO)
        + command("who-as-root", *WHO, run_as="root")
        + command("wait", *WAIT)
        + command("unit", "/bin/echo", "{unit}", unit="nginx|php")
    )

    def test_run_as_their_account_and_know_who_asked(self, start: Start) -> None:
        granter = start(self.TWO)
        assert granter.run(*WHO, name="who") == (True, True)
        line = granter.wait_for("command ")
        assert line.startswith("command user=ada address=192.0.2.7 name=who argv=")
        assert "run_as=nobody status=0 " in line
        granter.wait_for("text=nobody")
        granter.wait_for('text="SPASSH_USER=ada"')
        granter.wait_for('text="SPASSH_ADDRESS=192.0.2.7"')

    def test_of_the_same_words_are_told_apart_by_their_name(self, start: Start) -> None:
        """The listener has judged by name: the first match may be another account's."""
        granter = start(self.TWO)
        assert granter.run(*WHO, name="who-as-root") == (True, True)
        assert "name=who-as-root " in granter.wait_for("command ")
        granter.wait_for("text=root")

    @pytest.mark.parametrize(
        ("name", "argv"),
        [
            ("", WHO),
            ("whom", WHO),
            ("WHO", WHO),
            ("who", WHO[:3]),
            ("who", (*WHO, "more")),
            ("who", ("/bin/sh", "-c", "id", "who")),
            ("wait", WHO),
            ("unit", ("/bin/echo", "sshd")),
            ("unit", ("/bin/echo", "nginx", "php")),
            ("unit", ("/bin/echo", "{unit}")),
            ("unit", ("/bin/rm", "nginx")),
            ("unit", ("/bin/echo", "../nginx")),
        ],
    )
    def test_that_the_granter_does_not_have_do_not_run_whatever_the_listener_says(
        self, start: Start, name: str, argv: tuple[str, ...]
    ) -> None:
        granter = start(self.TWO)
        assert granter.run(*argv, name=name) == (False, False)
        assert granter.programs.until_next() is None
        assert granter.log == []

    def test_with_a_placeholder_get_what_fits_it(self, start: Start) -> None:
        granter = start(self.TWO)
        assert granter.run("/bin/echo", "php", name="unit") == (True, True)
        assert granter.wait_for("output ") == "output name=unit text=php"

    def test_of_one_user_run_one_after_the_other_and_of_others_beside_them(
        self, start: Start
    ) -> None:
        granter = start(self.TWO)
        granter.run(*WAIT, name="wait")
        granter.run(*WHO, name="who")
        granter.run(*WHO, name="who", user="bob")
        granter.wait_for("command user=bob")
        assert not any("user=ada" in line for line in granter.log)
        granter.programs.close()

    def test_of_one_user_wait_in_a_short_line(self, start: Start) -> None:
        granter = start(self.TWO)
        results = [granter.run(*WAIT, name="wait") for _ in range(20)]
        begun = results.count((True, True))
        assert results == [(True, True)] * begun + [(True, False)] * (20 - begun)
        assert 2 <= begun <= 8
        granter.programs.close()

    def test_that_wait_are_dropped_when_their_user_is_thrown_out(
        self, start: Start
    ) -> None:
        granter = start(self.TWO)
        for _ in range(3):
            granter.run(*WAIT, name="wait")
        granter.programs.forget("bob")
        assert granter.log == []
        granter.programs.forget("ada")
        assert [("status=dropped" in line) for line in granter.log] == [True] * 2
        granter.programs.close()

    def test_end_with_the_granter(self, start: Start) -> None:
        granter = start(self.TWO)
        granter.run(*WAIT, name="wait")
        granter.run(*WHO, name="who")
        granter.programs.close()
        ended = [line for line in granter.log if line.startswith("command ")]
        assert len(ended) == 2
        assert all("status=stopped" in line for line in ended)

    def test_that_cannot_be_started_say_so(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(programs_module, "check_program", lambda _: None)
        granter = start(command("gone", "/no/such"))
        assert granter.run("/no/such", name="gone") == (True, True)
        assert "status=not-started" in granter.log[0]
        assert "No such file" in granter.log[1]

    def test_wait_for_no_hook(self, start: Start) -> None:
        granter = start(SLOW + self.TWO)
        for number in range(programs_module._AT_ONCE + 1):
            grant = GRANT._replace(source_port=1 + number)
            granter.programs.opened(grant, 15, "ada")
        granter.run(*WHO, name="who")
        granter.wait_for("command user=ada")
        granter.programs.close()


@needs_root
class TestHooks:
    @staticmethod
    def told(granter: Granter, name: str) -> dict[str, object]:
        """Return what the hook `name` has read, and forget what was said."""
        line = granter.wait_for(f"output name={name} text=")
        granter._log.clear()
        quoted = line.partition("text=")[2]
        found: dict[str, object] = json.loads(json.loads(quoted))
        return found

    def test_read_what_was_opened_and_closed(
        self, start: Start, wall: list[float]
    ) -> None:
        granter = start(TELL + CLOSE)
        granter.programs.opened(GRANT, 15, "ada")
        told = {
            "event": "open",
            "user": "ada",
            "address": "192.0.2.7",
            "port": "tcp/22",
            "width": "flow",
            "source_port": 40_000,
            "seconds": 15,
        }
        assert self.told(granter, "on_open") == told
        wall[0] += 15
        granter.turn()
        assert self.told(granter, "on_close") == told | {"event": "close"}
        assert granter.programs.until_next() is None

    def test_say_nothing_if_all_is_well(self, start: Start) -> None:
        granter = start("on_open = ['/bin/echo', 'well']\n" + CLOSE)
        granter.programs.opened(GRANT, 15, "ada")
        granter.programs.closed(GRANT)
        # It comes after the other, in the same lane.
        granter.wait_for("hook name=on_close status=2")
        assert not any("on_open" in line or "well" in line for line in granter.log)

    @pytest.mark.parametrize(
        ("ending", "starts"), [("exit 0", 1), ("exit 1", 3), ("kill -9 $$", 3)]
    )
    def test_that_did_not_end_well_are_run_again_when_the_grant_is_extended(
        self, start: Start, tmp_path: Path, ending: str, starts: int
    ) -> None:
        granter = start(
            "hook_user = 'root'\n"
            f"on_open = ['/bin/sh', '-c', 'echo >>$0; {ending}', '{tmp_path}/ran']\n"
        )
        for _ in range(3):
            granter.programs.opened(GRANT, 15, "ada")
            granter.finish_hooks()
        assert (tmp_path / "ran").read_text() == "\n" * starts

    def test_run_as_the_account_for_hooks(self, start: Start) -> None:
        granter = start("on_open = ['/bin/sh', '-c', 'id -un; exit 1']\n")
        granter.programs.opened(GRANT, 15, "ada")
        granter.wait_for("text=nobody")

    def test_that_last_too_long_are_ended(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        granter = start(SLOW)
        clock = [1000.0]
        monkeypatch.setattr(granter.programs._hook_jobs, "_clock", lambda: clock[0])
        granter.programs.opened(GRANT, 15, "ada")
        clock[0] += 10
        assert "hook name=on_open status=timeout" in granter.wait_for("hook ")

    @pytest.mark.parametrize(
        ("gone_by", "milliseconds"),
        [(0, 15_001), (14, 1001), (15, 1), (99, 1), (-3600, 60_001)],
    )
    def test_are_slept_for_but_not_longer_than_a_minute(
        self, start: Start, wall: list[float], gone_by: float, milliseconds: int
    ) -> None:
        """The clock may be set meanwhile."""
        granter = start(CLOSE)
        granter.programs.opened(GRANT, 15, "ada")
        wall[0] += gone_by
        assert granter.programs.until_next() == milliseconds

    def test_at_the_end_are_run_even_if_there_is_none_at_the_beginning(
        self, start: Start, wall: list[float]
    ) -> None:
        granter = start(CLOSE)
        granter.programs.opened(GRANT, 15, "ada")
        wall[0] += 15
        granter.turn()
        assert self.told(granter, "on_close")["event"] == "close"

    def test_at_the_beginning_are_run_even_if_there_is_none_at_the_end(
        self, start: Start, wall: list[float], tmp_path: Path
    ) -> None:
        granter = start(TELL)
        granter.programs.opened(GRANT, 15, "ada")
        assert self.told(granter, "on_open")["event"] == "open"
        wall[0] += 15
        granter.turn()
        assert granter.programs.until_next() is None
        lines = (tmp_path / "open-hooks").read_text().splitlines()
        assert [len(json.loads(line)) for line in lines] == [len(FIELDS), 1]

    def test_that_are_too_many_are_told_of_but_what_was_opened_is_closed(
        self, start: Start, wall: list[float]
    ) -> None:
        granter = start(SLOW + CLOSE)
        for number in range(100):
            grant = GRANT._replace(source_port=1 + number)
            granter.programs.opened(grant, 15, "ada")
        begun = len(granter.programs._hook_jobs)
        assert programs_module._AT_ONCE <= begun < 30
        assert any("hook name=on_open status=not-started" in one for one in granter.log)
        assert 'output name=on_open text="too many hooks wait"' in granter.log
        # Others are not kept waiting by that.
        granter.programs.opened(GRANT._replace(source_port=1000), 15, "bob")
        assert len(granter.programs._hook_jobs) == begun + 1
        wall[0] += 15
        granter.turn()
        # What waited is dropped, and what ran is to be closed: no more than that.
        assert len(granter.programs._hook_jobs) <= 2 * programs_module._AT_ONCE
        granter.programs.close()

    @pytest.mark.parametrize("ports", [1000, 1])
    def test_at_the_end_alone_are_bounded_for_each_user(
        self, start: Start, tmp_path: Path, ports: int
    ) -> None:
        """No on_open is there to be refused, and who opens fast fills the memory."""
        granter = start(SLOW_CLOSE)
        most = MAX_GRANTS_PER_USER + programs_module._AT_ONCE
        for number in range(1000):
            grant = GRANT._replace(source_port=1 + number % ports)
            granter.programs.opened(grant, 15, "ada")
            granter.programs.closed(grant)
        owed = len(granter.programs._hook_jobs)
        assert MAX_GRANTS_PER_USER <= owed <= most
        over = [line for line in granter.log if line.startswith("hook ")]
        # What is said of them is bounded as well.
        assert 0 < len(over) <= 1000 - owed
        assert "hook name=on_close status=not-started" in over[0]
        assert 'output name=on_close text="too many hooks wait"' in granter.log
        lines = (tmp_path / "open-hooks").read_text().splitlines()
        assert len(lines) < 2 * most + 1024
        # Others are not kept out by that.
        granter.programs.opened(GRANT, 15, "bob")
        granter.programs.closed(GRANT)
        assert len(granter.programs._hook_jobs) == owed + 1
        granter.programs.close()

    def test_at_the_end_alone_miss_nothing_of_a_burst(
        self, start: Start, wall: list[float]
    ) -> None:
        granter = start(SLOW_CLOSE)
        for _ in range(2):
            for number in range(MAX_GRANTS_PER_USER // 2):
                grant = GRANT._replace(source_port=1 + number)
                granter.programs.opened(grant, 15, "ada")
            wall[0] += 15
            granter.turn()
        assert len(granter.programs._hook_jobs) == MAX_GRANTS_PER_USER
        assert granter.log == []
        granter.programs.close()

    def test_at_the_end_alone_are_bounded_whoever_there_is(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A listener that was taken over invents users as it likes."""
        monkeypatch.setattr(programs_module, "_CLOSES_WAITING", 50)
        granter = start(SLOW_CLOSE)
        for number in range(100):
            grant = GRANT._replace(source_port=1 + number)
            granter.programs.opened(grant, 15, f"user{number}")
            granter.programs.closed(grant)
        assert len(granter.programs._hook_jobs) == 50
        granter.programs.close()

    def test_that_were_stopped_at_the_end_run_after_the_next_start(
        self, start: Start
    ) -> None:
        granter = start(SLOW_CLOSE)
        granter.programs.opened(GRANT, 15, "ada")
        granter.programs.closed(GRANT)
        granter.programs.close()
        assert "hook name=on_close status=stopped" in granter.log[0]
        other = start(CLOSE)
        assert other.programs.until_next() == 15_001
        other.programs.closed(GRANT)
        assert self.told(other, "on_close")["event"] == "close"
        other.programs.close()

    def test_that_the_configuration_has_no_more_are_not_run_for_what_was_left(
        self, start: Start, wall: list[float]
    ) -> None:
        granter = start(CLOSE)
        granter.programs.opened(GRANT, 15, "ada")
        wall[0] += 15
        assert start("").programs.until_next() is None

    def test_of_an_earlier_run_do_not_start_before_the_first_turn(
        self, start: Start, wall: list[float]
    ) -> None:
        """Whoever makes this has more capabilities than it will keep."""
        start(CLOSE).programs.opened(GRANT, 15, "ada")
        wall[0] += 15
        granter = start(CLOSE)
        assert len(granter.programs._hook_jobs) == 0
        assert granter.programs.until_next() == 1
        granter.turn()
        assert self.told(granter, "on_close")["event"] == "close"


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        (command("x", "/no/such"), "argv", "/no/such: no such file or directory"),
        (command("x", "/etc/passwd"), "argv", "/etc/passwd: not a program"),
        (
            command("x", "/bin/true", run_as="no-such-user"),
            "run_as",
            "no account 'no-such-user'",
        ),
        ("on_open = ['/no/such']", "on_open", "/no/such: no such"),
        ("on_close = ['/no/such']", "on_close", "/no/such: no such"),
        (
            "on_close = ['/bin/true']\nhook_user = 'no-such-user'",
            "hook_user",
            "no account 'no-such-user'",
        ),
    ],
)
def test_what_cannot_run_is_found_at_the_start(
    settings: Callable[[str], Config], text: str, key: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        find_accounts(settings(text))
    assert f"/spasshd.toml: {key}: {what}" in str(caught.value)


def test_a_program_that_others_can_replace_is_found_at_the_start(
    settings: Callable[[str], Config], tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.touch(0o755)
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="others than root can write there"):
        find_accounts(settings(f"on_open = ['{program}']"))


def test_an_account_for_hooks_is_not_looked_for_without_hooks(
    settings: Callable[[str], Config],
) -> None:
    assert find_accounts(settings("hook_user = 'no-such-user'")) == ({}, {})


def test_nothing_runs_as_the_account_that_reads_the_network(
    settings: Callable[[str], Config],
) -> None:
    """It could read what is theirs, and end them."""
    text = "user = 'nobody'\non_open = ['/bin/true']\n"
    with pytest.raises(ConfigError, match="hook_user"):
        find_accounts(settings(text))
