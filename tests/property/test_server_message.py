"""Between the two programs: one spelling for each message, whatever the bytes are."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spassh.protocol.limits import MAX_ARGUMENTS
from spassh_server.firewall import Grant, Width
from spassh_server.ports import Port
from spassh_server.privsep.message import (
    FROM_GRANTER,
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
    encode_answer,
    encode_grant,
    encode_list_users,
    encode_ping,
    encode_proof,
    encode_protect,
    encode_revoke,
    encode_run,
)

numbers = st.integers(0, 0xFFFFFFFF)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,31}", fullmatch=True)
addresses = st.builds(
    lambda first, rest: bytes([first]) + rest,
    st.integers(1, 223),
    st.binary(min_size=3, max_size=3) | st.binary(min_size=15, max_size=15),
)
ports = st.builds(Port, st.sampled_from([6, 17]), st.integers(1, 65535))
grants = st.builds(
    lambda address, port, width, number: Grant(
        address, port, width, number if width is Width.FLOW else 0
    ),
    addresses,
    ports,
    st.sampled_from(Width),
    st.integers(1, 65535),
)
# As many bytes as a datagram has room for, in every way to cut them.
words = st.text().map(lambda word: word.replace("\0", ""))
argvs = st.lists(words, min_size=1, max_size=MAX_ARGUMENTS).filter(
    lambda argv: argv[0] and sum(2 + len(word.encode()) for word in argv) <= 1046
)
wishes = (
    st.builds(GrantMessage, numbers, grants, st.integers(1, 0xFFFFFFFF), names)
    | st.builds(ListUsers, numbers)
    | st.builds(Ping, numbers)
    | st.builds(Protect, numbers)
    | st.builds(
        Proof,
        numbers,
        st.builds(Connection, addresses, st.integers(1, 65535), st.integers(1, 65535)),
    )
    | st.builds(Revoke, numbers, names, st.just(b""), st.booleans())
    | st.builds(Revoke, numbers, st.just(""), addresses | st.just(b""), st.booleans())
    | st.builds(RunMessage, numbers, names, addresses, argvs.map(tuple), names)
)
# Not every field by its annotation: counts are whole numbers of 32 bits.
answers = (
    st.builds(
        lambda kind, number: Answer(kind, number, ""),
        st.sampled_from(sorted(FROM_GRANTER - {USER_FILE})),
        numbers,
    )
    | st.builds(
        lambda number, name: Answer(USER_FILE, number, name),
        numbers,
        st.text(st.characters(max_codepoint=127), min_size=1, max_size=48).filter(
            lambda name: not name.endswith("\0")
        ),
    )
    | st.builds(
        lambda number, widths: Answer(READY, number, widths=widths),
        numbers,
        st.frozensets(st.sampled_from(Width)),
    )
    | st.builds(
        lambda number, grants, sessions: Answer(
            REVOKED, number, grants=grants, sessions=sessions
        ),
        numbers,
        numbers,
        numbers,
    )
)


def encode(message: Any) -> bytes:
    encoders: dict[type, Any] = {
        GrantMessage: encode_grant,
        ListUsers: lambda one: encode_list_users(one.number),
        Ping: lambda one: encode_ping(one.number),
        Proof: encode_proof,
        Protect: lambda one: encode_protect(one.number),
        Revoke: encode_revoke,
        RunMessage: encode_run,
        Answer: encode_answer,
    }
    return bytes(encoders[type(message)](message))


@st.composite
def nearly(draw: st.DrawFn, messages: st.SearchStrategy[Any]) -> bytes:
    """Draw a message of which a few bytes are others: noise would fail at once."""
    data = bytearray(encode(draw(messages)))
    used = len(data.rstrip(b"\0")) or 1
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, used - 1) | st.integers(0, len(data) - 1))
        data[at] = draw(st.integers(0, 255))
    return bytes(data)


noise = st.binary(min_size=SIZE, max_size=SIZE) | st.binary(max_size=60).map(
    lambda rest: (bytes([RUN]) + rest).ljust(RUN_SIZE, b"\0")
)


@settings(deadline=None)
@given(wishes)
def test_every_wish_is_read_back(wish: Any) -> None:
    read = decode_request(encode(wish))
    assert type(read) is type(wish)
    assert read == wish


@settings(deadline=None)
@given(answers)
def test_every_answer_is_read_back(answer: Answer) -> None:
    assert answer == decode_answer(encode_answer(answer))


@settings(deadline=None, max_examples=500)
@given(nearly(wishes) | nearly(answers) | noise)
def test_what_the_granter_reads_has_one_spelling(data: bytes) -> None:
    try:
        wanted = decode_request(data)
    except MessageError:
        return
    assert data == encode(wanted)


@settings(deadline=None, max_examples=500)
@given(nearly(answers) | nearly(wishes) | noise)
def test_what_the_listener_reads_has_one_spelling(data: bytes) -> None:
    try:
        answer = decode_answer(data)
    except MessageError:
        return
    assert data == encode_answer(answer)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.binary(min_size=RUN_SIZE - 1, max_size=1200))
def test_bytes_of_another_size_are_no_message(data: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(data)
        except MessageError:
            continue
        assert len(data) == (RUN_SIZE if data[0] == RUN else SIZE)
