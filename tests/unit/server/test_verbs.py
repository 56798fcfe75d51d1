"""The verbs that talk to the daemon or judge users, and `user rotate`."""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from unit.server.firewall_double import RecordingFirewall
from unit.server.fwknop_parties import TABLE
from unit.server.parties import HERE, HERE6, SSH, THERE, key, key_table

from spassh.protocol.crypto import PrivateKey
from spassh.protocol.invite import decode_invite
from spassh.protocol.keys import PUBLIC, encode_key
from spassh_server import config
from spassh_server.accounts import Account
from spassh_server.control import socket_path
from spassh_server.firewall import ActiveGrant, Grant, Width

pytest.importorskip("scapy.libs.winpcapy")

from spassh_server import cli, mistakes
from spassh_server.daemon import DaemonError
from spassh_server.libpcap import CaptureError
from spassh_server.listener import GranterGoneError
from spassh_server.privsep.message import MessageError
from spassh_server.privsep.sandbox import SandboxError
from spassh_server.verbs import check, revoke, status
from spassh_server.verbs import run as run_verb

Captured = pytest.CaptureFixture[str]

STATE: dict[str, Any] = {
    "ready": True,
    "pid": 71,
    "users": 3,
    "widths": ["flow", "address"],
    "counters": {"granted": 2, "frames": 9},
    "remembered": 2,
    "store_problem": "",
    "gpg": False,
    "capture_drops": 4,
}


