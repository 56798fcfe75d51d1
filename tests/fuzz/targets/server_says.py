"""What spasshd says through ssh is whole and bounded, or it counts for nothing.

A server may be hostile, and the start-up files of a shell print what they like.
"""

import json
from collections.abc import Iterator
from unittest.mock import patch

from fuzz.targets.invite import INVITE

from spassh.errors import SpasshError
from spassh.protocol.finding import MAX_FINDINGS, MAX_TEXT, render
from spassh.protocol.invite import encode_invite
from spassh.verbs.doctor.greeting import find_greeting
from spassh.verbs.doctor.there import parse_time
from spassh.verbs.remote import Spasshd
from spassh.verbs.ssh import Done

_GRANT = {"user": "ada", "address": "192.0.2.7", "port": "tcp/22", "seconds_left": 9}
_STATUS = {"running": True, "counters": {"granted": 3}, "grants": [_GRANT]}
_STEPS = [{"name": "handshake", "passed": True}, {"name": "replay", "passed": False}]
_FINDING = {
    "check": "clock",
    "result": "ok",
    "seen": "it is right",
    "remedy": "",
    "data": {"ms": 3, "some": ["a"], "none": None, "part": 0.5},
}


_ARMOUR = (
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAA==\n-----END PGP PUBLIC KEY BLOCK-----\n"
)


def seeds() -> Iterator[tuple[str, bytes]]:
    yield "invite", f"Welcome!\n{encode_invite(INVITE)}\n".encode()
    yield "status", json.dumps(_STATUS).encode()
    yield "steps", json.dumps({"steps": _STEPS}).encode()
    yield "findings", json.dumps({"findings": [_FINDING]}).encode()
    yield "openpgp", f"{encode_invite(INVITE)}\n{_ARMOUR}".encode()
    yield "time", b"Welcome!\n1767225600\n"
    yield "greeting", b"Welcome!\r\nSSH-2.0-OpenSSH_9.2\r\n"
    yield "trial", b"on trial for 60 s: tcp/22\n"


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    greeting = find_greeting(data)
    assert not greeting or greeting.startswith("SSH-")
    offset = parse_time(text, 0, 0)
    assert offset is None or abs(offset.least) < 1 << 60
    spasshd = Spasshd.__new__(Spasshd)
    spasshd._host, spasshd._login = "server.example", "ada"
    with patch.object(Spasshd, "_run", lambda *_, **__: Done(0, text, text)):
        _ask(spasshd)


def _ask(spasshd: Spasshd) -> None:
    for ask in (
        lambda: spasshd.add("ada", "a key", "server.example"),
        lambda: spasshd.add_signing("ada", "a key", "server.example", "armour"),
        lambda: spasshd.remove_key("ada", "a key"),
        lambda: spasshd.has_accepted(b"datagram"),
        lambda: spasshd.protect("tcp/22"),
    ):
        try:
            ask()
        except SpasshError:
            continue
    try:
        status = spasshd.status()
    except SpasshError:
        pass
    else:
        assert type(status.running) is bool
        assert all(type(one) is int for one in status.counters.values())
    try:
        findings = spasshd.findings()
    except SpasshError:
        return
    assert len(findings) <= MAX_FINDINGS
    for finding in findings:
        assert max(len(finding.seen), len(finding.remedy)) <= MAX_TEXT
        render(finding, "server")
