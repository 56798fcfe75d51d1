"""Two network namespaces, and the answers that one gets from the other.

        client namespace                   server namespace
      192.0.2.2, 2001:db8::2   client
                                     veth
      192.0.2.3, 2001:db8::3   stranger == veth   192.0.2.1, 2001:db8::1

The test itself runs in the server's namespace. Only the sockets of client and stranger
are made in the other one, where they stay although the test returns.
"""

import ctypes
import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from types import TracebackType
from typing import Self

SERVER = {4: "192.0.2.1", 6: "2001:db8::1"}
CLIENT = {4: "192.0.2.2", 6: "2001:db8::2"}
STRANGER = {4: "192.0.2.3", 6: "2001:db8::3"}
LOOPBACK = ("127.0.0.1", "::1")
"""As a source: the server talks to itself."""

VERSIONS = (4, 6)

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

PATIENCE = 5.0
_DATAGRAMS = 10
"""As many are sent within the time in which one has to be refused."""
"""Seconds to wait for an answer that should come. It is over as soon as one does."""
# A veth answers in the system call that sends: this is some hundred times as long.
_SILENCE_SECONDS = 0.03
_DEADLINE_SECONDS = 60.0

_SERVER_MAC = "02:00:00:00:00:01"
_CLIENT_MAC = "02:00:00:00:00:02"

_CLONE_NEWNET = 0x40000000
_numbers = count()


