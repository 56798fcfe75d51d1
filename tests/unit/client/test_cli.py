"""The program as ssh starts it: a process of its own, with pipes or a socket."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from unit.client.parties import PATIENCE, Gate, Home, Shut, invite, open_knock
from unit.client.windows import WINDOWS

import spassh
from spassh.cli import main, proxy_arguments
from spassh.errors import UsageError
from spassh.patterns import Wanted

ROOT = Path(__file__).parents[3]
MAIN = "from spassh.cli import main; sys.exit(main())"

Program = subprocess.Popen[bytes]


class Spassh:
    """Starts the program, and ends what a failing test leaves."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._running: list[Program] = []

    def start(
        self, *words: str, stdin: int = -1, stdout: int = -1, begin: str = ""
    ) -> Program:
        how = ("-c", f"{begin}\n{MAIN}") if begin else ("-m", "spassh")
        environment = os.environ | {
            "SPASSH_CONFIG_HOME": self._home.path,
            "PYTHONPATH": str(ROOT),
        }
        program = subprocess.Popen(
            [sys.executable, *how, *words],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self._running.append(program)
        return program

    def run(self, *words: str, text: str = "") -> tuple[int, str, str]:
        """Run it to its end: exit code, standard output, standard error."""
        program = self.start(*words)
        out, err = program.communicate(text.encode(), PATIENCE)
        return program.returncode, out.decode(), err.decode()

    def end(self) -> None:
        for program in self._running:
            program.kill()
            program.communicate()


@pytest.fixture
def program(home: Home) -> Iterator[Spassh]:
    program = Spassh(home)
    yield program
    program.end()


def wait_for_knocks(gate: Gate, count: int) -> None:
    while gate.collect() < count:
        assert select.select([gate.udp], [], [], PATIENCE)[0]


def host_of(gate: Gate) -> str:
    return str(gate.address)


def make_profile(home: Home, gate: Gate, **fields: str) -> None:
    home.profile(hosts=f'["{host_of(gate)}"]', port=str(gate.knock_port), **fields)


def converse(program: Program, theirs: socket.socket) -> tuple[int, str]:
    """Talk through a relay in both directions and end it as ssh would."""
    assert program.stdin is not None
    assert program.stdout is not None
    theirs.settimeout(PATIENCE)
    theirs.sendall(b"SSH-2.0-server\n")
    assert program.stdout.read(15) == b"SSH-2.0-server\n"
    program.stdin.write(b"SSH-2.0-client\n")
    program.stdin.close()
    program.stdin = None
    received = b""
    while chunk := theirs.recv(99):
        received += chunk
    assert received == b"SSH-2.0-client\n"
    theirs.close()
    out, err = program.communicate(timeout=PATIENCE)
    assert out == b""
    return program.returncode, err.decode()


@pytest.mark.parametrize("begin", ["", WINDOWS], ids=["here", "windows"])
@pytest.mark.parametrize("options", [(), ("--fdpass",)], ids=str)
def test_a_relay_knocks_connects_and_copies_and_stands_in_where_no_socket_is_taken(
    program: Spassh, home: Home, gate: Gate, options: Sequence[str], begin: str
) -> None:
    make_profile(home, gate)
    words = ("proxy", *options, host_of(gate), str(gate.port))
    running = program.start(*words, begin=begin)
    wait_for_knocks(gate, 1)
    gate.open()
    with gate.accept() as theirs:
        assert converse(running, theirs) == (0, "")
    assert gate.nobody_else()
    for datagram in gate.knocks:
        assert open_knock(datagram).request.port == gate.port


def test_the_socket_is_passed_to_ssh_and_the_program_is_gone(
    program: Spassh, home: Home, gate: Gate
) -> None:
    make_profile(home, gate)
    ssh, ours = socket.socketpair()
    with ssh:
        with ours:
            words = ("proxy", "--fdpass", host_of(gate), str(gate.port))
            running = program.start(*words, stdin=ours.fileno(), stdout=ours.fileno())
        wait_for_knocks(gate, 2)
        gate.open()
        with gate.accept() as theirs:
            ssh.settimeout(PATIENCE)
            data, fds, _, _ = socket.recv_fds(ssh, 99, 9)
            assert data == b"\0"
            assert running.wait(PATIENCE) == 0
            with socket.socket(fileno=fds[0]) as passed:
                assert passed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert passed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                passed.sendall(b"hello")
                assert theirs.recv(99) == b"hello"
        assert ssh.recv(99) == b""
    assert gate.nobody_else()


@pytest.mark.parametrize("text", ["", "not toml"])
def test_without_a_profile_it_connects_plainly_and_says_nothing(
    program: Spassh, home: Home, gate: Gate, text: str
) -> None:
    home.write("other.txt", text)
    home.profile("other.toml", hosts='["other.example"]')
    gate.open()
    running = program.start("proxy", host_of(gate), str(gate.port))
    with gate.accept() as theirs:
        assert converse(running, theirs) == (0, "")
    assert gate.collect() == 0
    assert gate.nobody_else()


def test_the_story_goes_to_standard_error_alone(
    program: Spassh, home: Home, gate: Gate
) -> None:
    make_profile(home, gate)
    gate.open()
    running = program.start("proxy", "-v", host_of(gate), str(gate.port))
    with gate.accept() as theirs:
        code, story = converse(running, theirs)
    lines = [line.split(" ms: ", 1) for line in story.splitlines()]
    assert code == 0
    assert all(line[0].startswith("spassh: ") for line in lines)
    assert [line[1].split()[0] for line in lines if "dialled" not in line[1]] == [
        "profile",
        host_of(gate),
        "knocked",
        "connected",
    ]


def test_without_a_profile_the_story_says_so_before_it_waits(
    program: Spassh, shut: Shut
) -> None:
    running = program.start("proxy", "-v", "127.0.0.1", str(shut.port))
    assert running.stderr is not None
    line = running.stderr.readline().decode()
    words = "ms: no profile names 127.0.0.1: connecting without a knock\n"
    assert line.endswith(words)
    assert running.poll() is None


@pytest.mark.parametrize("host", ["-h", "--help"])
def test_a_host_that_looks_like_an_option_is_none(program: Spassh, host: str) -> None:
    code, out, err = program.run("proxy", "--fdpass", "--", host, "22")
    assert (code, out) == (2, "")
    assert err.startswith(f"spassh: error: not a host: {host}\n")


def test_the_example_tells_options_from_the_host() -> None:
    text = (ROOT / "contrib" / "ssh_config.example").read_text()
    commands = [line for line in text.splitlines() if " spassh proxy " in line]
    assert len(commands) == 4
    # What somebody has typed is quoted as well: ssh gives the command to a shell.
    endings = (" -- %h %p", " -- %h %p '%n' '%r'")
    assert all(line.endswith(endings) for line in commands)


def test_everything_is_ready_for_ssh_without_standard_descriptors(
    program: Spassh, home: Home, gate: Gate
) -> None:
    """A socket of ours must never be taken for standard output."""
    make_profile(home, gate)
    gate.open()
    code = "import os, sys; os.closerange(0, 3); os.execv(sys.argv[1], sys.argv[1:])"
    words = ["-m", "spassh", "proxy", host_of(gate), str(gate.port)]
    with subprocess.Popen(
        [sys.executable, "-c", code, sys.executable, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as running:
        with gate.accept() as theirs:
            theirs.sendall(b"nobody hears")
            theirs.settimeout(PATIENCE)
            assert theirs.recv(99) == b""
        assert running.wait(PATIENCE) == 0


@pytest.mark.parametrize("fdpass", [(), ("--fdpass",)])
def test_an_error_is_a_sentence_a_hint_and_an_exit_code(
    program: Spassh, home: Home, fdpass: Sequence[str]
) -> None:
    path = home.profile()
    path.chmod(0o644)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        running = program.start(
            "proxy", *fdpass, "server.example", "22", stdout=ours.fileno()
        )
        _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 3
    assert err.decode() == (
        f"spassh: error: {path}: other users can read or change it\n"
        f"spassh: hint: chmod 600 {path}\n"
    )


def test_hostile_arguments_are_shown_harmlessly(program: Spassh) -> None:
    code, out, err = program.run("proxy", "host", "\x1b[2J")
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == "spassh: error: not a port: \\x1b[2J"


def test_an_interrupt_ends_it_quietly(
    program: Spassh, home: Home, shut: Shut, gate: Gate
) -> None:
    make_profile(home, gate)
    running = program.start("proxy", host_of(gate), str(shut.port))
    wait_for_knocks(gate, 1)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGHUP, -signal.SIGHUP),
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGINT, 130),
    ],
)
def test_a_signal_ends_a_relay_quietly(
    program: Spassh, gate: Gate, number: signal.Signals, code: int
) -> None:
    gate.open()
    running = program.start("proxy", host_of(gate), str(gate.port))
    with gate.accept() as theirs:
        theirs.sendall(b"x")
        assert running.stdout is not None
        assert running.stdout.read(1) == b"x"
        running.send_signal(number)
        out, err = running.communicate(timeout=PATIENCE)
        theirs.settimeout(PATIENCE)
        assert theirs.recv(1) == b""
    assert (running.returncode, out, err) == (code, b"", b"")


