"""No byte is lost, added or moved, whatever the chunks and whoever is slow."""

import random
import socket
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.client.relays import FINE, KINDS, WAYS, Running, all_at_once

sizes = st.lists(
    st.integers(1, 9) | st.integers(10, 5_000) | st.integers(5_001, 200_000), max_size=5
)
"""Of the chunks of one direction, in order."""

bites = st.integers(1, 99) | st.integers(100, 200_000)
"""How much the other side takes at a time, for some time. With little, it is slow."""

buffers = st.none() | st.integers(10_000, 99_999)
"""Of the connection, so that it is soon full; or as the system likes."""


def chunks(sizes: list[int], seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(size) for size in sizes]


def take(read: Callable[[int], bytes], bite: int) -> bytes:
    """Read to the end, in bites for the first thousand times."""
    taken: list[bytes] = []
    while chunk := read(bite if len(taken) < 100 else 200_000):
        taken.append(chunk)
    return b"".join(taken)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WAYS)
@settings(max_examples=20, deadline=None)
@given(sizes, sizes, bites, bites, buffers, st.integers(0, 99))
def test_what_goes_in_comes_out(
    name: str,
    kind: str,
    up: list[int],
    down: list[int],
    server_bite: int,
    reader_bite: int,
    buffer: int | None,
    seed: int,
) -> None:
    way, ends = WAYS[name], KINDS[kind]()
    said, answered = chunks(up, seed), chunks(down, seed + 1)
    arrived: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        way.prepare(monkeypatch)
        running = Running(way, ends.stdin, ends.stdout)
        server = running.server
        if buffer:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)

        def say() -> None:
            for chunk in said:
                ends.write(chunk)
            ends.end_input()

        def answer() -> None:
            for chunk in answered:
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)

        def hear() -> None:
            arrived["up"] = take(server.recv, server_bite)

        def read() -> None:
            arrived["down"] = take(ends.read, reader_bite)

        all_at_once(say, answer, hear, read)
        ending = running.join()
        server.close()
    ends.close_all()
    assert ending == FINE
    assert arrived["up"] == b"".join(said)
    assert arrived["down"] == b"".join(answered)
