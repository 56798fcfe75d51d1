"""Vectors without end: hypothesis strategies for requests, keys and payloads."""

from struct import Struct

from hypothesis import settings
from hypothesis import strategies as st

from spassh.protocol.limits import (
    ACCESS_PAYLOAD,
    COMMAND_PAYLOAD,
    MAX_ARGUMENTS,
    MAX_LIFETIME,
    RANDOMNESS_SIZE,
)
from spassh.protocol.packet import ClientKeys
from spassh.protocol.request import Request, encode

repeatable = settings(deadline=None, database=None)
"""Nothing is kept of an earlier run. conftest.py says whether examples are new."""

_FIELDS = Struct("!BBQBBHHI16sH")
_MAPPED = bytes(10) + b"\xff\xff"

keys32 = st.binary(min_size=32, max_size=32)
randomness = st.binary(min_size=RANDOMNESS_SIZE, max_size=RANDOMNESS_SIZE)

_times = st.integers(0, (1 << 63) - 1)
_ports = st.integers(1, 0xFFFF)
addresses = (
    st.just(b"")
    | st.binary(min_size=4, max_size=4).filter(any)
    | st.binary(min_size=16, max_size=16).filter(
        lambda address: any(address) and address[:12] != _MAPPED
    )
)
access_requests = st.builds(
    Request,
    time=_times,
    protocol=st.sampled_from((6, 17)),
    port=_ports,
    lifetime=st.integers(0, MAX_LIFETIME),
    address=addresses,
    source_port=st.just(0) | _ports,
    command=st.just(()),
)

_words = st.text(max_size=40).map(lambda word: word.replace("\0", ""))
_commands = st.builds(
    lambda first, rest: (first, *rest),
    _words.filter(bool),
    st.lists(_words, max_size=MAX_ARGUMENTS - 1),
).filter(lambda words: sum(2 + len(word.encode()) for word in words) <= 1046)
command_requests = st.builds(
    lambda time, command: Request(time, command=command), _times, _commands
)

requests = access_requests | command_requests
client_keys = st.builds(ClientKeys, keys32, keys32, keys32)


_ODD = (
    (0, 2, 255),
    (0, 1, 2, 0x80),
    (0, (1 << 63) - 1, 1 << 63),
    (0, 1, 6, 17),
    (0, 4, 5, 6),
    (0, 22, 0xFFFF),
    (0, 1, 0xFFFF),
    (0, MAX_LIFETIME, MAX_LIFETIME + 1),
    (
        bytes(16),
        b"\x01" + bytes(15),
        bytes(3) + b"\x01" + bytes(12),
        bytes(4) + b"\x01" + bytes(11),
        _MAPPED + bytes(4),
        bytes(15) + b"\x01",
    ),
    (0, 2, 3, 4, 5, 6, 38, 39, 1046, 1047),
)
_RESTS = (
    b"",
    b"\0\x01w",
    b"\0\x02\xc3\xa9",
    b"\0\x01\xc3\0\0",
    b"\0\x01w\0\x01\0",
    b"\0\0\0\x01w",
    b"\x04\x14" + b"x" * 1044,
)


@st.composite
def _odd(draw: st.DrawFn) -> bytes:
    """A payload of which up to three fields are at or beyond an edge."""
    size = draw(st.sampled_from((ACCESS_PAYLOAD, COMMAND_PAYLOAD)))
    rest = draw(st.sampled_from(_RESTS)) if size == COMMAND_PAYLOAD else b""
    wants = (6, 0, 22) if size == ACCESS_PAYLOAD else (0, 0, 0)
    fields = [1, int(bool(rest)), 1, *wants, 0, 0, bytes(16), len(rest)]
    for field in draw(st.lists(st.integers(0, 9), max_size=3)):
        fields[field] = draw(st.sampled_from(_ODD[field]))
    return (_FIELDS.pack(*fields) + rest).ljust(size, b"\0")


@st.composite
def _changed(draw: st.DrawFn) -> bytes:
    """A valid payload with up to two bytes changed, mostly in its head."""
    payload = bytearray(encode(draw(requests)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(1, 48) | st.integers(0, len(payload) - 1))
        payload[at] = draw(st.integers(0, 255))
    return bytes(payload)


payloads = (
    _odd()
    | _changed()
    | st.binary(min_size=ACCESS_PAYLOAD, max_size=ACCESS_PAYLOAD)
    | st.binary(min_size=COMMAND_PAYLOAD, max_size=COMMAND_PAYLOAD)
)
