"""scripts/demo: one server, one client, one stranger, and what each of them can do."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests"))

from lab.inside import port_answers
from lab.network import CLIENT4, SERVER4, STRANGER4, LabError, Network
from lab.packets import datagrams, send
from lab.programs import Client, Spasshd, Sshd, recording

_HOST = "v4.server.test"
_STARTED = time.monotonic()
_BOLD, _DIM, _RED, _GREEN, _PLAIN = (
    ("\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m")
    if sys.stdout.isatty()
    else ("",) * 5
)


def tell(text: str) -> None:
    elapsed = time.monotonic() - _STARTED
    print(f"{_DIM}{elapsed:6.2f} s{_PLAIN}  {text}", flush=True)


def step(what: str, expected: str, *, met: bool, detail: str = "") -> None:
    """Print one step of the story, and end it if it went another way."""
    sign = f"{_GREEN}ok{_PLAIN}" if met else f"{_RED}FAILED{_PLAIN}"
    tell(f"{sign}  {what}: {_BOLD}{expected}{_PLAIN}{detail}")
    if not met:
        raise LabError(f"{what}: this should have been: {expected}")


def timed(action: Callable[[], subprocess.CompletedProcess[str]]) -> tuple[str, str]:
    """Run `action`; return what it printed and how long it took."""
    before = time.monotonic()
    result = action()
    took = f" ({(time.monotonic() - before) * 1000:.0f} ms)"
    return result.stdout.strip() or result.stderr.strip(), took


def story(network: Network, directory: str) -> None:
    tell(f"server {SERVER4}, client {CLIENT4}, stranger {STRANGER4}: three namespaces")
    sshd = Sshd(network.server, os.path.join(directory, "sshd"))
    client = Client(network.client, os.path.join(directory, "home"), sshd.user_key)
    step(
        "sshd runs, the firewall is open, a stranger connects to port 22",
        "it answers",
        met=port_answers(network.stranger, SERVER4, 22),
    )

    spasshd = Spasshd(
        network.server, os.path.join(directory, "spassh"), "--protect", "tcp/22"
    )
    spasshd.start()
    tell("spasshd init --protect tcp/22; spasshd run")
    client.accept(spasshd.invite("alice"), "--host", _HOST)
    tell(f"spasshd user add alice | spassh import --host {_HOST}")

    step(
        "the stranger connects to port 22",
        "silence",
        met=not port_answers(network.stranger, SERVER4, 22),
    )
    step(
        "the client connects without knocking",
        "silence",
        met=not port_answers(network.client, SERVER4, 22),
    )

    pcap = os.path.join(directory, "wire.pcap")
    with recording(network.server, pcap, "udp"):
        said, took = timed(lambda: client.ssh(_HOST, "echo", "hello"))
    step(
        f"the client says: ssh {_HOST} echo hello",
        said,
        met=said == "hello",
        detail=took,
    )

    grants = spasshd.status()["grants"]
    step(
        "the hole in the firewall right now",
        ", ".join(
            f"{one['address']} from port {one['source_port']} to {one['port']}"
            for one in grants
        ),
        met={one["address"] for one in grants} == {CLIENT4},
        detail=f" for {grants[0]['seconds_left']} more seconds" if grants else "",
    )
    step(
        "the stranger tries while the hole is open",
        "silence",
        met=not port_answers(network.stranger, SERVER4, 22),
    )

    recorded = datagrams(pcap)
    tell(f"the stranger has recorded {len(recorded)} packet(s) on the wire")
    for datagram in recorded:
        send(network.stranger, SERVER4, datagram.payload)
    spasshd.running.wait_log("replayed user=alice")
    grants = spasshd.status()["grants"]
    step(
        "the stranger sends the recorded packet again",
        "refused",
        met=bool(recorded) and {one["address"] for one in grants} == {CLIENT4},
    )

    session = client.popen(
        *("ssh", *client.ssh_options, _HOST, "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    talk(session, "first words")
    tell("a session is open; waiting for the hole to close by itself")
    spasshd.wait_closed()
    step(
        "the hole has closed; the client connects without knocking",
        "silence",
        met=not port_answers(network.client, SERVER4, 22),
    )
    answer = talk(session, "still here")
    step("the session from before says", answer, met=answer == "still here")
    for datagram in recorded:
        send(network.client, SERVER4, datagram.payload)
    step(
        "the recorded packet once more, from the client's own address",
        "refused",
        met=not port_answers(network.client, SERVER4, 22),
    )
    session.kill()
    session.communicate()


def talk(session: subprocess.Popen[bytes], words: str) -> str:
    """Send a line through the session and return what comes back."""
    if session.stdin is None or session.stdout is None:
        raise LabError("the session has no pipes")
    session.stdin.write(words.encode() + b"\n")
    session.stdin.flush()
    return session.stdout.readline().decode().strip()


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stop(number: int, _: object) -> None:
    """Make an exception of a signal, so that all is taken down on the way out."""
    # Once is enough: another one must not interrupt the taking down.
    for one in _SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> int:
    for number in _SIGNALS:
        signal.signal(number, stop)
    bin_dir = os.path.dirname(sys.executable)
    try:
        with tempfile.TemporaryDirectory(prefix="spassh-demo-") as directory:
            network = Network(bin_dir)
            try:
                story(network, directory)
            finally:
                network.close()
    except LabError as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    except SystemExit:
        print("demo: interrupted", file=sys.stderr)
        raise
    tell("all as it should be; nothing is left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
