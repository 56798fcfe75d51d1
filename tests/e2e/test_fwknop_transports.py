"""fwknop's other ways than UDP to one port, between its real programs and ours."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from time import time

import pytest
from lab.fwknop import MISSING, WHY, Fwknop, Fwknopd, keys_options, stanza
from lab.inside import another_host, door, inside
from lab.knocks import connects
from lab.network import CLIENT4, SERVER4, STRANGER4, Host, wait_for
from lab.programs import Client, Spasshd, recording
from lab.site import Site

from spassh.protocol.fwknop.keys import Keys

from .conftest import Lab

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(MISSING, reason=WHY),
]

KEYS = Keys(b"encryption key", b"hmac key")
SPOOFED = "192.0.2.77"
TRANSPORTS = '["udp/any", "tcp/8080", "tcp/62203", "http/80", "icmp"]'


def allowed(number: int) -> str:
    """Return the address that the packet of this number lets in."""
    return str(IPv4Address(int(IPv4Address("198.18.7.1")) + number))


# The real client knocks at spasshd


def server(spasshd: Spasshd) -> None:
    """Have it take packets of fwknop with `KEYS` in every way."""
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(f"fwknop = true\nfwknop_transports = {TRANSPORTS}\n")
    spasshd.edit("lifetime = 15 ", "lifetime = 200 ")
    path = os.path.join(spasshd.directory, "users.d", "fay.toml")
    text = (
        'ports = ["tcp/22"]\nany_address = true\n[[key]]\nformat = "fwknop"\n'
        f'key = "{KEYS.encryption.decode()}"\nhmac_key = "{KEYS.hmac.decode()}"\n'
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)


def next_second() -> None:
    """Wait: what was made before the start is refused, and fwknop has whole seconds."""
    started = int(time())
    wait_for(lambda: int(time()) > started, "the next second")


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    server(spasshd)
    spasshd.start()
    next_second()
    # What an administrator has there anyway. spasshd itself listens to nothing.
    with door(lab.server, 80), door(lab.server, 8080):
        yield Site(lab.server, SERVER4, spasshd)
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


@pytest.fixture
def fwknop(lab: Lab) -> Fwknop:
    return Fwknop(lab.client_host, lab.path("fwknop"))


OPTIONS = ["-A", "tcp/22", *keys_options(KEYS, base64=False)]
WAYS = {
    "another port of udp": ["-P", "udp", "-p", "4500"],
    "a port by chance": ["-P", "udp", "-r"],
    "tcp": ["-P", "tcp", "-p", "8080"],
    "http": ["-P", "http", "-p", "80"],
    "udpraw": ["-P", "udpraw"],
    "udpraw, spoofed": ["-P", "udpraw", "-Q", SPOOFED],
    "tcpraw, spoofed": ["-P", "tcpraw", "-p", "62203", "-Q", SPOOFED],
    "icmp, spoofed": ["-P", "icmp", "-Q", SPOOFED],
    "icmp, an echo request": ["-P", "icmp", "--icmp-type", "8"],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_real_client_is_let_in_by_each_of_its_ways(
    site: Site, fwknop: Fwknop, way: str
) -> None:
    where = allowed(list(WAYS).index(way))
    fwknop("-D", SERVER4, "-a", where, *OPTIONS, *WAYS[way])
    line = f"granted user=fay address={where} port=tcp/22"
    site.spasshd.running.wait_log(line)


def test_it_can_leave_the_address_to_the_source_of_a_request(
    site: Site, fwknop: Fwknop
) -> None:
    site.spasshd.flush()
    fwknop("-D", SERVER4, "-s", *OPTIONS, *WAYS["http"])
    (active,) = wait_for(site.grants, "the request to be granted")
    assert active.grant.address == IPv4Address(CLIENT4).packed


REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /" + b"A" * 200 + b" HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /8" + b"A" * 160 + b" HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    bytes(10_000),
]
"""What a web server has all day."""
LOOKALIKES = [b"GET /8" + b"A" * 160 + b" HTTP/1.0\r\n\r\n", b"8" + b"A" * 160]
"""What the kernel cannot tell from a packet: by HTTP, and by TCP."""


def speak(host: Host, port: int, data: bytes) -> None:
    """Send `data` over a connection, whatever becomes of it."""

    def work() -> None:
        with socket.create_connection((SERVER4, port), 20) as sock:
            sock.sendall(data)

    # The door may have shut before all of it was sent.
    with suppress(OSError):
        inside(host, work)


def test_other_traffic_opens_nothing_and_nothing_is_said_of_it(
    lab: Lab, site: Site, fwknop: Fwknop
) -> None:
    site.spasshd.flush()
    log, before = site.spasshd.running.log, site.counters()
    for port in (80, 8080):
        for data in REQUESTS:
            speak(lab.stranger, port, data)
    for port, data in zip((80, 8080), LOOKALIKES, strict=True):
        speak(lab.stranger, port, data)
    junk = Fwknop(lab.stranger, lab.path("fwknop"))
    stranger = keys_options(Keys(b"another key", b"another"), base64=False)
    for way in ("tcp", "http", "icmp, spoofed"):
        junk("-D", SERVER4, "-a", CLIENT4, "-A", "tcp/22", *stranger, *WAYS[way])

    def heard() -> tuple[int, int]:
        now = site.counters()
        frames, others = (
            now.get(name, 0) - before.get(name, 0) for name in ("frames", "not-ours")
        )
        return frames, others

    # TCP may have sent some of them twice.
    least = len(LOOKALIKES) + 3
    wait_for(lambda: heard()[0] >= least, "what looks like packets to be heard")
    frames, others = heard()
    assert frames == others
    assert site.spasshd.running.log == log
    assert site.grants() == []


def test_a_packet_that_is_sent_again_in_another_way_opens_nothing(
    lab: Lab, site: Site, fwknop: Fwknop
) -> None:
    site.spasshd.flush()
    packet = fwknop("-D", SERVER4, "-s", *OPTIONS, *WAYS["http"])
    wait_for(site.grants, "the request to be granted")
    site.spasshd.flush()
    replayed = site.counters().get("replayed", 0)
    speak(lab.stranger, 8080, packet)
    wait_for(lambda: site.counters().get("replayed", 0) > replayed, "the replay")
    assert site.grants() == []


def test_check_says_what_is_captured(site: Site) -> None:
    out = site.spasshd.verb("check").stdout
    assert "\ncaptured: udp/62201, udp/any, tcp/8080, tcp/62203, http/80, icmp\n" in out


def test_a_recorded_request_is_explained_and_run(
    lab: Lab, site: Site, fwknop: Fwknop
) -> None:
    other = Spasshd(lab.stranger, lab.path("spasshd"))
    server(other)
    # It remembers from then on.
    other.start()
    other.running.stop()
    next_second()
    path = lab.path("http.pcap")
    with recording(lab.server, path, "tcp", "dst", "port", "80"):
        packet = fwknop("-D", SERVER4, "-a", allowed(99), *OPTIONS, *WAYS["http"])

        def is_recorded() -> bool:
            with open(path, "rb") as file:
                return b"GET /" + packet[:1].translate(TO_PATH) in file.read()

        wait_for(is_recorded, "a recorded request")
    out = other.verb("explain", path, check=False).stdout
    assert f"bytes from {CLIENT4}, source port " in out
    assert ", by http/80\n" in out
    assert "ok  handshake  made by fay, with key 1 of 1\n" in out
    assert f"ok  grant      {allowed(99)} may reach tcp/22" in out
    done = other.verb("run", "--pcap", path)
    assert f"granted user=fay address={allowed(99)} port=tcp/22" in done.stderr


TO_PATH = bytes.maketrans(b"+/", b"-_")


# spassh knocks at the real fwknopd, and at spasshd


def profile(client: Client, *lines: str) -> None:
    """Write the one profile of `client`, for who has `KEYS`."""
    directory = os.path.join(client.directory, "spassh", "profiles")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    text = [
        'hosts = ["fwknopd", "v4.server.test"]',
        'user = "alice"',
        'format = "fwknop"',
        f'key = "{KEYS.encryption.decode()}"',
        f'hmac_key = "{KEYS.hmac.decode()}"',
    ]
    path = os.path.join(directory, "fwknopd.toml")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join([*text, *lines, ""]))


class There:
    """A host with an fwknopd."""

    def __init__(self, lab: Lab) -> None:
        host, self.address = another_host(lab.network, 1)
        access = (
            "SOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 300\n"
            f"{stanza(KEYS, base64=False)}\n"
        )
        # It takes connections itself, and throws away what comes by them.
        conf = "ENABLE_SPA_OVER_HTTP Y;\nENABLE_TCP_SERVER Y;\nTCPSERV_PORT 62201;\n"
        self.fwknopd = Fwknopd(
            host, lab.path("fwknopd"), access, "tcp or udp or icmp", conf
        )
        self.host = host

    def wait(self, address: str) -> None:
        """Wait until that address was let in."""
        line = f"Added access rule to FWKNOP_INPUT for {address} "
        self.fwknopd.daemon.wait_log(line)


@pytest.fixture(scope="module")
def there(lab: Lab) -> Iterator[There]:
    made = There(lab)
    with door(made.host, 80):
        yield made
    made.fwknopd.daemon.stop()


SPOOF = f'spoof_source = "{SPOOFED}"'
OURS = {
    "a port by chance": ["rand_port = true"],
    "a source port": ["source_port = 5353"],
    "tcp": ['transport = "tcp"'],
    "http": ['transport = "http"', "port = 80"],
    "udp-raw": ['transport = "udp-raw"', SPOOF],
    "tcp-raw": ['transport = "tcp-raw"', "source_port = 443", SPOOF],
    "icmp": ['transport = "icmp"', SPOOF],
}


@pytest.mark.parametrize("way", OURS)
def test_the_real_fwknopd_opens_for_each_of_our_ways(
    lab: Lab, there: There, way: str
) -> None:
    client = lab.client()
    where = allowed(200 + list(OURS).index(way))
    name, allow = f'name = "{there.address}"', f'allow_ip = "{where}"'
    profile(client, name, allow, *OURS[way])
    path = lab.path("sent.pcap")
    with recording(there.host, path, "src", "host", SPOOFED):
        said = client.run("spassh", "knock", "fwknopd").stderr
        assert f"knocked at {there.address} from {CLIENT4} for tcp/22" in said
        there.wait(where)
        if SPOOF in OURS[way]:
            wait_for(lambda: os.path.getsize(path) > 160, "a packet that is spoofed")


def test_a_login_knocks_by_http(lab: Lab, site: Site) -> None:
    site.spasshd.flush()
    assert not connects(lab.client_host, SERVER4, 22, 0)
    client = lab.client()
    profile(client, 'transport = "http"', "port = 80")
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    (active,) = site.grants()
    assert active.grant.address == IPv4Address(CLIENT4).packed


def test_a_way_that_nobody_takes_is_told(lab: Lab, site: Site) -> None:
    client = lab.client()
    profile(client, 'transport = "tcp"', "port = 9")
    done = client.run("spassh", "proxy", "v4.server.test", "22", check=False)
    assert done.returncode == 5
    what = "tcp/9 takes no packet: connection refused"
    assert f"cannot reach v4.server.test: {what}" in done.stderr


# The address of the outside


class Tell(BaseHTTPRequestHandler):
    """Tells who asks where the question came from."""

    def do_GET(self) -> None:
        answer = f"{self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def telling(host: Host) -> Iterator[str]:
    """Have such a web server on a host; its URL is what this is about."""
    web = inside(host, lambda: HTTPServer((STRANGER4, 8000), Tell))
    thread = threading.Thread(target=web.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{STRANGER4}:8000/ip"
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def test_the_address_of_the_outside_is_let_in(
    lab: Lab, there: There, site: Site
) -> None:
    client = lab.client()
    with telling(lab.stranger) as url:
        # From elsewhere, as it seems, and so nobody else can say it.
        way = ['transport = "icmp"', f'spoof_source = "{SPOOFED}"']
        profile(client, *way, f'resolve_url = "{url}"')
        site.spasshd.flush()
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
        (active,) = site.grants()
        assert active.grant.address == IPv4Address(CLIENT4).packed
        profile(client, f'name = "{there.address}"')
        client.run("spassh", "knock", "--resolve-url", url, "fwknopd")
        there.wait(CLIENT4)


def test_who_does_not_tell_keeps_the_client_from_knocking(lab: Lab, site: Site) -> None:
    client = lab.client()
    profile(client, f'resolve_url = "http://{STRANGER4}:9/"')
    done = client.run("spassh", "proxy", "v4.server.test", "22", check=False)
    assert done.returncode == 4
    what = f"cannot learn the address from {STRANGER4}: connection refused"
    assert what in done.stderr
