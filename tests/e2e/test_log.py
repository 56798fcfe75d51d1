"""What the log never has: a key, or anything of a packet."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.inside import udp
from lab.knocker import Knocker, now_ms
from lab.network import SERVER4, Network
from lab.programs import Spasshd
from lab.site import Site

from spassh.protocol.keys import PSK, PUBLIC, SECRET, decode_key, encode_key
from spassh.protocol.packet import Gate, seal
from spassh.protocol.request import TCP, Request, encode
from spassh_server import events

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

PIECE = 12
"""Bytes of a secret that are as bad as all of it. Base64 has them in whole letters."""

COMMAND = """
[[command]]
name = "echo"
argv = ["/bin/echo", "{word}"]
word = "[a-z]{1,16}"
"""

EVENTS = ("granted", "refused", "replayed", "stale", "ordered", "command", "output")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture(params=["stderr", "json"])
def site(
    network: Network, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Site]:
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"), "--protect", "tcp/22")
    spasshd.edit("protect =", f'log = "{request.param}"\nprotect =')
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(COMMAND)
    yield Site(network.server, SERVER4, spasshd)
    if spasshd.daemon is not None:
        spasshd.running.stop()
    spasshd.verb("stop", "--open", check=False)


def spellings(piece: bytes) -> set[bytes]:
    """Return how a piece of a secret could stand in a log, in lower case."""
    text = piece.decode("latin-1")
    return {
        spelling.lower()
        for spelling in (
            piece,
            piece.hex().encode(),
            piece.hex(" ").encode(),
            piece.hex(":").encode(),
            base64.b64encode(piece),
            base64.urlsafe_b64encode(piece),
            # As Python, our log and JSON show what is not text.
            repr(piece)[2:-1].encode(),
            ascii(text)[1:-1].encode(),
            json.dumps(text)[1:-1].encode(),
            events.printable(text).encode(),
            text.encode(),
            str(list(piece))[1:-1].encode(),
        )
    }


def found(log: bytes, secret: bytes) -> list[bytes]:
    """Return what `log` shows of `secret`, at whatever place of it."""
    # Our log and JSON double the backslashes of what they quote.
    log = log.lower() + b"\n" + log.lower().replace(b"\\\\", b"\\")
    pieces = (secret[at : at + PIECE] for at in range(len(secret) - PIECE + 1))
    return [one for piece in pieces for one in spellings(piece) if one in log]


def as_text(data: bytes) -> str:
    return data.decode("latin-1")


@pytest.mark.parametrize("letters", [as_text, repr, bytes.hex, base64.b64encode])
@pytest.mark.parametrize("log", [events._to_stderr, events._to_json()])
def test_a_secret_would_be_found(
    capsys: pytest.CaptureFixture[str],
    letters: Callable[[bytes], bytes | str],
    log: Callable[[str, dict[str, object], list[str]], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = os.urandom(32)
    monkeypatch.setattr(events, "_log", log)
    events.say("refused", reason=letters(b"around" + secret + b"it"))
    said = capsys.readouterr().err.encode()
    assert found(said, secret)
    assert not found(said, os.urandom(32))
    events.error(f"not a key: {encode_key(PSK, secret)}")
    assert found(capsys.readouterr().err.encode(), secret)


def test_the_whole_log_of_a_daemon_has_no_key_and_nothing_of_a_packet(
    network: Network, site: Site
) -> None:
    spasshd = site.spasshd
    alice = Knocker(spasshd, "alice", 'commands = ["echo"]')
    stranger = Knocker(spasshd, "stranger")
    os.unlink(os.path.join(site.config.users_dir, "stranger.toml"))
    spasshd.start("ready")
    sealed: list[bytes] = []
    payloads: list[bytes] = []

    def ask(request: Request, keys: Knocker = alice) -> bytes:
        datagram = seal(request, keys.keys, os.urandom(33))
        sealed.append(datagram)
        payloads.append(encode(request))
        return datagram

    def command(*argv: str) -> Request:
        return Request(now_ms(), command=argv)

    with udp(network.client) as client, udp(network.stranger) as elsewhere:
        granted = ask(Request(now_ms(), TCP, 22))
        assert site.outcome(client, granted) == "granted"
        assert site.outcome(client, granted) == "duplicate"
        assert site.outcome(elsewhere, granted) == "replayed"
        # No more than have a line of their own within a second.
        for request in (Request(now_ms(), TCP, 23), command("/bin/echo", "NO")):
            assert site.outcome(client, ask(request)) == "refused"
        old = Request(now_ms() - 3_600_000, TCP, 22)
        assert site.outcome(client, ask(old)) == "stale"
        assert site.outcome(client, ask(command("/bin/echo", "word"))) == "ordered"
        spasshd.running.wait_log("word")
        unknown = ask(Request(now_ms(), TCP, 22), stranger)
        assert site.outcome(elsewhere, unknown) == "unauthentic"
        # As it comes out of the first gates: with all in it damaged.
        body = granted[:40] + os.urandom(136)
        sealed.append(body + Gate(alice.keys.server).mac(body))
        assert site.outcome(elsewhere, sealed[-1]) == "unauthentic"
    damaged = damage_users(site, alice)
    assert spasshd.verb("reload", check=False).returncode == 1
    spasshd.verb("revoke", "--kill", "alice")
    assert spasshd.running.stop() == 0

    log = Path(spasshd.running.log_path).read_bytes()
    assert [one for one in (*EVENTS, *damaged) if one.encode() not in log] == []
    with open(site.config.key_file, encoding="ascii") as file:
        secret = decode_key(SECRET, file.read().strip())
    keys = [secret, *alice.keys, *stranger.keys]
    public = {alice.keys.server}
    for one in [*(set(keys) - public), *sealed]:
        assert found(log, one) == []
    # Of a payload, a command is in the log on purpose; what is before it is not.
    for one in payloads:
        assert found(log, one[:28]) == []
    assert [kind for kind in (SECRET, PSK) if kind.encode() in log] == []


def damage_users(site: Site, alice: Knocker) -> list[str]:
    """Write files with the mistakes that a key is pasted with; return their names."""
    psk = encode_key(PSK, alice.keys.psk)
    secret = encode_key(SECRET, alice.keys.secret)
    public = encode_key(PUBLIC, os.urandom(32))
    mistakes = {
        "secret": f'[[key]]\npublic = "{secret}"\npsk = "{psk}"\n',
        "swapped": f'[[key]]\npublic = "{psk}"\npsk = "{secret}"\n',
        "cut": f'[[key]]\npublic = "{public}"\npsk = "{psk[:-1]}"\n',
        "begun-late": f'[[key]]\npublic = "{public}"\npsk = "{psk[9:]}"\n',
        "open": f'[[key]]\npsk = "{psk}\n',
        "bare": f"[[key]]\npsk = {psk}\n",
        "alone": f"{psk}\n",
    }
    for name, text in mistakes.items():
        path = os.path.join(site.config.users_dir, f"{name}.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)
    return [f"{name}.toml" for name in mistakes]


def test_a_damaged_key_of_the_server_is_not_shown(site: Site) -> None:
    with open(site.config.key_file, encoding="ascii") as file:
        text = file.read().strip()
    secret = decode_key(SECRET, text)
    for damaged in (text[:-1], text[1:], f"{text}{text}", text.replace("-", "=")):
        with open(site.config.key_file, "w", encoding="ascii") as file:
            file.write(f"{damaged}\n")
        started = site.spasshd.verb("run", check=False)
        assert started.returncode == 1
        assert "server.key" in started.stderr
        assert found(started.stderr.encode(), secret) == []
