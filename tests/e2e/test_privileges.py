"""What either program could still do if somebody took it over."""

import ctypes
import errno
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.inside import inside
from lab.network import SERVER4, Host, Network
from lab.programs import Daemon, Spasshd
from lab.site import Site
from lab.syscalls import children
from unit.server.child import in_child
from unit.server.kernel import needs_landlock

from spassh_server import daemon
from spassh_server.cli import EXIT_STOPPED
from spassh_server.firewall import FirewallError, Grant
from spassh_server.firewall.libnftables import LibNftables
from spassh_server.ports import Port
from spassh_server.privsep import message
from spassh_server.privsep.landlock import confine
from spassh_server.privsep.message import Answer, GrantMessage, Revoke, RunMessage
from spassh_server.privsep.sandbox import become

from .conftest import BIN_DIRS

pytestmark = [pytest.mark.login, pytest.mark.netns]

_PTRACE_SEIZE = 0x4206
_CLONE_NEWNET = 0x4000_0000
HERE = socket.inet_aton("192.0.2.2")
SSH = Port(6, 22)


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(network: Network) -> Iterator[Site]:
    # Not tmp_path: the directories above it are closed to others, so it would be them
    # that keep the listener out.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # noqa: S103 - that is what is meant
        path = os.path.join(directory, "spasshd")
        spasshd = Spasshd(network.server, path, "--protect", "tcp/22")
        spasshd.start()
        yield Site(network.server, SERVER4, spasshd)
        spasshd.running.stop()
        spasshd.verb("stop", "--open")


