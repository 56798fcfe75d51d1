"""Which address this computer has outside: who is asked, and what is taken."""

import _socket
import socket
import threading
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from spassh import outside
from spassh.errors import ResolveError
from spassh.outside import Outside
from spassh.resolve import Address
from spassh.url import Url, parse_url

OK = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"


class Server:
    """Answers one request, whatever it is."""

    def __init__(self, answer: bytes) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> Url:
        return parse_url(f"http://127.0.0.1:{self._listener.getsockname()[1]}/ip?a")

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        with sock:
            self.requests.append(sock.recv(4096))
            sock.sendall(self._answer)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Server]]:
    servers: list[Server] = []

    def made(answer: bytes) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield made
    for one in servers:
        one.close()


@pytest.mark.parametrize(
    ("body", "address"),
    [
        (b"198.51.100.7", "198.51.100.7"),
        (b" 8.8.8.8\r\n", "8.8.8.8"),
        (b"10.0.0.7\n", "10.0.0.7"),
        (b"127.0.0.1\n", "127.0.0.1"),
    ],
)
def test_an_address_alone_is_taken(
    serve: Callable[[bytes], Server], body: bytes, address: str
) -> None:
    """A server of the same private network may know no other address of ours."""
    server = serve(OK + body)
    assert Outside(server.url, ipv4=True).wait() == ip_address(address).packed
    (request,) = server.requests
    assert request.startswith(b"GET /ip?a HTTP/1.0\r\nHost: 127.0.0.1\r\n")
    assert request.endswith(b"\r\n\r\n")


def test_an_address_of_ipv6_is_taken_where_it_is_of_use(
    serve: Callable[[bytes], Server],
) -> None:
    answer = OK + b"2001:db8::7\n"
    found = Outside(serve(answer).url, ipv4=False).wait()
    assert found == ip_address("2001:db8::7").packed
    with pytest.raises(ResolveError, match="not an IPv4 address"):
        Outside(serve(answer).url, ipv4=True).wait()


ANSWERS: dict[bytes, str] = {
    OK: "the answer is not an address",
    OK + b"198.51.100.7 198.51.100.8": "the answer is not an address",
    OK + b"198.51.100.7\n198.51.100.8": "the answer is not an address",
    OK + b"198.51.100.7:80": "the answer is not an address",
    OK + b"198.51.100.0/24": "the answer is not an address",
    OK + b"198.51.100": "the answer is not an address",
    OK + b"<p>198.51.100.7</p>": "the answer is not an address",
    OK + b"\xff": "the answer is not an address",
    OK + b"c\r\n198.51.100.7\r\n0\r\n\r\n": "the answer is not an address",
    OK + b"0.0.0.0": "0.0.0.0 is no address of the outside",
    OK + b"224.0.0.1": "224.0.0.1 is no address of the outside",
    OK + b"198.51.100.7" + b" " * 8192: "the answer is too long",
    OK[:-2] + b"X: " + b"x" * 9000 + b"\r\n\r\n198.51.100.7": "the answer is too long",
    b"HTTP/1.1 302 Found\r\nLocation: http://a.test/\r\n\r\n": "it answers 302",
    b"HTTP/1.0 404 Not Found\r\n\r\n198.51.100.7": "it answers 404",
    b"HTTP/1.0 \x1b[m\r\n\r\n": r"it answers \x1b\[m",
    b"HTTP/1.0": "the answer is not HTTP",
    b"SSH-2.0-OpenSSH_9.2\r\n": "the answer is not HTTP",
    b"": "the answer is not HTTP",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_any_other_answer_is_refused(
    serve: Callable[[bytes], Server], answer: bytes
) -> None:
    problem = ANSWERS[answer].replace("\\x1b", "\\\\x1b")
    match = f"^cannot learn the address from 127.0.0.1: {problem}$"
    with pytest.raises(ResolveError, match=match) as caught:
        Outside(serve(answer).url, ipv4=True).wait()
    assert caught.value.hint.startswith("see that the URL is right")


@pytest.mark.parametrize("body", ["10.0.0.7", "192.168.1.1", "127.0.0.1", "100.64.0.1"])
def test_a_server_of_the_outside_does_not_name_an_address_of_the_inside(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    there = (_socket.AF_INET, _socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, **__: [there])
    monkeypatch.setattr(outside, "fetch", lambda *_: OK + body.encode())
    asked = Outside(parse_url("http://a.test/"), ipv4=True)
    with pytest.raises(ResolveError, match=f"{body} is no address of the outside"):
        asked.wait()


def test_the_next_address_is_asked_if_the_first_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fetch(_: Url, address: Address) -> bytes:
        if str(address) == "192.0.2.1":
            raise ConnectionRefusedError(111, "Connection refused")
        return OK + b"8.8.8.8"

    def there(last: int) -> tuple[object, ...]:
        return _socket.AF_INET, _socket.SOCK_STREAM, 6, "", (f"192.0.2.{last}", 80)

    monkeypatch.setattr(outside, "fetch", fetch)
    for lasts, expected in (([1, 2], b"\x08" * 4), ([1], None)):
        found = [there(last) for last in lasts]
        monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, f=found, **__: f)
        asked = Outside(parse_url("http://a.test/"), ipv4=True)
        if expected:
            assert asked.wait() == expected
        else:
            with pytest.raises(ResolveError, match=r"a\.test: connection refused$"):
                asked.wait()


def test_a_server_without_ipv4_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    there = (_socket.AF_INET6, _socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0))
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_, **__: [there])
    with pytest.raises(ResolveError, match="it has no IPv4 address"):
        Outside(parse_url("http://a.test/"), ipv4=True).wait()


def test_a_name_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(_socket, "getaddrinfo", nothing)
    with pytest.raises(ResolveError, match=r"cannot resolve a\.test: name or service"):
        Outside(parse_url("http://a.test/"), ipv4=True).wait()


def test_who_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(outside, "fetch", lambda *_: done.wait() and b"")
    asked = Outside(parse_url("http://127.0.0.1/"), ipv4=True)
    with pytest.raises(ResolveError, match=r"no answer within 0\.01 s"):
        asked.wait(0.01)
    done.set()


def test_a_certificate_that_nobody_knows_is_refused(
    serve: Callable[[bytes], Server],
) -> None:
    """Here it is not even TLS that answers."""
    server = serve(OK + b"8.8.8.8")
    url = server.url._replace(scheme="https")
    with pytest.raises(ResolveError, match="cannot learn the address from"):
        Outside(url, ipv4=True).wait()
    assert not server.requests or not server.requests[0].startswith(b"GET")