def wait_for(
    condition: Callable[[], bool], what: str, seconds: float = _DEADLINE_SECONDS
) -> None:
    """Poll until `condition` is true. A test that waits never just sleeps."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def sh(*argv: str, text: str = "") -> str:
    """Run a program of the system and return what it printed.

    iptables-legacy has one lock for all namespaces, so it may have to wait for others.
    """
    if re.fullmatch("ip6?tables(-legacy|-nft)?(-restore)?", argv[0]):
        argv = (argv[0], "-w", *argv[1:])
    done = subprocess.run(
        argv, input=text, text=True, capture_output=True, check=False, timeout=120
    )
    assert not done.returncode, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def everything() -> str:
    """Return all rules and sets of this namespace, without counters and timeouts."""
    texts = [sh("nft", "list", "ruleset")]
    if _has_legacy():
        texts += [sh(f"{program}-legacy-save") for program in ("iptables", "ip6tables")]
    texts.append(sh("ipset", "list", "-name"))
    text = "\n".join(texts)
    text = re.sub(r"(packets|bytes) \d+", r"\1 N", text)
    return re.sub(r"\[\d+:\d+\]|^#.*", "", text, flags=re.MULTILINE)


def _has_legacy() -> bool:
    """Tell whether this namespace has tables of iptables-legacy; saving makes them."""
    with open("/proc/net/ip_tables_names", encoding="ascii") as names:
        return bool(names.read())


class Network:
    """The two namespaces. Inside `with`, the test runs in the server's."""

    def __init__(self) -> None:
        self._prefix = f"fw{os.getpid()}x{next(_numbers)}"
        self._made: list[str] = []
        self._sockets: list[socket.socket] = []
        self._listeners: dict[tuple[int, int], socket.socket] = {}
        self._fds: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Go back to where the test came from, and leave nothing behind."""
        self._move("home")
        for sock in self._sockets:
            sock.close()
        for fd in self._fds.values():
            os.close(fd)
        for name in self._made:
            sh("ip", "netns", "del", name)

    def listen(self, *ports: int) -> None:
        """Have the server listen on TCP `ports`, for both families."""
        for port in ports:
            for family in FAMILIES.values():
                sock = self._keep(socket.socket(family, socket.SOCK_STREAM))
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", port))
                sock.listen()
                sock.setblocking(False)
                self._listeners[family, port] = sock

    def answer(
        self,
        source: str,
        port: int = 22,
        *,
        patience: float = PATIENCE,
        source_port: int = 0,
    ) -> str:
        """Connect from `source`; return "open", "refused" or "silent"."""
        return self.answers([source], port, patience, source_port)[0]

    def is_silent(self, *sources: str, port: int = 22) -> bool:
        """Tell whether nothing at all answers to any of `sources`."""
        return set(self.answers(sources, port, _SILENCE_SECONDS)) == {"silent"}

    def is_closed(self, *sources: str, port: int = 22) -> bool:
        """Tell whether none of them can connect, whatever the host may say about it."""
        return "open" not in self.answers(sources, port, _SILENCE_SECONDS)

    def is_open(self, *sources: str, port: int = 22) -> bool:
        """Tell whether all of them can connect."""
        return set(self.answers(sources, port)) == {"open"}

    def answers(
        self,
        sources: Sequence[str],
        port: int = 22,
        patience: float = PATIENCE,
        source_port: int = 0,
    ) -> list[str]:
        """Connect from all `sources` at once, and wait for the answers together."""
        sockets = [self._dial(source, port, source_port) for source in sources]
        deadline = time.monotonic() + patience
        answers = [_answer(one, deadline - time.monotonic()) for one in sockets]
        said = zip(sockets, answers, strict=True)
        through = [sock for sock, answer in said if answer == "open"]
        for sock in (*self._accept_all(through, port), *sockets):
            sock.close()
        return answers

    def session(self, source: str, port: int = 22, source_port: int = 0) -> "Session":
        """Connect from `source` and keep the connection."""
        sock = self._dial(source, port, source_port)
        assert _answer(sock, PATIENCE) == "open"
        return Session(self._keep(sock), self._keep(self._accept(sock, port)))

    def count_open(self, source: str, number: int, port: int = 22) -> int:
        """Connect from `source` so many times at once; return how many get through."""
        sockets = [self._dial(source, port) for _ in range(number)]
        poll = select.poll()
        for sock in sockets:
            poll.register(sock, select.POLLOUT)
        poll.poll(PATIENCE * 1000)
        end = time.monotonic() + _SILENCE_SECONDS
        through = [s for s in sockets if _answer(s, end - time.monotonic()) == "open"]
        for sock in (*self._accept_all(through, port), *sockets):
            sock.close()
        return len(through)

    def udp_is_refused(self, source: str, port: int) -> bool:
        """Tell whether an ICMP port unreachable answers a datagram from `source`."""
        return self._is_refused(source, port, PATIENCE)

    def udp_is_unanswered(self, source: str, port: int) -> bool:
        """Tell whether none does."""
        return not self._is_refused(source, port, _SILENCE_SECONDS)

    def udp_arrives(self, source: str, port: int) -> bool:
        """Tell whether a datagram from `source` reaches a socket of the server."""
        return self._arrives(source, port, PATIENCE)

    def udp_is_lost(self, source: str, port: int) -> bool:
        """Tell whether it does not."""
        return not self._arrives(source, port, _SILENCE_SECONDS)

    @contextmanager
    def client(self) -> Iterator[None]:
        """Be in the client's namespace for a while."""
        self._move("client")
        try:
            yield
        finally:
            self._move("server")

    def client_socket(
        self, source: str, kind: int, source_port: int = 0
    ) -> socket.socket:
        """Return a socket of the client's namespace that is bound to `source`."""
        with nullcontext() if source in LOOPBACK else self.client():
            sock = socket.socket(_family(source), kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, source_port))
        return sock

    def _is_refused(self, source: str, port: int, patience: float) -> bool:
        with self.client_socket(source, socket.SOCK_DGRAM) as sock:
            sock.connect((_server(source), port))
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            # Again and again: the kernel makes only so many of these answers.
            for _ in range(_DATAGRAMS):
                try:
                    sock.send(b"knock")
                    poll.poll(patience * 1000 / _DATAGRAMS)
                    sock.recv(1, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                except ConnectionRefusedError:
                    return True
            return False

    def _arrives(self, source: str, port: int, patience: float) -> bool:
        with (
            socket.socket(_family(source), socket.SOCK_DGRAM) as receiver,
            self.client_socket(source, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind((_server(source), port))
            sender.sendto(b"hello", (_server(source), port))
            poll = select.poll()
            poll.register(receiver, select.POLLIN)
            return bool(poll.poll(patience * 1000))

    def _dial(self, source: str, port: int, source_port: int = 0) -> socket.socket:
        sock = self.client_socket(source, socket.SOCK_STREAM, source_port)
        sock.setblocking(False)
        sock.connect_ex((_server(source), port))
        return sock

    def _accept(self, sock: socket.socket, port: int) -> socket.socket:
        """Return the server's end of `sock`, and close those that queue before it."""
        return self._accept_all([sock], port)[0]

    def _accept_all(
        self, sockets: Sequence[socket.socket], port: int
    ) -> list[socket.socket]:
        """Return the server's ends of `sockets`, and close others that queue there.

        They do not queue in the order in which they were dialled.
        """
        names = [sock.getsockname()[:2] for sock in sockets]
        found: dict[tuple[str, int], socket.socket] = {}
        for sock, name in zip(sockets, names, strict=True):
            listener = self._listeners[sock.family, port]
            while name not in found:
                poll = select.poll()
                poll.register(listener, select.POLLIN)
                assert poll.poll(PATIENCE * 1000), "nobody to accept"
                accepted, peer = listener.accept()
                if peer[:2] in names:
                    found[peer[:2]] = accepted
                else:
                    accepted.close()
        return [found[name] for name in names]

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._sockets.append(sock)
        return sock

    def _make(self) -> None:
        self._fds["home"] = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for role in ("server", "client"):
            name = self._prefix + role
            sh("ip", "netns", "add", name)
            self._made.append(name)
            self._fds[role] = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        server, client = self._made
        near = ["veth0", "address", _SERVER_MAC, "type", "veth"]
        far = ["peer", "name", "veth0", "address", _CLIENT_MAC, "netns", client]
        sh("ip", "-n", server, "link", "add", *near, *far)
        _configure(server, [SERVER], [CLIENT, STRANGER], _CLIENT_MAC)
        _configure(client, [CLIENT, STRANGER], [SERVER], _SERVER_MAC)
        self._move("server")

    def _move(self, role: str) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self._fds[role], _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {role}")


class Session:
    """Both ends of an established connection."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._near = near
        self._far = far
        for sock in (near, far):
            sock.setblocking(True)

    @property
    def port(self) -> int:
        """Return the client's port."""
        port: int = self._near.getsockname()[1]
        return port

    def say(self, data: bytes) -> None:
        """Have the server send `data`."""
        self._far.sendall(data)

    def lives(self, patience: float = PATIENCE) -> bool:
        """Tell whether bytes still get through, both ways."""
        for sender, receiver in ((self._near, self._far), (self._far, self._near)):
            receiver.settimeout(patience)
            try:
                sender.sendall(b"ping")
                if receiver.recv(4) != b"ping":
                    return False
            except (TimeoutError, ConnectionError):
                return False
        return True


def _answer(sock: socket.socket, patience: float) -> str:
    """Return what became of a connection that was begun."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if not poll.poll(max(0.0, patience) * 1000):
        return "silent"
    return "refused" if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else "open"


def _configure(
    name: str, own: list[dict[int, str]], others: list[dict[int, str]], mac: str
) -> None:
    """Bring up a namespace. It knows its neighbours: to ask would cost up to 1 s."""
    lines = ["link set lo up", "link set veth0 up"]
    for host in own:
        lines.append(f"addr add {host[4]}/24 dev veth0")
        lines.append(f"addr add {host[6]}/64 dev veth0 nodad")
    lines += [
        f"neigh add {host[version]} lladdr {mac} dev veth0"
        for host in others
        for version in VERSIONS
    ]
    sh("ip", "-n", name, "-batch", "-", text="\n".join(lines))


def _family(address: str) -> socket.AddressFamily:
    return FAMILIES[6 if ":" in address else 4]


def _server(source: str) -> str:
    """Return the address of the server that `source` talks to."""
    return source if source in LOOPBACK else SERVER[6 if ":" in source else 4]