def refused(work: Callable[[], object]) -> str:
    """Return the name of the error that `work` meets, or nothing."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def syscall(name: str, *arguments: int | bytes | None) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def as_the_listener(
    site: Site, work: Callable[[Site], object], *, confined: bool = False
) -> str:
    """Try `work` as what the listener has become, in its network namespace.

    Unless it is `confined`, as on a kernel without Landlock.
    """
    uid = int(site.config.user)

    def become_and_try() -> str:
        become(uid, uid, file_bytes=1000)
        if confined:
            assert confine(os.open(site.config.state_dir, os.O_RDONLY))
        return refused(lambda: work(site))

    return inside(site.host, lambda: in_child(become_and_try))


def granter_of(site: Site) -> int:
    (pid,) = children(site.spasshd.running.process.pid)
    return pid


def change_the_firewall(_: Site) -> None:
    try:
        LibNftables().run("flush ruleset")
    except FirewallError as error:
        raise PermissionError(errno.EPERM, str(error)) from error


def read(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(path)


Attempt = Callable[[Site], object]

POWERS: dict[str, Attempt] = {
    "be root": lambda _: os.setresuid(0, 0, 0),
    "be of the group root": lambda _: os.setresgid(0, 0, 0),
    "have groups": lambda _: os.setgroups([0]),
    "change the root directory": lambda _: os.chroot("/"),
    "have another network": lambda _: syscall("unshare", _CLONE_NEWNET),
    "mount": lambda _: syscall("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "name the host": lambda _: syscall("sethostname", b"x", 1),
    "set the clock": lambda _: time.clock_settime(time.CLOCK_REALTIME, 0),
    "capture": lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "send raw packets": lambda _: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "change the firewall": change_the_firewall,
    "start a process": lambda _: os.fork(),
    "trace the granter": lambda site: syscall(
        "ptrace", _PTRACE_SEIZE, granter_of(site), None, None
    ),
    "kill the granter": lambda site: os.kill(granter_of(site), signal.SIGKILL),
    "stop the granter": lambda site: os.kill(granter_of(site), signal.SIGSTOP),
}

FILES: dict[str, Attempt] = {
    "read passwords": lambda _: read("/etc/shadow"),
    "read the key": lambda site: read(site.config.key_file),
    "read the configuration": lambda site: read(site.config.path),
    "list users": lambda site: os.listdir(site.config.users_dir),
    "read the granter's memory": lambda site: read(f"/proc/{granter_of(site)}/mem"),
    "list its files": lambda site: os.listdir(f"/proc/{granter_of(site)}/fd"),
    "write the key": lambda site: write(site.config.key_file),
    "write the configuration": lambda site: write(site.config.path),
    "add a user": lambda site: write(f"{site.config.users_dir}/eve.toml"),
    "write in run_dir": lambda site: write(f"{site.config.run_dir}/new"),
    "take the lock": lambda site: write(f"{site.config.run_dir}/lock"),
    "remove the control socket": lambda site: os.unlink(
        f"{site.config.run_dir}/control.sock"
    ),
    "give orders as root does": lambda site: connect(
        f"{site.config.run_dir}/control.sock"
    ),
    "write in the system": lambda _: write("/etc/spassh-was-here"),
    "set what the kernel does": lambda _: write("/proc/sys/net/ipv4/ip_forward"),
}

OF_ALL: dict[str, Attempt] = {
    "read accounts": lambda _: read("/etc/passwd"),
    "read a program": lambda _: read(sys.executable),
    "read what processes there are": lambda _: read("/proc/self/status"),
    "list the root directory": lambda _: os.listdir("/"),
    "write to where all may": lambda _: write("/dev/null"),
}
"""What everybody may do, but not who is confined."""


class TestAListenerThatIsTakenOver:
    @pytest.mark.parametrize("name", POWERS)
    def test_cannot(self, site: Site, name: str) -> None:
        attempt = POWERS[name]
        assert as_the_listener(site, attempt) in {"EPERM", "EACCES", "EAGAIN"}
        assert site.in_place()

    @pytest.mark.parametrize("name", FILES)
    def test_has_no_file_to(self, site: Site, name: str) -> None:
        assert as_the_listener(site, FILES[name]) in {"EPERM", "EACCES"}

    @needs_landlock
    @pytest.mark.parametrize("name", FILES)
    def test_has_no_file_to_when_it_is_confined(self, site: Site, name: str) -> None:
        found = as_the_listener(site, FILES[name], confined=True)
        assert found in {"EPERM", "EACCES"}

    @needs_landlock
    @pytest.mark.parametrize("name", OF_ALL)
    def test_has_not_even_what_everybody_has(self, site: Site, name: str) -> None:
        assert as_the_listener(site, OF_ALL[name]) == ""
        assert as_the_listener(site, OF_ALL[name], confined=True) == "EACCES"

    @pytest.mark.parametrize(
        "confined", [False, pytest.param(True, marks=needs_landlock)]
    )
    def test_may_write_in_its_own_directory(self, site: Site, confined: bool) -> None:
        """So what it may not do elsewhere is not for another reason."""
        path = os.path.join(site.config.state_dir, "highest")
        found = as_the_listener(site, lambda _: write(path), confined=confined)
        assert found == ""

    @pytest.mark.parametrize("name", [one for one in FILES if "read" in one])
    def test_has_less_than_root_who_can(self, site: Site, name: str) -> None:
        assert refused(lambda: FILES[name](site)) == ""


@needs_landlock
def test_the_listener_is_confined_before_it_waits_for_a_packet(
    network: Network, tmp_path: Path
) -> None:
    """What is above was tried by children of the test; this is the daemon itself."""
    spasshd = Spasshd(network.server, str(tmp_path / "spasshd"))
    record = f"{tmp_path}/strace"
    calls = "trace=landlock_restrict_self,poll,clone,clone3"
    strace = ["strace", "-ff", "-o", record, "-e", "signal=none", "-e", calls]
    argv = [*strace, "spasshd", "run", "--config", spasshd.config]
    daemon = spasshd.daemon = Daemon(network.server, argv, str(tmp_path / "log"))
    daemon.wait_log("spasshd: ready")
    listener = spasshd.status()["pid"]
    spasshd.verb("stop", "--open")
    assert daemon.process.wait(30) == EXIT_STOPPED

    lines = Path(f"{record}.{listener}").read_text(encoding="utf-8").splitlines()
    # A frame is taken out of memory: what it takes to know of it is poll(2).
    waits = [at for at, line in enumerate(lines) if "events=POLLIN" in line]
    confined = [at for at, line in enumerate(lines) if "restrict_self" in line]
    assert [lines[at].split(" = ")[1] for at in confined] == ["0"]
    assert confined < waits[:1]
    # It holds for one thread, and there is no other.
    assert not [line for line in lines if "CLONE_THREAD" in line]


class Taken:
    """A granter whose listener is a test that sends what it likes."""

    def __init__(self, host: Host, spasshd: Spasshd) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket = ours
        self.socket.settimeout(30)
        self._log = os.path.join(spasshd.directory, "granter.log")
        with theirs, open(self._log, "wb") as log:
            argv = [sys.executable, "-I", daemon._BOOT, spasshd.config]
            self.process = host.popen(
                [*argv, str(theirs.fileno())], stderr=log, pass_fds=[theirs.fileno()]
            )

    @property
    def log(self) -> str:
        with open(self._log, encoding="utf-8") as file:
            return file.read()

    def ask(self, data: bytes) -> int:
        """Send a message; return of which kind the answer is, 0 if it left."""
        self.socket.send(data)
        return self.answer().kind

    def answer(self) -> Answer:
        data = self.socket.recv(message.SIZE)
        return message.decode_answer(data) if data else Answer(0, 0)

    def begin(self) -> None:
        """Say the first word; hear that the firewall is prepared."""
        assert self.ask(message.encode_ping(1)) == message.READY
        assert self.answer().kind == message.PONG


def wish(address: bytes = HERE, port: Port = SSH, seconds: int = 15) -> bytes:
    grant = Grant(address, port)
    return message.encode_grant(GrantMessage(1, grant, seconds, "alice"))


def order(*argv: str) -> bytes:
    return message.encode_run(RunMessage(1, "alice", HERE, argv, "hello"))


COMMAND = """
[[command]]
name = "hello"
argv = ["/bin/echo", "hello"]
"""


class TestAGranterWithSuchAListener:
    @pytest.fixture
    def lonely(self, network: Network, tmp_path: Path) -> Iterator[Site]:
        directory = str(tmp_path / "spasshd")
        spasshd = Spasshd(network.server, directory, "--protect", "tcp/2222")
        spasshd.edit("max_grants = 4096", "max_grants = 3")
        with open(spasshd.config, "a", encoding="utf-8") as file:
            file.write(COMMAND)
        site = Site(network.server, SERVER4, spasshd)
        yield site
        spasshd.verb("stop", "--open")

    @pytest.fixture
    def granter(self, lonely: Site) -> Iterator[Taken]:
        granter = Taken(lonely.host, lonely.spasshd)
        granter.begin()
        with granter.socket:
            yield granter
        assert granter.process.wait(60) in {0, 1}

    @pytest.mark.parametrize(
        "data",
        [
            wish(port=Port(6, 22)),
            wish(port=Port(17, 2222)),
            wish(port=Port(6, 2222), seconds=301),
            wish(port=Port(6, 2222), seconds=0xFFFF_FFFF),
            order("/bin/echo", "other"),
            order("/bin/echo", "hello", ";", "id"),
            order("/bin/sh", "-c", "id"),
        ],
        ids=["port", "protocol", "lifetime", "for-ever", "argument", "more", "program"],
    )
    def test_refuses_what_is_over_its_limits(
        self, lonely: Site, granter: Taken, data: bytes
    ) -> None:
        assert granter.ask(data) == message.REFUSED
        assert lonely.grants() == []
        assert children(granter.process.pid) == []
        assert granter.ask(wish(port=Port(6, 2222))) == message.GRANTED
        assert len(lonely.grants()) == 1

    def test_grants_no_more_than_its_maximum(
        self, lonely: Site, granter: Taken
    ) -> None:
        asked = [wish(bytes([192, 0, 2, last]), Port(6, 2222)) for last in range(2, 12)]
        answers = [granter.ask(one) for one in asked]
        assert answers == [message.GRANTED] * 3 + [message.REFUSED] * 7
        assert len(lonely.grants()) == 3

    def test_bounds_how_many_commands_run(self, granter: Taken) -> None:
        answers = {granter.ask(order("/bin/echo", "hello")) for _ in range(200)}
        assert message.GRANTED in answers
        assert message.REFUSED in answers

    def test_lives_through_a_flood_of_revocations(
        self, lonely: Site, granter: Taken
    ) -> None:
        for _ in range(500):
            revoke = message.encode_revoke(Revoke(1, "alice", sessions=True))
            assert granter.ask(revoke) == message.REVOKED
        assert granter.ask(wish(port=Port(6, 2222))) == message.GRANTED
        assert len(lonely.grants()) == 1

    @pytest.mark.parametrize(
        "data",
        [
            b"x",
            b"x" * message.SIZE,
            b"x" * message.RUN_SIZE,
            b"x" * 5000,
            wish()[:-1],
            wish() + b"\0",
            wish()[:-1] + b"x",
            wish(address=bytes(4)),
            wish(address=b"\xff" * 4),
            wish(address=b"\xe0\0\0\1"),
            wish(port=Port(6, 0)),
            wish(port=Port(1, 22)),
            message.encode_answer(Answer(message.GRANTED, 1)),
        ],
        ids=[
            "short",
            "type",
            "type-of-a-long-one",
            "long",
            "cut",
            "longer",
            "padding",
            "everybody",
            "broadcast",
            "multicast",
            "no-port",
            "icmp",
            "answer",
        ],
    )
    def test_leaves_when_the_rules_are_broken(
        self, lonely: Site, granter: Taken, data: bytes
    ) -> None:
        assert granter.ask(data) == 0
        assert granter.process.wait(60) == 1
        assert "granter:" in granter.log
        assert lonely.grants() == []
        assert lonely.in_place()

    def test_does_not_touch_the_firewall_for_one_that_says_nothing(
        self, lonely: Site
    ) -> None:
        granter = Taken(lonely.host, lonely.spasshd)
        granter.socket.close()
        assert granter.process.wait(60) == 0
        assert not lonely.in_place()
