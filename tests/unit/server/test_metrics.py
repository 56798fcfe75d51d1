import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from spassh.protocol.errors import PacketError
from spassh_server import cli, metrics
from spassh_server.verbs import metrics as verb

RUNNING: dict[str, Any] = {
    "running": True,
    "ready": True,
    "pid": 71,
    "users": 3,
    "counters": {"frames": 12, "granted": 7, "new-one": 1},
    "remembered": 7,
    "store_problem": "",
    "gpg": False,
    "capture_drops": 2,
    "protect": ["tcp/22", "tcp/443"],
    "backend": "nftables",
    "in_place": True,
    "grants": [
        {"address": "192.0.2.7", "port": "tcp/22", "seconds_left": 9},
        {"address": "192.0.2.8", "port": "tcp/22", "seconds_left": 9},
        {"address": "192.0.2.8", "port": "udp/53", "seconds_left": 9},
    ],
}
STOPPED: dict[str, Any] = {
    "running": False,
    "protect": ["tcp/22"],
    "backend": "nftables",
    "in_place": False,
    "grants": [],
}


def samples(status: dict[str, Any]) -> list[str]:
    lines = metrics.render(status).splitlines()
    return [line for line in lines if not line.startswith("#") and line[-2:] != " 0"]


def test_a_running_daemon() -> None:
    assert samples(RUNNING) == [
        "spassh_up 1",
        "spassh_ready 1",
        "spassh_users 3",
        "spassh_frames_total 12",
        'spassh_packets_total{outcome="granted"} 7',
        'spassh_packets_total{outcome="new-one"} 1',
        "spassh_capture_dropped_total 2",
        "spassh_remembered_packets 7",
        "spassh_in_place 1",
        'spassh_grants{port="tcp/22"} 2',
        'spassh_grants{port="udp/53"} 1',
    ]
    text = metrics.render(RUNNING)
    assert 'spassh_grants{port="tcp/443"} 0\n' in text
    assert "spassh_store_problem 0\n" in text


def test_a_daemon_in_trouble() -> None:
    trouble = {"store_problem": "full", "ready": False, "in_place": False}
    text = metrics.render(RUNNING | trouble)
    for line in ("spassh_store_problem 1", "spassh_ready 0", "spassh_in_place 0"):
        assert f"\n{line}\n" in text


def test_no_daemon() -> None:
    assert metrics.render(STOPPED) == (
        "# HELP spassh_up Whether spasshd runs.\n"
        "# TYPE spassh_up gauge\n"
        "spassh_up 0\n"
        "# HELP spassh_in_place Whether the drop is in place.\n"
        "# TYPE spassh_in_place gauge\n"
        "spassh_in_place 0\n"
        "# HELP spassh_grants Live grants by port, as the packet filter has them.\n"
        "# TYPE spassh_grants gauge\n"
        'spassh_grants{port="tcp/22"} 0\n'
    )


def test_what_nobody_knows_is_not_zero() -> None:
    text = metrics.render(RUNNING | {"in_place": None, "grants": []})
    assert "spassh_in_place" not in text
    assert "spassh_grants" not in text


def test_every_counter_of_a_packet_begins_at_zero() -> None:
    outcomes = {one.outcome for one in PacketError.__subclasses__()}
    assert outcomes <= set(metrics.OUTCOMES)
    text = metrics.render(RUNNING | {"counters": {}})
    assert 'spassh_packets_total{outcome="not-ours"} 0\n' in text
    assert "spassh_frames_total 0\n" in text


@pytest.mark.parametrize("status", [RUNNING, STOPPED])
def test_the_form_is_the_one_of_prometheus(status: dict[str, Any]) -> None:
    """Names and lines as the text exposition format 0.0.4 has them, each name once."""
    described: list[str] = []
    kind = ""
    for line in metrics.render(status).splitlines():
        if match := re.fullmatch(r"# HELP (\w+) [^\\]+\.", line):
            described.append(match[1])
        elif match := re.fullmatch(r"# TYPE (\w+) (counter|gauge)", line):
            assert match[1] == described[-1]
            kind = match[2]
        else:
            match = re.fullmatch(r'(spassh_[a-z_]+)({[a-z]+="[^"]*"})? \d+', line)
            assert match is not None
            assert match[1] == described[-1]
            assert match[1].endswith("_total") == (kind == "counter")
    assert len(described) == len(set(described))


def test_a_label_stays_in_its_quotes() -> None:
    counters = {'a"b\\c\nd': 5}
    assert r'spassh_packets_total{outcome="a\"b\\c\nd"} 5' in samples(
        RUNNING | {"counters": counters}
    )


def test_a_status_does_not_change_when_it_is_rendered() -> None:
    metrics.render(RUNNING)
    assert RUNNING["counters"]["frames"] == 12


# The verb


@pytest.fixture
def configuration(tmp_path: Path) -> str:
    path = tmp_path / "spasshd.toml"
    path.write_text("")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(("state", "status"), [(RUNNING, 0), (STOPPED, 3)])
def test_the_verb_prints_and_tells_whether_the_daemon_runs(
    configuration: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Any],
    status: int,
) -> None:
    monkeypatch.setattr(verb, "state_of", lambda _: state)
    assert cli.main(["metrics", "--config", configuration]) == status
    assert capsys.readouterr().out == metrics.render(state)


@pytest.mark.parametrize(("state", "status"), [(RUNNING, 0), (STOPPED, 3)])
def test_the_verb_replaces_a_file(
    tmp_path: Path,
    configuration: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Any],
    status: int,
) -> None:
    monkeypatch.setattr(verb, "state_of", lambda _: state)
    secret = tmp_path / "secret"
    secret.write_text("before")
    directory = tmp_path / "textfile"
    directory.mkdir()
    file = directory / "spassh.prom"
    file.symlink_to(secret)
    words = ["metrics", "--config", configuration, "--output", str(file)]
    mask = os.umask(0o077)
    try:
        assert cli.main(words) == status
        assert cli.main(words) == status
    finally:
        os.umask(mask)
    assert capsys.readouterr() == ("", "")
    assert file.read_text() == metrics.render(state)
    assert stat.S_IMODE(file.lstat().st_mode) == 0o644
    assert os.listdir(directory) == ["spassh.prom"]
    # A link that was there is replaced, not followed.
    assert secret.read_text() == "before"


def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(
    tmp_path: Path,
    configuration: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verb, "state_of", lambda _: RUNNING)
    (tmp_path / "textfile" / "spassh.prom").mkdir(parents=True)
    file = tmp_path / "textfile" / "spassh.prom"
    words = ["metrics", "--config", configuration, "--output", str(file)]
    assert cli.main(words) == 1
    assert "spasshd: error: " in capsys.readouterr().err
    assert os.listdir(tmp_path / "textfile") == ["spassh.prom"]
