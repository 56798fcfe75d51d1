"""Between the two programs: one spelling for each message, whatever the bytes are."""

from hypothesis import given, settings
from hypothesis import strategies as st

from spassh_server.firewall import Grant
from spassh_server.ports import Port
from spassh_server.privsep.message import (
    FROM_GRANTER,
    SIZE,
    USER_FILE,
    Answer,
    GrantMessage,
    ListUsers,
    MessageError,
    decode_answer,
    decode_request,
    encode_answer,
    encode_grant,
    encode_list_users,
)

# Mostly zeros, as messages are: else nearly everything would fail at the padding.
fields = st.binary(max_size=31)
messages = st.binary(min_size=SIZE, max_size=SIZE) | st.builds(
    lambda kind, rest: (bytes([kind]) + rest).ljust(SIZE, b"\0"),
    st.sampled_from([1, 2, *sorted(FROM_GRANTER)]),
    fields
    | st.builds(
        lambda number, seconds, protocol, port, size, address: (
            number
            + seconds
            + bytes([protocol])
            + port
            + bytes([size])
            + address[:size].ljust(16, b"\0")
        ),
        st.binary(min_size=4, max_size=4),
        st.binary(min_size=4, max_size=4),
        st.sampled_from([6, 17, 0]),
        st.binary(min_size=2, max_size=2),
        st.sampled_from([4, 16, 5]),
        st.binary(min_size=16, max_size=16),
    ),
)


@settings(deadline=None, max_examples=1000)
@given(messages)
def test_what_the_granter_reads_has_one_spelling(data: bytes) -> None:
    try:
        wanted = decode_request(data)
    except MessageError:
        return
    if isinstance(wanted, ListUsers):
        assert data == encode_list_users(wanted.number)
    else:
        assert data == encode_grant(wanted)


@settings(deadline=None, max_examples=1000)
@given(messages)
def test_what_the_listener_reads_has_one_spelling(data: bytes) -> None:
    try:
        answer = decode_answer(data)
    except MessageError:
        return
    assert data == encode_answer(answer)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_another_size_are_no_message(data: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(data)
        except MessageError:
            continue
        assert len(data) == SIZE


@settings(deadline=None)
@given(
    st.integers(0, 0xFFFFFFFF),
    st.tuples(st.integers(1, 223), st.binary(min_size=3, max_size=3)),
    st.builds(Port, st.sampled_from([6, 17]), st.integers(1, 65535)),
    st.integers(1, 0xFFFFFFFF),
)
def test_every_grant_is_read_back(
    number: int, address: tuple[int, bytes], port: Port, seconds: int
) -> None:
    host = bytes([address[0]]) + address[1]
    wanted = GrantMessage(number, Grant(host, port), seconds)
    assert wanted == decode_request(encode_grant(wanted))


@settings(deadline=None)
@given(
    st.integers(0, 0xFFFFFFFF),
    st.text(st.characters(max_codepoint=127), min_size=1, max_size=48).filter(
        lambda name: not name.endswith("\0")
    ),
)
def test_every_file_name_is_read_back(number: int, name: str) -> None:
    answer = Answer(USER_FILE, number, name)
    assert answer == decode_answer(encode_answer(answer))