def test_a_relay_holds_no_more_than_it_says(program: Spassh, gate: Gate) -> None:
    """Where splice(2) has no part in it: a socket as standard input and output."""
    ours, theirs = socket.socketpair()
    gate.open()
    words = ("proxy", host_of(gate), str(gate.port))
    with ours, theirs:
        running = program.start(*words, stdin=theirs.fileno(), stdout=theirs.fileno())
        theirs.close()
        with gate.accept() as server:
            server.sendall(b"x")
            assert ours.recv(1) == b"x"
            before = most_memory(running)
            block = bytes(1 << 20)
            for _ in range(32):
                server.sendall(block)
                assert len(ours.recv(len(block), socket.MSG_WAITALL)) == len(block)
            # An eighth of what has passed, and many times what it holds.
            assert most_memory(running) - before <= 4096
            ours.close()
            running.wait(PATIENCE)


def most_memory(program: Program) -> int:
    """Return the most KiB of memory that a program has had."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_a_relay_whose_reader_has_gone_ends_quietly(
    program: Spassh, gate: Gate
) -> None:
    gate.open()
    running = program.start("proxy", host_of(gate), str(gate.port))
    with gate.accept() as theirs:
        assert running.stdout is not None
        running.stdout.close()
        running.stdout = None
        theirs.settimeout(PATIENCE)
        assert theirs.recv(1) == b""
        _, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, err) == (0, b"")


ALONE = "true"
NEIGHBOUR_IS_DOWN = """
ip link set lo up
ip link add here type veth peer name there
ip address add 192.0.2.2/24 dev here
ip link set there up
ip link set here up
echo 10 > /proc/sys/net/ipv4/neigh/here/retrans_time_ms
"""


# Root needs no user namespace for it, which some hosts do not allow.
NEW_NETWORK = "-n" if os.geteuid() == 0 else "-rn"


@pytest.mark.netns
@pytest.mark.parametrize(
    ("prepare", "reason"),
    [(ALONE, "network is unreachable"), (NEIGHBOUR_IS_DOWN, "no route to host")],
)
@pytest.mark.parametrize("hosts", ["192.0.2.1", "other.example"])
def test_a_host_that_cannot_be_reached_is_told(
    program: Spassh, home: Home, hosts: str, prepare: str, reason: str
) -> None:
    home.profile(hosts=f'["{hosts}"]')
    words = [sys.executable, "-m", "spassh", "proxy", "192.0.2.1", "22"]
    done = subprocess.run(
        ["unshare", NEW_NETWORK, "sh", "-ec", prepare + '\nexec "$@"', "sh", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == (
        f"spassh: error: cannot reach 192.0.2.1: {reason}\n"
        "spassh: hint: see that the network is up, and that no firewall of this"
        " computer forbids it\n"
    )


def test_import_and_proxy_agree(program: Spassh, gate: Gate) -> None:
    text = invite(address=host_of(gate), port=gate.knock_port)
    code, out, err = program.run("import", "--host", "Alias", text=text)
    assert (code, err) == (0, "")
    assert out.startswith("wrote ")
    running = program.start("proxy", host_of(gate), str(gate.port))
    wait_for_knocks(gate, 1)
    gate.open()
    with gate.accept() as theirs:
        assert converse(running, theirs) == (0, "")


def test_keygen_prints_one_line(program: Spassh) -> None:
    code, out, err = program.run("keygen")
    assert (code, err) == (0, "")
    assert out.startswith("spassh-public-")
    assert out.count("\n") == 1
    code, out, err = program.run("keygen")
    assert (code, out) == (3, "")
    assert "there is a key already" in err


def test_the_version_is_printed(program: Spassh) -> None:
    assert program.run("--version") == (0, f"spassh {spassh.__version__}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["proxy", "-h"], ["import", "--help"]])
def test_help_goes_to_standard_output(program: Spassh, words: list[str]) -> None:
    code, out, err = program.run(*words)
    assert (code, err) == (0, "")
    assert out.startswith("usage: spassh")
    assert "%%" not in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["h", "22"], (Wanted("h"), 22, False, False)),
        (["--fdpass", "h", "22"], (Wanted("h"), 22, True, False)),
        (["h", "--fdpass", "22", "-v"], (Wanted("h"), 22, True, True)),
        (["--verbose", "h", "65535"], (Wanted("h"), 65535, False, True)),
        (["-v", "--", "h", "1"], (Wanted("h"), 1, False, True)),
        (["::1", "00022"], (Wanted("::1"), 22, False, False)),
        (["h", "22", "N"], (Wanted("h", "N"), 22, False, False)),
        (["--", "h", "22", "-n", "-r"], (Wanted("h", "-n", "-r"), 22, False, False)),
        (["h", "22", "", ""], (Wanted("h"), 22, False, False)),
    ],
)
def test_the_command_line_of_proxy(
    words: list[str], expected: tuple[Wanted, int, bool, bool]
) -> None:
    assert proxy_arguments(words) == expected


USAGE = "usage: spassh proxy [--fdpass] [-v] HOST PORT [NAME [LOGIN]]"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ([], "proxy takes a host and a port", USAGE),
        (["h"], "proxy takes a host and a port", USAGE),
        (["", "22"], "proxy takes a host and a port", USAGE),
        (["h", "22", "x", "y", "z"], "proxy takes a host and a port", USAGE),
        (["--fd", "h", "22"], "unknown option --fd", USAGE),
        (["-", "h", "22"], "unknown option -", USAGE),
        (["--", "-v", "22"], "not a host: -v", "no host's name begins with '-'"),
        (["--", "--", "22"], "not a host: --", "no host's name begins with '-'"),
        (["h", "0"], "not a port: 0", "a port is a number from 1 to 65535"),
        (["h", "65536"], "not a port: 65536", "a port is a number from 1 to 65535"),
        (["h", "000022"], "not a port: 000022", "a port is a number from 1 to 65535"),
        (["h", "000065536"], "not a port: 000065536", "a port is a number from 1 to"),
        (["h", "ssh"], "not a port: ssh", "a port is a number from 1 to 65535"),
        (["h", "²²"], "not a port: ²²", "a port is a number from 1 to 65535"),
        (["h", "22 "], "not a port: 22 ", "a port is a number from 1 to 65535"),
    ],
)
def test_a_wrong_command_line_of_proxy_is_told(
    words: list[str], message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        proxy_arguments(words)
    assert str(caught.value) == message
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: VERB"),
        (["imprt"], "argument VERB: invalid choice: 'imprt'"),
        (["import", "--hos", "x"], "unrecognized arguments: --hos"),
        (["keygen", "more"], "unrecognized arguments: more"),
    ],
)
def test_a_wrong_command_line_is_told_with_where_to_look(
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["spassh", *words])
    assert main() == 2
    out, err = capfd.readouterr()
    first, second = err.splitlines()
    assert out == ""
    assert first.startswith(f"spassh: error: {message}")
    assert second.startswith("spassh: hint: 'spassh")
    assert second.endswith("--help' shows what there is")


@pytest.mark.parametrize("verb", [["list"], ["show", "server.example"]])
def test_a_reader_who_has_seen_enough_is_no_traceback(
    tmp_path: Path, verb: list[str]
) -> None:
    home = Home(tmp_path)
    home.profile()
    near, far = os.pipe()
    os.close(near)
    done = subprocess.run(
        [sys.executable, "-m", "spassh", *verb],
        stdout=far,
        stderr=subprocess.PIPE,
        check=False,
        env=os.environ
        | {
            "SPASSH_CONFIG_HOME": home.path,
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    os.close(far)
    assert (done.returncode, done.stderr) == (1, b"")
