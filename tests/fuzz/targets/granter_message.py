"""What listener and granter say is read as its one spelling, or a `MessageError`."""

from collections.abc import Iterator

from property.test_server_message import encode

from spassh_server.firewall import Grant, Width
from spassh_server.ports import Port
from spassh_server.privsep.message import (
    GRANTED,
    READY,
    REVOKED,
    RUN,
    RUN_SIZE,
    SIZE,
    USER_FILE,
    Answer,
    Connection,
    GrantMessage,
    ListUsers,
    MessageError,
    Ping,
    Proof,
    Protect,
    Revoke,
    RunMessage,
    decode_answer,
    decode_request,
)

RUNS = 10_000
_HERE = bytes([192, 0, 2, 7])
_MESSAGES = {
    "grant": GrantMessage(1, Grant(_HERE, Port(6, 22)), 30, "alice"),
    "grant of a flow": GrantMessage(
        1, Grant(_HERE, Port(6, 22), Width.FLOW, 40_000), 30, "alice"
    ),
    "list users": ListUsers(2),
    "ping": Ping(3),
    "protect": Protect(4),
    "proof": Proof(5, Connection(_HERE, 40_000, 22)),
    "revoke a user": Revoke(6, "alice", b"", sessions=True),
    "revoke an address": Revoke(6, "", _HERE),
    "run": RunMessage(7, "alice", _HERE, ("reboot", "now"), "reboot"),
    "ready": Answer(READY, 8, widths=frozenset(Width)),
    "granted": Answer(GRANTED, 8),
    "user file": Answer(USER_FILE, 8, "alice.toml"),
    "revoked": Answer(REVOKED, 8, grants=2, sessions=1, forgotten=True),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    for name, message in _MESSAGES.items():
        yield name, encode(message).rstrip(b"\0")
    whom = (encode(_MESSAGES[f"revoke {what}"]) for what in ("a user", "an address"))
    both = bytes(one | other for one, other in zip(*whom, strict=True))
    yield "revoke a user at an address", both.rstrip(b"\0")


def check(data: bytes) -> None:
    _check(data)
    # Most of a message is padding, which need not be found by chance.
    _check(data.ljust(RUN_SIZE if data[:1] == bytes([RUN]) else SIZE, b"\0"))


def _check(data: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            found = decode(data)
        except MessageError:
            continue
        assert encode(found) == data
