from hashlib import blake2s

from spassh_server.repeats import Known, Repeats
from spassh_server.replay import Entry

CAPACITY = 64


def datagram(number: int) -> bytes:
    return blake2s(number.to_bytes(4, "big")).digest()


def known(number: int) -> Known:
    return Known("ada", Entry(datagram(number)[:16], number))


def filled(count: int) -> Repeats:
    repeats = Repeats(CAPACITY)
    for number in range(count):
        repeats.add(datagram(number), known(number))
    return repeats


def test_what_was_added_is_found_by_all_of_its_bytes() -> None:
    repeats = filled(2)
    assert repeats.find(datagram(1)) == known(1)
    assert repeats.find(datagram(2)) is None
    assert repeats.find(datagram(1) + b"\0") is None
    assert repeats.find(datagram(1)[:-1]) is None


def test_there_are_never_more_than_the_capacity() -> None:
    repeats = filled(10 * CAPACITY)
    assert len(repeats) == CAPACITY
    found = [n for n in range(10 * CAPACITY) if repeats.find(datagram(n))]
    assert len(found) == CAPACITY
    assert all(repeats.find(datagram(n)) == known(n) for n in found)


def test_the_same_again_takes_no_second_place() -> None:
    repeats = filled(1)
    repeats.add(datagram(0), known(7))
    assert len(repeats) == 1
    assert repeats.find(datagram(0)) == known(7)


def test_of_twice_as_many_in_turn_some_are_found() -> None:
    repeats = Repeats(CAPACITY)
    found = 0
    for turn in range(20):
        for number in range(2 * CAPACITY):
            if repeats.find(datagram(number)):
                found += turn >= 10
            else:
                repeats.add(datagram(number), known(number))
    assert found > 10 * 2 * CAPACITY / 10


def test_all_are_forgotten_at_once() -> None:
    repeats = filled(2 * CAPACITY)
    repeats.clear()
    assert len(repeats) == 0
    assert not any(repeats.find(datagram(n)) for n in range(2 * CAPACITY))
    repeats.add(datagram(0), known(0))
    assert repeats.find(datagram(0)) == known(0)
