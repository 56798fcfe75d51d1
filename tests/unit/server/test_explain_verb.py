"""`spasshd explain` on files and on bytes, and that it changes nothing."""

import json
import os
from pathlib import Path
from struct import pack
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("scapy.libs.winpcapy")

from unit.server.frames import (
    SOURCE4,
    ethernet,
    ipv4,
    pcap_header,
    pcap_record,
    pcapng_header,
    pcapng_record,
    udp,
)
from unit.server.parties import (
    CLIENT,
    CLIENT_PSK,
    HERE,
    NOW,
    SERVER,
    access,
    sealed,
)

from spassh.protocol.keys import PSK, PUBLIC, SECRET, encode_key
from spassh.protocol.opening import open_datagram
from spassh_server import cli
from spassh_server.firewall import FirewallError, Width
from spassh_server.replay import IDENTITY_SIZE, Entry
from spassh_server.store import ReplayStore, boot_id
from spassh_server.verbs import explain

Captured = pytest.CaptureFixture[str]
ELSEWHERE = ("--source", "198.51.100.9")


class Explain:
    """`spasshd explain WORDS --config PATH` on a host of its own."""

    def __init__(self, directory: Path, capsys: Captured) -> None:
        self._capsys = capsys
        self.directory = directory
        self.state = directory / "state"
        self.config = directory / "spasshd.toml"
        self._write("spasshd.toml", "")
        self._write("server.key", encode_key(SECRET, bytes(range(32))))
        (directory / "users.d").mkdir()
        public, psk = encode_key(PUBLIC, CLIENT), encode_key(PSK, CLIENT_PSK)
        key = f'[[key]]\npublic = "{public}"\npsk = "{psk}"\n'
        self._write("users.d/ada.toml", key)

    def _write(self, name: str, content: str) -> None:
        path = self.directory / name
        path.write_text(content)
        path.chmod(0o600)

    def file(self, *payloads: bytes, damaged: bool = False) -> str:
        path = self.directory / "packets"
        records = [
            pcap_record(ethernet(ipv4(udp(payload))), NOW + number)
            for number, payload in enumerate(payloads)
        ]
        content = pcap_header() + b"".join(records)
        path.write_bytes(content[: len(content) - damaged])
        return str(path)

    def admit(self, payload: bytes, start: int) -> None:
        """Accept `payload` as the daemon does that was started at `start`."""
        self.state.mkdir(exist_ok=True)
        opened = open_datagram(payload, SERVER, lambda _: CLIENT_PSK)
        entry = Entry(opened.identity[:IDENTITY_SIZE], opened.request.time)
        fd = os.open(self.state, os.O_RDONLY)
        store = ReplayStore(fd, start, boot_id())
        store.admit(entry, HERE, NOW)
        store._close()
        os.close(fd)

    def __call__(self, *words: str) -> tuple[int, list[str], str]:
        code = cli.main(["explain", *words, "--config", str(self.config)])
        said = self._capsys.readouterr()
        return code, said.out.splitlines(), said.err

    def contents(self) -> dict[str, tuple[bytes, int]]:
        return {
            str(path): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def explained(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> Explain:
    def choose(*_: Any) -> tuple[Any, str]:
        # It has nothing else, so that whoever asks more of it fails.
        firewall = SimpleNamespace(name="recording", widths=frozenset(Width))
        return firewall, "the test says so"

    monkeypatch.setattr(explain, "choose", choose)
    return Explain(tmp_path, capsys)


def test_a_packet_of_a_file_is_judged_at_the_time_of_its_capture(
    explained: Explain,
) -> None:
    code, out, err = explained(explained.file(sealed()))
    assert (code, err) == (0, "")
    assert out[0] == "packet 1, of 2026-01-01 00:00:00.000 UTC"
    assert out[1] == f"ok  datagram   192 bytes from {SOURCE4}, source port 40000"
    assert out[-1].startswith(f"ok  grant      {SOURCE4} may reach tcp/22 for 15 s")
    assert all(line.startswith("ok  ") for line in out[1:])


def test_the_time_and_the_source_can_be_given(explained: Explain) -> None:
    path = explained.file(sealed(access(source_port=7)))
    words = ("--now", "2026-01-01T00:00:00.500+00:00", "--source-port", "7")
    code, out, _ = explained(path, *ELSEWHERE, *words)
    assert code == 0
    assert out[0].endswith(" UTC, at 2026-01-01 00:00:00.500 UTC")
    assert out[1] == "ok  datagram   192 bytes from 198.51.100.9, source port 7"
    code, out, _ = explained(path, "--now", f"@{NOW // 1000 + 120}")
    assert code == 1
    assert out[-1].startswith("no  time       its clock is 120 s behind")


def test_a_packet_in_hexadecimal_is_judged_now(explained: Explain) -> None:
    code, out, _ = explained(sealed().hex(), *ELSEWHERE)
    assert code == 1
    assert out[-1].startswith("no  time       its clock is ")
    code, out, _ = explained(sealed().hex().upper(), *ELSEWHERE, "--now", "@1767225600")
    assert code == 0
    assert "198.51.100.9 may reach tcp/22" in out[-1]


@pytest.mark.parametrize("words", [("abcd",), ("abc", *ELSEWHERE)])
def test_bytes_without_a_source_and_half_a_byte_are_usage_errors(
    explained: Explain, words: tuple[str, ...]
) -> None:
    code, out, err = explained(*words)
    assert (code, out) == (2, [])
    assert "--source ADDRESS" in err


@pytest.mark.parametrize(
    "words",
    [
        ("--source", "server"),
        ("--source-port", "65536"),
        ("--now", "2026-01-01T00:00:00"),
        ("--now", "@1e99"),
        ("--now", "@nan"),
        ("--now", "tomorrow"),
    ],
)
def test_options_without_a_meaning_are_refused(
    explained: Explain, words: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        explained("00", *words)


def test_a_file_whose_name_is_hexadecimal_is_a_file(
    explained: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(explained.directory)
    os.rename(explained.file(sealed()), "cafe")
    assert explained("cafe")[0] == 0


def test_each_packet_meets_what_those_before_it_have_left(explained: Explain) -> None:
    again = sealed()
    code, out, _ = explained(explained.file(again, bytes(192), again))
    assert code == 0
    ends = [line for line in out if line.startswith(("no", "ok  grant"))]
    assert [line.split()[1] for line in ends] == ["grant", "gate", "replay"]
    assert [line for line in out if line.startswith("packet")] == [
        f"packet {number}, of 2026-01-01 00:00:00.00{number - 1} UTC"
        for number in (1, 2, 3)
    ]


def test_what_the_daemon_has_accepted_is_a_replay(explained: Explain) -> None:
    payload = sealed()
    explained.admit(payload, NOW - 1000)
    code, out, _ = explained(explained.file(payload))
    assert code == 1
    assert out[-1] == "no  replay     accepted before"
    assert explained(explained.file(sealed()))[0] == 0


def test_what_was_made_before_the_daemon_began_to_remember_is_told(
    explained: Explain,
) -> None:
    explained.admit(sealed(access(time=NOW + 20)), NOW + 10)
    code, out, _ = explained(explained.file(sealed()))
    assert code == 1
    assert "made before this server began to remember" in out[-1]


def test_nothing_is_changed(explained: Explain) -> None:
    explained.admit(sealed(), NOW - 1000)
    path = explained.file(sealed(), sealed())
    before = explained.contents()
    assert explained(path)[0] == 0
    assert explained(path)[0] == 0
    assert explained.contents() == before


def test_no_state_directory_is_made(explained: Explain) -> None:
    assert explained(explained.file(sealed()))[0] == 0
    assert not explained.state.exists()


def test_a_damaged_store_is_told_and_left_as_it_is(explained: Explain) -> None:
    explained.state.mkdir()
    (explained.state / "replay").write_bytes(b"junk")
    (explained.state / "link").symlink_to("/etc/passwd")
    os.mkfifo(explained.state / "pipe")
    code, _, err = explained(explained.file(sealed()))
    assert code == 0
    assert "replay store: damaged" in err
    assert (explained.state / "replay").read_bytes() == b"junk"


def test_a_broken_user_is_told_and_unknown(explained: Explain) -> None:
    with (explained.directory / "users.d" / "ada.toml").open("a") as file:
        file.write("prots = []\n")
    code, out, err = explained(explained.file(sealed()))
    assert code == 1
    assert out[-1] == "no  handshake  unknown client key"
    assert "unknown key" in err


def test_json_has_a_line_for_each_packet(explained: Explain) -> None:
    code, out, _ = explained("--json", explained.file(sealed(), bytes(192)))
    first, second = map(json.loads, out)
    assert code == 0
    assert (first["packet"], first["captured"], first["now"]) == (1, NOW, NOW)
    assert (first["granted"], second["granted"]) == (True, False)
    assert second["steps"][-1]["name"] == "gate"
    assert second["steps"][-1]["passed"] is False


def test_a_file_without_a_packet_of_ours_is_an_error(explained: Explain) -> None:
    code, out, err = explained(explained.file(bytes(64)))
    assert (code, out) == (1, [])
    assert err.startswith("spasshd: error: no datagram for udp/62201 in ")


def test_a_damaged_file_is_explained_up_to_there(explained: Explain) -> None:
    code, out, err = explained(explained.file(sealed(), sealed(), damaged=True))
    assert code == 1
    assert out[-1].startswith("ok  grant")
    assert "hint: it is damaged, or not written to its end yet" in err


@pytest.mark.parametrize("option", [(9, b"\0"), (14, pack("<q", -(1 << 40)))])
def test_a_file_with_an_impossible_time_is_damaged(
    explained: Explain, option: tuple[int, bytes]
) -> None:
    """Whoever sends a file to be looked at may have made all of it up."""
    path = explained.directory / "packets"
    frame = ethernet(ipv4(udp(sealed())))
    path.write_bytes(pcapng_header(option) + pcapng_record(frame, 1 << 55))
    code, out, err = explained(str(path))
    assert (code, out) == (1, [])
    assert f"error: {path}: impossible time" in err


def test_a_frame_that_is_no_datagram_is_told(explained: Explain) -> None:
    path = explained.directory / "packets"
    # The first fragment has all that the filter looks at.
    frame = ethernet(ipv4(udp(sealed()), fragment=0x2000))
    path.write_bytes(pcap_header() + pcap_record(frame, NOW))
    code, out, _ = explained(str(path))
    assert code == 1
    assert out[1:] == ["no  datagram   fragment"]


def test_a_host_without_packet_filter_is_told(
    explained: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(*_: Any) -> None:
        raise FirewallError("no packet filter works here")

    monkeypatch.setattr(explain, "choose", choose)
    code, out, _ = explained(explained.file(sealed()))
    assert code == 1
    assert out[-1] == "no  firewall   no packet filter works here"