class Spasshd:
    """`spasshd VERB ... --config PATH`, in this process, and a daemon to talk to."""

    def __init__(self, directory: Path, capsys: Captured) -> None:
        self.path = directory / "spasshd.toml"
        self.users = directory / "users.d"
        self._capsys = capsys
        assert self("init", "--protect", "tcp/22", "--address", "192.0.2.1")[0] == 0
        self.run_dir = Path(config.load(str(self.path)).run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        code = cli.main([*words, "--config", str(self.path)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def append(self, text: str) -> None:
        self.path.write_text(self.path.read_text() + text)

    def user(self, name: str, text: str) -> None:
        (self.users / f"{name}.toml").write_text(text)
        (self.users / f"{name}.toml").chmod(0o600)

    @contextlib.contextmanager
    def answering(self, answer: object) -> Iterator[list[str]]:
        """Have a daemon that gives one answer; yield what it was asked."""
        asked: list[str] = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(socket_path(str(self.run_dir)))
            listening.listen()

            def work() -> None:
                client, _ = listening.accept()
                with client:
                    asked.append(client.recv(64).decode())
                    with contextlib.suppress(BrokenPipeError):
                        client.send(json.dumps(answer).encode())

            daemon = Thread(target=work)
            daemon.start()
            try:
                yield asked
            finally:
                # Whether or not it was asked anything, it ends.
                with (
                    contextlib.suppress(OSError),
                    socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
                ):
                    client.connect(socket_path(str(self.run_dir)))
                    client.send(b"end")
                daemon.join()
                os.unlink(socket_path(str(self.run_dir)))


@pytest.fixture
def spasshd(tmp_path: Path, capsys: Captured) -> Spasshd:
    return Spasshd(tmp_path / "etc", capsys)


@pytest.fixture
def firewall(monkeypatch: pytest.MonkeyPatch) -> RecordingFirewall:
    made = RecordingFirewall()
    for verb in (check, status, revoke):
        monkeypatch.setattr(verb, "choose", lambda *_: (made, "the test says so"))
    return made


@pytest.mark.usefixtures("firewall")
class TestRevoke:
    def test_looks_for_itself_whether_the_grants_are_gone(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        """A listener that was taken over may answer without asking the granter."""
        firewall.live = [ActiveGrant(Grant(HERE, SSH), 15, "ada")]
        for target, left in (("ada", True), ("192.0.2.7", True), ("bob", False)):
            with spasshd.answering({"grants": 1, "sessions": 0}):
                code, _, err = spasshd("revoke", target)
            assert code == left
            assert (f"{target} still has live grants: 1" in err) is left

    def test_says_if_connections_may_go_on(self, spasshd: Spasshd) -> None:
        answer = {"grants": 1, "sessions": 0, "forgotten": True}
        for words, said in (
            (["revoke", "ada"], False),
            (["revoke", "--kill", "ada"], True),
        ):
            with spasshd.answering(answer):
                code, _, err = spasshd(*words)
            assert code == 0
            assert ("some connections may go on" in err) is said

    @pytest.mark.parametrize(
        ("words", "request_"),
        [
            (["revoke", "ada"], "revoke ada"),
            (["revoke", "--kill", "ada"], "kill ada"),
            (["revoke", "192.0.2.7"], "revoke 192.0.2.7"),
            (["revoke", "2001:DB8:0:0::7"], "revoke 2001:db8::7"),
            (["revoke", "fe80::1%eth0"], "revoke fe80::1"),
            (["revoke", "fe80::1%\u00e4"], "revoke fe80::1"),
            (["flush"], "revoke"),
        ],
    )
    def test_asks_the_daemon_and_says_what_came_of_it(
        self, spasshd: Spasshd, words: list[str], request_: str
    ) -> None:
        with spasshd.answering({"grants": 3, "sessions": 2}) as asked:
            code, out, err = spasshd(*words)
        assert asked == [request_]
        expected = "grants taken back: 3\n"
        expected += "connections ended: 2\n" * ("--kill" in words)
        assert (code, out, err) == (0, expected, "")

    @pytest.mark.parametrize("target", ["ada", "192.0.2.7"])
    def test_of_whom_nothing_is_open_is_no_error(
        self, spasshd: Spasshd, target: str
    ) -> None:
        assert spasshd("user", "add", "ada")[0] == 0
        with spasshd.answering({"grants": 0, "sessions": 0}):
            answer = spasshd("revoke", target)
        note = "ada may knock again: 'spasshd user remove ada' ends that"
        note = f'spasshd: note text="{note}"\n' if target == "ada" else ""
        assert answer == (0, "grants taken back: 0\n", note)

    def test_of_a_name_that_nobody_has_is_an_error(self, spasshd: Spasshd) -> None:
        """A typing error in an emergency must not look like success."""
        for words in (("revoke", "eve"), ("revoke", "--kill", "eve")):
            with spasshd.answering({"grants": 0, "sessions": 0}):
                code, out, err = spasshd(*words)
            assert (code, "grants taken back: 0\n" in out) == (1, True)
            assert err == (
                "spasshd: error: no user is called eve, and nothing was taken back\n"
                "spasshd: hint: 'spasshd user list' shows the users\n"
            )

    @pytest.mark.parametrize("left", [{"grants": 1}, {"sessions": 1}])
    def test_of_a_user_who_was_removed_takes_back_what_is_left(
        self, spasshd: Spasshd, left: dict[str, int]
    ) -> None:
        with spasshd.answering({"grants": 0, "sessions": 0} | left):
            code, _, err = spasshd("revoke", "--kill", "eve")
        assert (code, err) == (0, "")

    def test_of_a_user_whose_file_is_broken_is_no_error(self, spasshd: Spasshd) -> None:
        spasshd.user("eve", "nonsense")
        with spasshd.answering({"grants": 0, "sessions": 0}):
            assert spasshd("revoke", "eve")[0] == 0

    @pytest.mark.parametrize(
        ("target", "error"),
        [
            ("", "not a user name: ''"),
            ("../ada", "not a user name: '../ada'"),
            ("a b", "not a user name: 'a b'"),
            ("\u00e4", "not a user name: '\u00e4'"),
            ("192.0.2.0/24", "not a user name"),
            ("224.0.0.1", "not an address of one host: '224.0.0.1'"),
            ("::", "not an address of one host: '::'"),
            ("::ffff:192.0.2.7", "not an address of one host"),
        ],
    )
    def test_of_what_is_neither_is_not_asked_of_the_daemon(
        self, spasshd: Spasshd, target: str, error: str
    ) -> None:
        """An empty word most of all, for which the daemon would take all back."""
        with spasshd.answering({"grants": 3, "sessions": 2}) as asked:
            code, out, err = spasshd("revoke", target)
            assert asked == []
        assert (code, out) == (2, "")
        assert f"error: {error}" in err
        assert "hint: give the name of a user, or an address" in err

    def test_that_the_firewall_refused_is_an_error(self, spasshd: Spasshd) -> None:
        with spasshd.answering(
            {"error": "the packet filter refused: \x1b[2Jsee the log"}
        ):
            code, out, err = spasshd("revoke", "ada")
        assert (code, out) == (1, "")
        assert err == "spasshd: error: the packet filter refused: \\x1b[2Jsee the log\n"

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            {"errors": ["unknown request"]},
            {"grants": 3},
            {"grants": "3\x1b[2J", "sessions": 0},
            {"grants": 1, "sessions": None},
            {"grants": True, "sessions": 0},
        ],
    )
    def test_of_a_daemon_that_answers_something_else_is_an_error(
        self, spasshd: Spasshd, answer: object
    ) -> None:
        with spasshd.answering(answer):
            code, out, err = spasshd("revoke", "ada")
        assert (code, out) == (1, "")
        assert "error: spasshd does not know this verb" in err

    def test_of_a_daemon_that_does_not_answer_is_another_error(
        self, spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert spasshd("revoke", "ada")[0] == 3
        monkeypatch.setattr(revoke, "is_alive", lambda _: True)
        code, out, err = spasshd("revoke", "ada")
        assert (code, out) == (1, "")
        assert "error: spasshd does not answer" in err


class TestStatus:
    def test_says_all_that_is_known(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.live = [
            ActiveGrant(Grant(HERE, SSH), 9, "ada"),
            ActiveGrant(Grant(THERE, SSH, Width.ONCE), 8, "bob"),
            ActiveGrant(Grant(HERE6, SSH, Width.FLOW, 40_000), 7),
        ]
        with spasshd.answering(STATE):
            code, out, err = spasshd("status")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "spasshd is ready, pid 71",
            "users: 3",
            "widths: flow, address",
            "packets: frames 9, granted 2",
            "dropped by the capture: 4",
            "firewall: recording",
            "protected: tcp/22",
            "live grants: 3",
            "  192.0.2.7 (ada) may reach tcp/22 for 9 s",
            "  198.51.100.9 (bob) may reach tcp/22 once for 8 s",
            "  2001:db8::7 may reach tcp/22 from port 40000 for 7 s",
        ]

    @pytest.mark.usefixtures("firewall")
    def test_warns_if_nobody_can_be_let_in(self, spasshd: Spasshd) -> None:
        """After a restart, a mistake in the only user's file leaves nobody."""
        warning = (
            "warning: there are no users, so nobody is let in: see 'spasshd check'"
        )
        for users, warned in ((0, True), (1, False)):
            with spasshd.answering(STATE | {"users": users}):
                lines = spasshd("status")[1].splitlines()
            assert (warning in lines) is warned

    def test_says_it_as_json(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.live = [ActiveGrant(Grant(HERE, SSH, Width.FLOW, 40_000), 7, "ada")]
        with spasshd.answering(STATE):
            code, out, _ = spasshd("status", "--json")
        assert (code, out.count("\n")) == (0, 1)
        assert json.loads(out) == STATE | {
            "running": True,
            "protect": ["tcp/22"],
            "trial": None,
            "backend": "recording",
            "in_place": True,
            "grants": [
                {
                    "user": "ada",
                    "address": "192.0.2.7",
                    "port": "tcp/22",
                    "width": "flow",
                    "source_port": 40_000,
                    "seconds_left": 7,
                }
            ],
            "warnings": [],
        }

    def test_warns_of_what_keeps_granted_packets_out(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.warned = ["granted packets may be dropped: chain inet fw in"]
        with spasshd.answering(STATE):
            out = spasshd("status")[1]
        with spasshd.answering(STATE):
            told = json.loads(spasshd("status", "--json")[1])
        assert out.endswith(f"live grants: 0\nwarning: {firewall.warned[0]}\n")
        assert told["warnings"] == firewall.warned

    def test_lists_the_grants_even_if_it_is_not_known_whether_the_rules_are_whole(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.live = [ActiveGrant(Grant(HERE, SSH), 9, "ada")]
        firewall.warned = ["cannot list INPUT"]
        firewall.failing.add("in_place")
        with spasshd.answering(STATE):
            code, out, err = spasshd("status")
        with spasshd.answering(STATE):
            told = json.loads(spasshd("status", "--json")[1])
        assert (code, err.splitlines()[0]) == (0, "spasshd: error: in_place failed")
        assert "protected: tcp/22 (unknown)\nlive grants: 1\n" in out
        assert out.endswith("warning: cannot list INPUT\n")
        assert told["in_place"] is None
        assert len(told["grants"]) == 1

    @pytest.mark.usefixtures("firewall")
    def test_of_a_daemon_that_starts_says_so(self, spasshd: Spasshd) -> None:
        early = STATE | {"ready": False, "widths": [], "counters": {}}
        with spasshd.answering(early):
            lines = spasshd("status")[1].splitlines()
        assert lines[0] == "spasshd is starting, pid 71"
        assert "widths: none" in lines
        assert "packets: none" in lines

    @pytest.mark.parametrize("json_", [[], ["--json"]])
    @pytest.mark.parametrize(
        "hostile",
        [
            {"store_problem": "\x1b[2J\rok\n\u202eok\x9b2J"},
            {"widths": ["\x1b[2J", "a\nspasshd is ready"]},
            {"counters": {"\x1b[2J\n": 1}},
            {"store_problem": "\x00\x07\x7f"},
        ],
    )
    @pytest.mark.usefixtures("firewall")
    def test_moves_no_cursor_whatever_a_listener_says_that_was_taken_over(
        self, spasshd: Spasshd, hostile: dict[str, object], json_: list[str]
    ) -> None:
        with spasshd.answering(STATE | hostile):
            code, out, err = spasshd("status", *json_)
        assert code == 0
        assert all(line.isprintable() for line in (out + err).splitlines())
        lines = len(out.splitlines())
        more = 1 if "store_problem" in hostile else 0
        assert lines == (1 if json_ else 8 + more)

    @pytest.mark.parametrize(
        "broken",
        [
            *({key: None} for key in STATE),
            {"pid": "\x1b[2J"},
            {"users": 3.5},
            {"users": True},
            {"ready": 1},
            {"widths": [1]},
            {"widths": "flow"},
            {"counters": {"frames": "\x1b[2J"}},
            {"counters": {"frames": [1]}},
            {"counters": [1]},
        ],
    )
    @pytest.mark.usefixtures("firewall")
    def test_believes_no_other_answer_than_ours(
        self, spasshd: Spasshd, broken: dict[str, object]
    ) -> None:
        with spasshd.answering(STATE | broken):
            code, out, err = spasshd("status")
        assert code == 3
        assert out.startswith("spasshd is not running\n")
        assert "error: the answer of spasshd makes no sense" in err

    @pytest.mark.usefixtures("firewall")
    def test_takes_the_grants_from_the_kernel_alone(self, spasshd: Spasshd) -> None:
        invented = {"grants": [{"user": "ada"}], "protect": [], "running": False}
        with spasshd.answering(STATE | invented | {"backend": "x", "more": 1}):
            code, out, _ = spasshd("status", "--json")
        state = json.loads(out)
        assert (code, state["grants"], state["protect"]) == (0, [], ["tcp/22"])
        assert (state["backend"], state["running"]) == ("recording", True)
        assert "more" not in state

    def test_without_a_packet_filter_says_what_is_not_known(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.failing = {"grants"}
        with spasshd.answering(STATE | {"store_problem": "disk full"}):
            code, out, err = spasshd("status")
        assert code == 0
        assert "error: grants failed" in err
        assert "protected: tcp/22 (unknown)\n" in out
        assert "problem: disk full\n" in out
        assert "live grants: 0\n" in out

    def test_says_that_the_rules_are_not_there(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.broken = True
        code, out, _ = spasshd("status")
        assert code == 3
        assert "protected: tcp/22 (not in place)\n" in out


class TestCheck:
    def test_says_which_widths_the_packet_filter_can_do(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.widths = frozenset({Width.ADDRESS, Width.FLOW})
        code, out, err = spasshd("check")
        assert (code, err) == (0, "")
        assert (
            "\nfirewall: recording (the test says so)\nwidths: flow, address\n" in out
        )
        assert "warning" not in out

    @pytest.mark.usefixtures("firewall")
    def test_warns_of_a_state_directory_that_is_not_the_listeners(
        self, spasshd: Spasshd
    ) -> None:
        """The unit makes it for _spassh, and root of that unit cannot give it away."""
        settings = config.load(str(spasshd.path))
        assert "warning" not in spasshd("check")[1]
        os.makedirs(settings.state_dir)
        owner = os.stat(settings.state_dir).st_uid
        assert str(owner) != settings.user
        warning = f"warning: state_dir belongs to uid {owner}, and 'user' is"
        assert warning in spasshd("check")[1]

    def test_passes_the_warnings_of_the_packet_filter_on(
        self, spasshd: Spasshd, firewall: RecordingFirewall
    ) -> None:
        firewall.warned = ["a chain drops", "ufw is off"]
        code, out, _ = spasshd("check")
        assert code == 0
        assert out.endswith("warning: a chain drops\nwarning: ufw is off\n")
        assert set(firewall.calls) == {"warnings"}

    @pytest.mark.parametrize(
        ("widths", "can", "warnings"),
        [
            ('["flow", "address"]', {Width.ADDRESS}, []),
            ('["flow", "once"]', {Width.FLOW, Width.ONCE, Width.ADDRESS}, []),
            (
                '["flow"]',
                {Width.FLOW, Width.ADDRESS},
                ["ada is let in only where no NAT rewrites source ports"],
            ),
            (
                '["once"]',
                {Width.ADDRESS},
                ["recording can do none of the widths of ada: once"],
            ),
            (
                '["once", "flow"]',
                {Width.ADDRESS},
                ["recording can do none of the widths of ada: flow, once"],
            ),
        ],
    )
    def test_warns_of_users_whom_nothing_can_be_granted(
        self,
        spasshd: Spasshd,
        firewall: RecordingFirewall,
        widths: str,
        can: set[Width],
        warnings: list[str],
    ) -> None:
        firewall.widths = frozenset(can)
        spasshd.user("ada", f"widths = {widths}\n{key_table(1)}")
        code, out, _ = spasshd("check")
        found = [line for line in out.splitlines() if line.startswith("warning: ")]
        assert (code, found) == (0, [f"warning: {one}" for one in warnings])

    def test_warns_of_users_who_have_to_sign_where_nobody_can_see_that(
        self, spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signing = f"format = 'gnupg'\ngnupg = ['{'AB' * 20}']\n"
        spasshd.user("ada", signing + key_table(1))
        spasshd.user("bob", key_table(2))
        warning = (
            "warning: ada has to sign, and cannot:"
            " 'spasshd user add --gnupg' makes gnupg_dir\n"
        )
        code, out, _ = spasshd("check")
        assert code == 0
        assert out.count("has to sign") == 1
        assert warning in out
        spasshd.path.write_text(f"fwknop = true\n{spasshd.path.read_text()}")
        fwknop = f'format = "fwknop"\ngnupg = ["{"AB" * 20}"]\nhmac_key = "h"\n'
        spasshd.user("cyn", f"[[key]]\n{fwknop}")
        warning = "cyn has to sign, and cannot: see CLIENTS OF FWKNOP in"
        assert warning in spasshd("check")[1]
        path = config.load(str(spasshd.path)).gnupg_dir
        os.mkdir(path)
        own = Account(os.getuid(), os.getgid())
        # As who has filled it as root leaves it.
        others = Account(own.uid + 1, 7)
        monkeypatch.setattr(mistakes, "find_account", lambda _: others)
        warning = f"cyn has to sign, and cannot: chown -R {others.uid}:7 {path}\n"
        assert warning in spasshd("check")[1]
        monkeypatch.setattr(mistakes, "find_account", lambda _: own)
        assert "has to sign" not in spasshd("check")[1]

    @pytest.mark.parametrize(
        ("signs", "gpg", "there", "warned"),
        [
            (True, False, True, True),
            (True, True, True, False),
            (False, False, True, False),
            # That a restart would be of no use is told in its place.
            (True, False, False, False),
        ],
    )
    def test_warns_of_a_daemon_that_has_begun_without_gpg(
        self,
        spasshd: Spasshd,
        monkeypatch: pytest.MonkeyPatch,
        *,
        signs: bool,
        gpg: bool,
        there: bool,
        warned: bool,
    ) -> None:
        signing = f"format = 'gnupg'\ngnupg = ['{'AB' * 20}']\n"
        spasshd.user("ada", f"{signing if signs else ''}{key_table(1)}")
        own = Account(os.getuid(), os.getgid())
        monkeypatch.setattr(mistakes, "find_account", lambda _: own)
        if there:
            os.mkdir(config.load(str(spasshd.path)).gnupg_dir)
        with spasshd.answering(STATE | {"gpg": gpg}):
            out = spasshd("check")[1]
        warning = "warning: spasshd runs without gpg, and refuses what ada signs:"
        assert (warning in out) == warned
        assert "runs without gpg" not in spasshd("check")[1]

    @pytest.mark.usefixtures("firewall")
    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ('on_open = ["/no/such"]\n', "on_open: /no/such: no such file"),
            (
                '[[command]]\nname = "x"\nargv = ["/bin/true"]\nrun_as = "no-such"\n',
                "run_as: no account 'no-such'",
            ),
        ],
    )
    def test_finds_programs_that_cannot_run(
        self, spasshd: Spasshd, text: str, error: str
    ) -> None:
        spasshd.append(text)
        code, out, err = spasshd("check")
        assert (code, out) == (1, "")
        assert f"error: {spasshd.path}: {error}" in err

    @pytest.mark.usefixtures("firewall")
    def test_counts_the_users_of_both_places_and_finds_who_is_in_both(
        self, spasshd: Spasshd
    ) -> None:
        table = key_table(1).replace("[[key]]", "[[users.eve.key]]")
        spasshd.append(table)
        spasshd.user("ada", key_table(2))
        assert "users: 2\n" in spasshd("check")[1]
        spasshd.user("eve", key_table(3))
        code, _, err = spasshd("check")
        assert code == 1
        assert f"eve.toml: eve is in {spasshd.path} as well" in err

    @pytest.mark.usefixtures("firewall")
    def test_warns_of_lax_keys_and_says_what_nobody_uses(
        self, spasshd: Spasshd
    ) -> None:
        path = spasshd.path
        path.write_text("fwknop = true\n" + path.read_text())
        note = "note: fwknop is true, and no user has a key for packets of fwknop\n"
        assert note in spasshd("check")[1]
        table = '[[key]]\nformat = "fwknop"\nkey = "k"\n'
        spasshd.user("ada", table + "allow_unauthenticated = true\n")
        code, out, _ = spasshd("check")
        assert (code, note in out) == (0, False)
        text = "a key of ada takes packets of fwknop without an HMAC"
        assert f"warning: {text}\n" in out

    @pytest.mark.usefixtures("firewall")
    def test_says_what_is_captured(self, spasshd: Spasshd) -> None:
        assert "\ncaptured: udp/62201\n" in spasshd("check")[1]
        others = 'fwknop = true\nfwknop_transports = ["http/80", "udp/any", "icmp"]\n'
        spasshd.path.write_text(others + spasshd.path.read_text())
        captured = "\ncaptured: udp/62201, http/80, udp/any, icmp\n"
        assert captured in spasshd("check")[1]

    def test_a_key_of_fwknop_needs_the_capture_to_let_it_through(
        self, spasshd: Spasshd
    ) -> None:
        spasshd.user("ada", TABLE)
        code, _, err = spasshd("check")
        assert code == 1
        assert "ada.toml:3: format: packets of fwknop are not taken" in err
        assert "hint: write fwknop = true there and restart spasshd" in err


def day(days: float) -> str:
    """Spell a moment so many days from now for TOML."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


class TestUserList:
    def test_counts_keys_of_fwknop_among_the_others(self, spasshd: Spasshd) -> None:
        path = spasshd.path
        path.write_text("fwknop = true\n" + path.read_text())
        spasshd.user("ada", key_table(1) + TABLE)
        expected = ["ada", "tcp/22", "15 s", "2 keys", "1 of fwknop"]
        assert spasshd("user", "list")[1] == "\t".join(expected) + "\n"

    def test_takes_a_native_key_out_from_beside_one_of_fwknop(
        self, spasshd: Spasshd
    ) -> None:
        path = spasshd.path
        path.write_text("fwknop = true\n" + path.read_text())
        spasshd.user("ada", TABLE + key_table(1) + TABLE.replace("AAEC", "AAED"))
        public = encode_key(PUBLIC, key(1).public)
        assert spasshd("user", "remove", "ada", "--key", public)[0] == 0
        left = (spasshd.users / "ada.toml").read_text()
        assert left == TABLE + TABLE.replace("AAEC", "AAED")

    def test_has_a_line_for_each_user(self, spasshd: Spasshd) -> None:
        spasshd.append(
            '[[command]]\nname = "up"\nargv = ["/bin/true"]\n'
            '[[command]]\nname = "down"\nargv = ["/bin/false"]\n'
            + key_table(1).replace("[[key]]", "[[users.eve.key]]")
        )
        spasshd.user("ada", key_table(2) + f"expires = {day(-1)}\n" + key_table(3))
        spasshd.user("bob", f"not_before = {day(1)}\n" + key_table(4))
        spasshd.user("cat", f"expires = {day(-1)}\n" + key_table(5))
        spasshd.user("dan", 'commands = ["up", "down"]\n' + key_table(6))
        old = key_table(7) + f"expires = {day(-1)}\n"
        spasshd.user("fay", old + old.replace(key_table(7), key_table(8)))
        spasshd.user(
            "gus", f"expires = {day(1)}\nnot_before = {day(-1)}\n{key_table(9)}"
        )
        code, out, err = spasshd("user", "list")
        assert (code, err) == (0, "")
        rest = {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines()}
        usual = ["tcp/22", "15 s", "1 key"]
        assert rest == {
            "eve": usual,
            "ada": ["tcp/22", "15 s", "2 keys", "1 expired key"],
            "bob": [*usual, "not yet allowed"],
            "cat": [*usual, "expired"],
            "dan": [*usual, "commands up,down"],
            "fay": ["tcp/22", "15 s", "2 keys", "2 expired keys"],
            "gus": usual,
        }

    def test_of_a_broken_file_names_it_and_lists_the_others(
        self, spasshd: Spasshd
    ) -> None:
        spasshd.user("ada", "nonsense")
        spasshd.user("bob", key_table(1))
        code, out, err = spasshd("user", "list")
        assert (code, out) == (1, "bob\ttcp/22\t15 s\t1 key\n")
        assert "ada.toml:1: not valid TOML" in err


class TestUserRotate:
    def keys(self, spasshd: Spasshd, name: str = "ada") -> list[Any]:
        import tomllib

        return tomllib.loads((spasshd.users / f"{name}.toml").read_text())["key"]  # type: ignore[no-any-return]

    def test_adds_a_key_and_ends_the_old_one_in_a_week(self, spasshd: Spasshd) -> None:
        first = decode_invite(spasshd("user", "add", "ada")[1].strip())
        code, out, err = spasshd("user", "rotate", "ada")
        assert (code, out.count("\n")) == (0, 1)
        assert err == (
            'spasshd: note text="user ada is taken over when spasshd starts"\n'
        )
        second = decode_invite(out.strip())
        assert (second.user, second.address) == ("ada", "192.0.2.1")
        assert second.server == first.server
        assert second.psk != first.psk
        assert PrivateKey(second.secret).public == second.client != first.client
        old, new = self.keys(spasshd)
        assert old["public"] == encode_key(PUBLIC, first.client)
        assert new["public"] == encode_key(PUBLIC, second.client)
        assert "expires" not in new
        left = old["expires"] - datetime.now(UTC)
        assert timedelta(days=7) - timedelta(minutes=5) < left <= timedelta(days=7)
        assert (spasshd.users / "ada.toml").stat().st_mode & 0o777 == 0o600
        assert os.listdir(spasshd.users) == ["ada.toml"]

    def test_without_an_overlap_ends_the_old_key_now(self, spasshd: Spasshd) -> None:
        spasshd("user", "add", "ada")
        assert spasshd("user", "rotate", "ada", "--overlap", "0")[0] == 0
        old, _ = self.keys(spasshd)
        assert old["expires"] <= datetime.now(UTC)
        assert spasshd("user", "list")[1] == (
            "ada\ttcp/22\t15 s\t2 keys\t1 expired key\t1 invite\n"
        )

    def test_takes_a_key_that_the_client_has_made(self, spasshd: Spasshd) -> None:
        spasshd("user", "add", "ada")
        public = PrivateKey(bytes(range(32))).public
        words = ("--key", encode_key(PUBLIC, public), "--address", "example.org")
        code, out, _ = spasshd("user", "rotate", "ada", *words)
        invite = decode_invite(out.strip())
        assert (code, invite.secret, invite.client) == (0, b"", public)
        assert invite.address == "example.org"
        assert self.keys(spasshd)[1]["public"] == words[1]

    def test_tells_a_daemon_that_runs(self, spasshd: Spasshd) -> None:
        spasshd("user", "add", "ada")
        with spasshd.answering({"errors": []}) as asked:
            code, _, err = spasshd("user", "rotate", "ada")
        assert (code, err, asked) == (0, "", ["reload"])

    @pytest.mark.parametrize(
        ("words", "code", "what"),
        [
            (["eve"], 1, "no file of user 'eve'"),
            (["../ada"], 2, "not a user name: '../ada'"),
            (["ada", "--key", "spassh-public-x"], 2, "--key: damaged key"),
            (["ada", "--key", encode_key(PUBLIC, bytes(32))], 2, "--key: not a usable"),
            (["ada", "--address", "a b"], 2, "not a host name"),
        ],
    )
    def test_that_fails_changes_nothing(
        self, spasshd: Spasshd, words: list[str], code: int, what: str
    ) -> None:
        spasshd("user", "add", "ada")
        before = (spasshd.users / "ada.toml").read_bytes()
        got, out, err = spasshd("user", "rotate", *words)
        assert (got, out) == (code, "")
        assert f"error: {what}" in err
        assert (spasshd.users / "ada.toml").read_bytes() == before
        assert os.listdir(spasshd.users) == ["ada.toml"]

    def test_to_a_key_that_somebody_has_is_refused(self, spasshd: Spasshd) -> None:
        spasshd("user", "add", "ada")
        invite = decode_invite(spasshd("user", "add", "bob")[1].strip())
        public = encode_key(PUBLIC, invite.client)
        for name in ("ada", "bob"):
            code, out, err = spasshd("user", "rotate", name, "--key", public)
            assert (code, out) == (1, "")
            assert "the key belongs to user 'bob' already" in err

    def test_has_its_bounds(self, spasshd: Spasshd) -> None:
        """Of the keys that one user may have, and of days."""
        spasshd("user", "add", "ada")
        for _ in range(15):
            assert spasshd("user", "rotate", "ada")[0] == 0
        before = (spasshd.users / "ada.toml").read_bytes()
        code, out, err = spasshd("user", "rotate", "ada")
        assert (code, out) == (1, "")
        assert "more than 16" in err
        assert (spasshd.users / "ada.toml").read_bytes() == before
        for days in ("-1", "3651", "x", "1.5", "\u0663"):
            with pytest.raises(SystemExit) as caught:
                spasshd("user", "rotate", "ada", f"--overlap={days}")
            assert caught.value.code == 2


class TestRun:
    @pytest.mark.parametrize("words", [[], ["--pcap", "-"], ["--pcap", "some.pcap"]])
    def test_passes_configuration_and_file_on(
        self, spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch, words: list[str]
    ) -> None:
        given: list[object] = []
        monkeypatch.setattr(run_verb, "run_daemon", lambda *args: given.extend(args))
        assert spasshd("run", *words)[0] == 0
        settings, pcap = given
        assert settings == config.load(str(spasshd.path))
        assert pcap == "".join(words[1:])

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (DaemonError("no", "do it"), ["error: no", "hint: do it"]),
            (CaptureError("no", "do it"), ["error: no", "hint: do it"]),
            (MessageError("size"), ["error: the granter broke the rules: size"]),
            (SandboxError("capset: no"), ["error: capset: no"]),
            (
                GranterGoneError(),
                ["error: the granter has left, so the listener leaves too"],
            ),
        ],
    )
    def test_says_why_it_ended(
        self,
        spasshd: Spasshd,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        said: list[str],
    ) -> None:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(run_verb, "run_daemon", fail)
        code, out, err = spasshd("run")
        assert (code, out) == (1, "")
        assert err.splitlines() == [f"spasshd: {line}" for line in said]


Reload = Callable[[dict[str, Any]], tuple[int, str, str]]


class TestReload:
    @pytest.fixture
    def reload(self, spasshd: Spasshd) -> Reload:
        def asked(answer: dict[str, Any]) -> tuple[int, str, str]:
            with spasshd.answering(answer) as requests:
                result = spasshd("reload")
            assert requests == ["reload"]
            return result

        return asked

    def test_is_asked_of_the_daemon(self, reload: Reload) -> None:
        assert reload({"errors": []}) == (0, "", "")

    def test_says_what_is_broken_and_how_to_mend_it(self, reload: Reload) -> None:
        errors = [
            {"error": "ada.toml:1: bad\x1b[2J", "hint": "mend it\nor not"},
            {"error": "bob.toml: bad", "hint": ""},
        ]
        code, out, err = reload({"errors": errors})
        assert (code, out) == (1, "")
        assert err.splitlines() == [
            "spasshd: error: ada.toml:1: bad\\x1b[2J",
            "spasshd: hint: mend it\\nor not",
            "spasshd: error: bob.toml: bad",
        ]


def test_opening_the_ports_without_being_root_is_one_error_and_nothing_else(
    spasshd: Spasshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    spasshd.path.write_text("protect = [", encoding="ascii")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert spasshd("stop", "--open") == (
        1,
        "",
        (
            "spasshd: error: the packet filter takes root\n"
            "spasshd: hint: run this as root\n"
        ),
    )
