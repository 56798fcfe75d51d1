"""A control request is one thing or none; an answer is whole or a `NotRunningError`.

What is asked of the granter has a user's name or an address that can be granted
something. The first byte chooses between what the daemon and what a verb reads.
"""

import json
from collections.abc import Iterator
from typing import Self
from unittest.mock import patch

from spassh.protocol.names import check_user
from spassh_server import control
from spassh_server.addresses import grantable
from spassh_server.answer import daemon_state
from spassh_server.config import parse
from spassh_server.events import printable
from spassh_server.limits import CONTROL_MESSAGE_BYTES
from spassh_server.privsep.message import Connection

RUNS = 10_000
_CONFIG = parse("", "/nonexistent/spasshd.toml")
_STATE = {
    "ready": True,
    "pid": 7,
    "users": 1,
    "widths": ["flow", "address"],
    "counters": {"granted": 3},
    "remembered": 3,
    "store_problem": "",
    "gpg": False,
    "capture_drops": 0,
}
_REQUEST_SIZE = 64


class _Socket:
    """The daemon's end, which may have been taken over."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def connect(self, _: str) -> None:
        pass

    def send(self, data: bytes) -> None:
        pass

    def recv(self, size: int) -> bytes:
        return self._answer[:size]


def seeds() -> Iterator[tuple[str, bytes]]:
    address = bytes([192, 0, 2, 7])
    requests = {
        "status": control.STATUS,
        "revoke all": control.render_revoke("", sessions=False),
        "kill a user": control.render_revoke("alice", sessions=True),
        "revoke an address": control.render_revoke("2001:db8::7", sessions=False),
        "proof": control.render_proof(Connection(address, 40_000, 22)),
    }
    for name, request in requests.items():
        yield name, b"\0" + request.encode()
    yield "answer", b"\1" + json.dumps(_STATE).encode()


def check(data: bytes) -> None:
    if data[:1] and data[0] % 2:
        _answer(data[1:CONTROL_MESSAGE_BYTES])
    else:
        _request(data[1 : 1 + _REQUEST_SIZE].decode("ascii", "replace"))


def _request(request: str) -> None:
    revoke = control.parse_revoke(request)
    login = control.parse_proof(request)
    assert revoke is None or login is None
    if revoke is not None:
        assert not (revoke.user and revoke.address)
        assert not revoke.user or check_user(revoke.user)
        assert not revoke.address or grantable(revoke.address)
    if login is not None:
        assert control.parse_proof(control.render_proof(login)) == login


def _answer(data: bytes) -> None:
    with patch("socket.socket", lambda *_: _Socket(data)):
        try:
            state = daemon_state(_CONFIG)
        except control.NotRunningError:
            return
    assert state.keys() == _STATE.keys()
    assert printable(state["store_problem"]).isprintable()
