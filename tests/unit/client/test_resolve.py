import _socket
import _thread
import socket
from typing import Any

import pytest

from spassh.errors import ResolveError
from spassh.resolve import Address, Resolving, interleave


def answer(
    monkeypatch: pytest.MonkeyPatch, result: list[Any] | OSError
) -> list[tuple[Any, ...]]:
    """Be the name server; return what it is asked."""
    asked = []

    def getaddrinfo(*question: Any, **options: Any) -> list[Any]:
        asked.append((*question, options))
        if isinstance(result, OSError):
            raise result
        return result

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    return asked


def test_an_address_is_its_own_answer() -> None:
    assert Resolving("192.0.2.1", 22).wait() == [
        Address(socket.AF_INET, ("192.0.2.1", 22))
    ]
    assert Resolving("2001:db8::1", 22).wait() == [
        Address(socket.AF_INET6, ("2001:db8::1", 22, 0, 0))
    ]


def test_every_address_is_taken_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 22, 0, 0))
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 22))
    other = (socket.AF_INET, socket.SOCK_STREAM, 132, "", ("192.0.2.1", 22))
    answer(monkeypatch, [six, four, other])
    addresses = Resolving("server.example", 22).wait()
    assert [str(address) for address in addresses] == ["2001:db8::1", "192.0.2.1"]


def test_the_name_is_asked_for_as_ssh_would_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answer(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Unknown"))
    with pytest.raises(ResolveError):
        Resolving("sérveur.example", 22).wait()
    name = "sérveur.example".encode()
    assert asked == [(name, 22, {"type": socket.SOCK_STREAM})]


def test_a_name_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, socket.gaierror(socket.EAI_NONAME, "Name is not known"))
    with pytest.raises(ResolveError) as caught:
        Resolving("gone.example", 22).wait()
    assert str(caught.value) == "cannot resolve gone.example: name is not known"
    assert "spelled right" in caught.value.hint


@pytest.mark.parametrize("code", [socket.EAI_AGAIN, socket.EAI_FAIL])
def test_a_name_server_that_fails_is_not_blamed_on_the_spelling(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    answer(monkeypatch, socket.gaierror(code, "Temporary failure"))
    with pytest.raises(ResolveError) as caught:
        Resolving("far.example", 22).wait()
    assert str(caught.value) == "cannot resolve far.example: temporary failure"
    assert "name server" in caught.value.hint
    assert "spelled" not in caught.value.hint


def test_an_empty_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, [])
    with pytest.raises(
        ResolveError, match=r"^cannot resolve gone.example: no address$"
    ):
        Resolving("gone.example", 22).wait()


def test_a_name_server_that_never_answers_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forever = _thread.allocate_lock()
    forever.acquire()

    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        forever.acquire()
        return []

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ResolveError) as caught:
        Resolving("slow.example", 22).wait(0.001)
    forever.release()
    assert str(caught.value) == "cannot resolve slow.example: no answer within 0.001 s"
    assert "name server" in caught.value.hint


def test_another_port_of_the_same_host_keeps_the_rest() -> None:
    four = Address(socket.AF_INET, ("192.0.2.1", 22))
    assert four.at_port(1) == ("192.0.2.1", 1)
    six = Address(socket.AF_INET6, ("fe80::1", 22, 0, 3))
    assert six.at_port(1) == ("fe80::1", 1, 0, 3)


def test_the_families_take_turns() -> None:
    """If the preferred one is dead, the second try is of the other."""
    six = [Address(socket.AF_INET6, (f"2001:db8::{n}", 22, 0, 0)) for n in range(3)]
    four = [Address(socket.AF_INET, (f"192.0.2.{n}", 22)) for n in range(2)]
    assert interleave([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave([*four, *six]) == [four[0], six[0], four[1], six[1], six[2]]
    assert interleave(four) == four
    assert interleave([]) == []
