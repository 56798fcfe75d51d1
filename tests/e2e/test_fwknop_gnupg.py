"""Packets of fwknop by GnuPG, in both directions, with the real programs.

The bad messages come from somebody who has a user's HMAC key, and not the OpenPGP key.
What gpg was asked is counted by a script in its place.
"""

import os
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import psutil
import pytest
from lab.fwknop import MISSING, WHY, Fwknop, Fwknopd
from lab.gnupg_home import GnupgHome
from lab.inside import udp
from lab.knocks import connects
from lab.network import CLIENT4, SERVER4, STRANGER4, wait_for
from lab.openpgp import Home, Party, end_parties, party
from lab.programs import Client, recording
from lab.site import Site

from spassh.protocol.fwknop.digests import DIGESTS
from spassh.protocol.fwknop.message import Message
from spassh.protocol.fwknop.openpgp import Hmac, enclose
from spassh.protocol.fwknop.packet import rand
from spassh.protocol.fwknop.text import spell

from .conftest import Lab

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(MISSING, reason=WHY),
]

KINDS = ("elgamal", "rsa2048")
"""What the server's key is, and the client's."""
LAX, OLD = "rsa3072", "ed25519"
"""With what the users sign who need no HMAC: their signatures say who they are."""


@pytest.fixture(scope="module", autouse=True)
def _parties() -> Iterator[None]:
    yield
    end_parties()


def hmac(digest: str) -> Hmac:
    return Hmac(b"of-" + digest.encode(), digest)


# spassh knocks at fwknopd, before there is a spasshd


def access(who: Party) -> str:
    """Spell the stanza of access.conf for `who`."""
    return (
        "SOURCE ANY\nOPEN_PORTS tcp/22\nFW_ACCESS_TIMEOUT 300\n"
        f"GPG_HOME_DIR {who.server.path}\nGPG_DECRYPT_ID {who.recipient}\n"
        "GPG_ALLOW_NO_PW Y\nGPG_REQUIRE_SIG Y\n"
        f"GPG_FINGERPRINT_ID {who.signer}\n"
        "HMAC_KEY shared\nHMAC_DIGEST_TYPE SHA512\n"
    )


def profile(client: Client, who: Party, port: int, *lines: str) -> None:
    """Write the one profile of `client`, for an fwknopd with these keys."""
    directory = os.path.join(client.directory, "spassh", "profiles")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    text = [
        'hosts = ["v4.server.test"]',
        'user = "alice"',
        'format = "fwknop"',
        f"port = {port}",
        f'gnupg_key = "{who.signer}"',
        f'gnupg_server = "{who.recipient}"',
        *lines,
    ]
    path = os.path.join(directory, "fwknopd.toml")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join([*text, ""]))
    client.environment["GNUPGHOME"] = who.client.path


@pytest.mark.parametrize("kind", KINDS)
def test_a_login_opens_an_fwknopd(lab: Lab, kind: str) -> None:
    who = party(kind)
    # libfko asks gpg whether the key is trusted.
    words = ("--trust-model", "pgp", "--import-ownertrust")
    who.server.gpg(*words, data=f"{who.signer}:6:\n".encode())
    rule = ["INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"]
    lab.server.run(["iptables", "-A", *rule])
    fwknopd = Fwknopd(lab.server, lab.path("fwknopd"), access(who))
    try:
        assert not connects(lab.client_host, SERVER4, 22, 0)
        client = lab.client()
        mac = ('hmac_key = "shared"', 'hmac_digest_type = "sha512"')
        profile(client, who, Fwknopd.PORT, *mac, 'digest_type = "sha3_256"')
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
        opened = f"Added access rule to FWKNOP_INPUT for {CLIENT4} "
        assert opened in fwknopd.daemon.log
    finally:
        fwknopd.daemon.stop()
        lab.server.run(["iptables", "-D", *rule])


# The real client knocks at spasshd


class Place(Site):
    """A server, and its users: one for each HMAC, and with `lax` two without."""

    def __init__(self, lab: Lab, kind: str, *, lax: bool = False) -> None:
        self.who = party(kind)
        spasshd = lab.spasshd("--protect", "tcp/22")
        self.home = GnupgHome(spasshd, self.who, party(LAX), party(OLD))
        spasshd.edit("lifetime = 15 ", "lifetime = 200 ")
        with open(spasshd.config, "a", encoding="utf-8") as file:
            file.write(
                'fwknop = true\nfwknop_transports = ["tcp/62201", "icmp"]\n'
                '[[command]]\nname = "echo"\n'
                'argv = ["/bin/echo", "{word}"]\nword = "[a-z]{1,8}"\n'
            )
        super().__init__(lab.server, SERVER4, spasshd)
        for digest in DIGESTS:
            key = hmac(digest).key.decode()
            lines = f'hmac_key = "{key}"\nhmac_digest_type = "{digest}"\n'
            self._user(digest, self.who.signer, lines)
        if lax:
            line = "allow_unauthenticated = true\n"
            self._user("lax", party(LAX).signer, line)
            self._user("old", party(OLD).signer, f"{line}legacy = true\n")
        self.start()

    def _user(self, name: str, signer: str, lines: str) -> None:
        path = os.path.join(self.spasshd.directory, "users.d", f"{name}.toml")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(
                'ports = ["tcp/22"]\nany_address = true\ncommands = ["echo"]\n'
                f'[[key]]\nformat = "fwknop"\ngnupg = ["{signer}"]\n{lines}'
            )

    def start(self) -> None:
        self.spasshd.start()
        # What was made before the start is refused, and fwknop knows but the second.
        started = int(time.time())
        wait_for(lambda: int(time.time()) > started, "the next second")

    def granted(self) -> set[bytes]:
        return {one.grant.address for one in self.grants()}

    def close(self) -> None:
        assert self.spasshd.running.stop() == 0
        self.spasshd.verb("stop", "--open")
        self.home.close()


@pytest.fixture(scope="module")
def place(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Return the place of that kind; there is one at a time."""
    is_lax = request.param == "lax"
    made = Place(lab, KINDS[1] if is_lax else request.param, lax=is_lax)
    yield made
    made.close()


def at(*kinds: str) -> pytest.MarkDecorator:
    """Have a test look at places of these kinds."""
    return pytest.mark.parametrize("place", kinds, indirect=True, scope="module")


@pytest.fixture
def fwknop(lab: Lab) -> Fwknop:
    return Fwknop(lab.client_host, lab.path("fwknop"))


def options(who: Party, mac: Hmac) -> list[str]:
    words = ["-D", SERVER4, "--gpg-encryption", "--gpg-home-dir", who.client.path]
    words += ["--gpg-signer-key", who.signer, "--gpg-recipient-key", who.recipient]
    words.append("--gpg-no-signing-pw")
    if mac.key:
        words += ["--use-hmac", "--key-hmac", mac.key.decode()]
        words += ["--hmac-digest-type", mac.digest.upper()]
    return words


def text(**changes: object) -> bytes:
    """Spell a request that is right."""
    digits = rand(os.urandom(8))
    message = Message(digits, "alice", int(time.time()), 1, b"", ((6, 22),))
    return spell(message._replace(**changes))  # type: ignore[arg-type]


@at(*KINDS)
def test_every_hmac_of_the_real_client_is_let_in(place: Place, fwknop: Fwknop) -> None:
    place.spasshd.flush()
    expected = set()
    for number, digest in enumerate(DIGESTS):
        where = IPv4Address(int(IPv4Address("198.18.0.1")) + number)
        words = ["-A", "tcp/22", "-a", str(where), "--digest-type", digest.upper()]
        fwknop(*words, *options(place.who, hmac(digest)))
        expected.add(where.packed)
    wait_for(lambda: place.granted() == expected, "all to be let in")


@at(*KINDS)
def test_a_login_after_a_knock_of_the_real_client(
    lab: Lab, place: Place, fwknop: Fwknop
) -> None:
    place.spasshd.flush()
    assert not connects(lab.client_host, SERVER4, 22, 0)
    client = lab.client()
    fwknop("-A", "tcp/22", "-s", "-f", "100", *options(place.who, hmac("sha256")))
    (active,) = wait_for(place.grants, "the knock to be granted")
    assert active.seconds_left <= 100
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"


@at(KINDS[1])
def test_other_ways_of_the_real_client_are_heard_as_well(
    place: Place, fwknop: Fwknop
) -> None:
    for way in ("icmp", "tcpraw"):
        place.spasshd.flush()
        fwknop("-A", "tcp/22", "-s", "-P", way, *options(place.who, hmac("sha256")))
        wait_for(place.grants, f"a packet by {way} to be granted")


@at(KINDS[1])
def test_a_command_is_run_without_a_shell(place: Place, fwknop: Fwknop) -> None:
    words = ["-C", "/bin/echo hello", "-a", CLIENT4]
    fwknop(*words, *options(place.who, hmac("sha3_256")))
    place.spasshd.running.wait_log("output name=echo text=hello")


JUDGED = ("granted", "refused")
OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "=": lambda packet: packet + b"=",
    "==": lambda packet: packet + b"==",
    "=AAAA": lambda packet: packet + b"=AAAA",
    "prefix": lambda packet: b"hQ" + packet,
    "newline": lambda packet: packet + b"\n",
}


@at(*KINDS)
def test_a_recorded_packet_opens_nothing_again_in_any_spelling(
    lab: Lab, place: Place, fwknop: Fwknop
) -> None:
    place.spasshd.flush()
    packet = fwknop("-A", "tcp/22", "-s", *options(place.who, hmac("sha384")))
    wait_for(place.grants, "the knock to be granted")
    place.spasshd.flush()
    before = place.home.messages_seen()
    with udp(lab.stranger) as sock:
        assert place.outcome(sock, packet) == "replayed"
        others = [spell(packet) for spell in OTHERS.values()]
        tail = packet[-1]
        others += [
            packet[:-1] + bytes([letter]) for letter in b"ABab019+/" if letter != tail
        ]
        for other in others:
            place.send(sock, other)
        # This one is behind all of them, and the last to be judged.
        assert "replayed" in place.outcome(sock, packet)
    assert place.home.messages_seen() == before
    assert place.grants() == []


@at(KINDS[1])
def test_a_packet_of_before_the_restart_opens_nothing(
    lab: Lab, place: Place, fwknop: Fwknop
) -> None:
    """What was granted is on the disk; gpg is asked once more."""
    packet = fwknop("-A", "tcp/22", "-s", *options(place.who, hmac("sha512")))
    wait_for(lambda: IPv4Address(CLIENT4).packed in place.granted(), "the knock")
    assert place.spasshd.running.stop() == 0
    place.start()
    place.spasshd.flush()
    with udp(lab.stranger) as sock:
        assert place.outcome(sock, packet) == "replayed"
    assert place.grants() == []


# Bad messages behind the right HMAC


def bad_messages(place: Place) -> dict[str, Callable[[bytes], bytes]]:
    """Make each OpenPGP message that must open nothing, from a text that is right."""
    who, other = place.who, party("rsa4096")
    client = who.client
    who.server.give(other.client, who.recipient)
    other.server.give(client, other.recipient)
    who.server.give(party(LAX).client, who.recipient)
    squeeze = ("--compress-algo", "bzip2", "-z", "9")
    garbage = b"\x85\x01\x0c\x03" + os.urandom(700)
    return {
        "unsigned": lambda text: client.gpg(
            "--encrypt", "-r", who.recipient, data=text
        ),
        "another key": lambda text: other.client.seal(
            text, other.signer, who.recipient
        ),
        "another user": lambda text: party(LAX).client.seal(
            text, party(LAX).signer, who.recipient
        ),
        "expired key": lambda text: expired(place, text),
        "not to us": lambda text: client.seal(text, who.signer, other.recipient),
        "bomb": lambda _: who.seal(bytes(1 << 20), *squeeze),
        "garbage": lambda _: garbage,
    }


def expired(place: Place, text: bytes) -> bytes:
    """Sign with a key that the server knows, and that has expired yesterday."""
    then = ("--faked-system-time", f"{int(time.time()) - 2 * 86_400}!")
    home = Home()
    try:
        signer = home.make("ed25519", "expired", *then, expires="1d")
        place.who.server.give(home, place.who.recipient)
        home.give(Home(place.home.path), signer)
        inside = home.gpg("--sign", "-z", "0", "-u", signer, *then, data=text)
        words = ("--no-literal", "-z", "0", "-r", place.who.recipient)
        return home.gpg("--encrypt", *words, data=inside)
    finally:
        home.close()


@at(KINDS[1])
def test_bad_messages_of_somebody_with_the_hmac_key_open_nothing(
    lab: Lab, place: Place, fwknop: Fwknop
) -> None:
    """Each is for a user of its own, so that no quota keeps it from gpg."""
    place.spasshd.flush()
    answers = lab.path("answers.pcap")
    bad = bad_messages(place)
    made = [
        enclose(make(text()), hmac(digest))
        for make, digest in zip(bad.values(), DIGESTS, strict=True)
    ]
    granted = place.counters().get("granted", 0)
    with recording(lab.client_host, answers, "-Q", "in", "udp or icmp"):
        with udp(lab.client_host) as sock:
            for packet in made:
                seen = place.home.messages_seen()
                assert place.outcome(sock, packet) == "refused"
                assert place.home.messages_seen() == seen + 1
        assert not connects(lab.client_host, SERVER4, 22, 0)
    assert os.path.getsize(answers) == 24, "the server answered"
    assert place.counters().get("granted", 0) == granted
    assert place.counters().get("bug", 0) == 0
    assert place.grants() == []
    fwknop("-A", "tcp/22", "-s", *options(place.who, hmac("md5")))
    wait_for(place.grants, "the same user to be let in with the right message")


@at(KINDS[1])
def test_a_stranger_never_starts_gpg(lab: Lab, place: Place) -> None:
    """Without an HMAC key of somebody's: what is signed is right."""
    message = place.who.seal(text())
    right = enclose(message, hmac("sha256"))
    before = place.home.messages_seen()
    with udp(lab.stranger) as sock:
        for at in (0, 5, 300, len(right) - 44, len(right) - 1):
            letter = b"F" if right[at : at + 1] != b"F" else b"G"
            changed = right[:at] + letter + right[at + 1 :]
            assert place.outcome(sock, changed) == "not-ours"
        for wrong in (Hmac(b"another key"), Hmac(hmac("sha256").key, "md5"), Hmac()):
            assert place.outcome(sock, enclose(message, wrong)) == "not-ours"
    assert place.home.messages_seen() == before


@at(KINDS[1])
def test_a_helper_that_was_killed_lets_the_next_one_in(
    place: Place, fwknop: Fwknop
) -> None:
    place.spasshd.flush()
    daemon = psutil.Process(place.spasshd.running.process.pid)
    keeper, helper = (
        one for one in daemon.children(recursive=True) if "--openpgp" in one.cmdline()
    )
    assert helper.ppid() == keeper.pid
    helper.kill()
    place.spasshd.running.wait_log("the helper has ended (signal 9)")

    def knock() -> bool:
        """Knock, and tell whether it was granted. One may be lost with the helper."""
        before = place.counters()
        fwknop("-A", "tcp/22", "-s", *options(place.who, hmac("sha1")))

        def is_judged() -> bool:
            now = place.counters()
            return any(now.get(name) != before.get(name) for name in JUDGED)

        wait_for(is_judged, "the knock to be judged")
        return bool(place.grants())

    assert knock() or knock()


@at(KINDS[1])
def test_explain_says_whose_packet_it_is(place: Place) -> None:
    packet = enclose(place.who.seal(text()), hmac("sha1"))
    done = place.spasshd.verb("explain", packet.hex(), "--source", CLIENT4, check=False)
    assert "ok  gate       it has the form of a packet of fwknop\n" in done.stdout
    assert "ok  handshake  made by sha1, with key 1 of 1\n" in done.stdout


@at(KINDS[1])
def test_a_login_opens_a_spasshd_by_the_same_packet(lab: Lab, place: Place) -> None:
    place.spasshd.flush()
    client = lab.client()
    mac = f'hmac_key = "{hmac("sha256").key.decode()}"'
    profile(client, place.who, 62201, mac)
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"


@at(KINDS[1])
def test_a_stanza_that_is_imported_lets_its_client_in(
    lab: Lab, place: Place, fwknop: Fwknop
) -> None:
    """access.conf is what fwknopd itself runs with in this file."""
    place.spasshd.flush()
    directory = lab.path("etc-fwknop")
    os.mkdir(directory)
    text = access(place.who).replace("SOURCE ANY\n", "SOURCE ANY\nREQUIRE_USERNAME m\n")
    for name, content in (
        ("fwknopd.conf", "PCAP_FILTER udp port 62201;\n"),
        ("access.conf", text),
    ):
        with open(os.path.join(directory, name), "x", encoding="ascii") as file:
            file.write(content)
    said = place.spasshd.verb("import-fwknop", directory).stdout
    assert "m.toml" in said
    assert f"needed in {place.home.path}: " in said
    words = ["-A", "tcp/22", "-a", CLIENT4]
    fwknop(*words, *options(place.who, Hmac(b"shared", "sha512")))
    (active,) = wait_for(place.grants, "who has moved over to be let in")
    assert active.user in {"", "m"}


# Where somebody needs no HMAC


@at("lax")
def test_a_signed_text_opens_nothing_again_in_another_message(
    lab: Lab, place: Place
) -> None:
    """There are other OpenPGP messages of one signed text, and gpg opens them all."""
    place.spasshd.flush()
    client = party(LAX).client
    place.who.server.give(client, place.who.recipient)
    inside = client.gpg("--sign", "-z", "0", "-u", party(LAX).signer, data=text())
    words = ("--encrypt", "--no-literal", "-z", "0", "-r", place.who.recipient)
    first, second = (enclose(client.gpg(*words, data=inside), Hmac()) for _ in range(2))
    assert first != second
    with udp(lab.stranger) as sock:
        assert place.outcome(sock, first) == "granted"
        place.spasshd.flush()
        for packet in (second, first, second):
            assert place.outcome(sock, packet) in {"duplicate", "replayed"}
    assert place.grants() == []


@at("lax")
def test_a_packet_of_1_9_is_let_in_where_it_is_written(lab: Lab, place: Place) -> None:
    """1.9 keeps the padding of its fields, and knows three digests."""
    place.spasshd.flush()
    clients = {LAX: "refused", OLD: "granted"}
    for kind, outcome in clients.items():
        client = party(kind).client
        place.who.server.give(client, place.who.recipient)
        for digest in ("md5", "sha1", "sha256"):
            digits = rand(os.urandom(8))
            now = int(time.time())
            head = f"{digits}:YWxpY2U=:{now}:1.9.12:1:MC4wLjAuMCx0Y3AvMjI=".encode()
            whole = head + b":" + DIGESTS[digest].hash(head)
            message = client.seal(whole, party(kind).signer, place.who.recipient)
            with udp(lab.client_host) as sock:
                assert place.outcome(sock, enclose(message, Hmac())) == outcome


@at("lax")
def test_lax_users_are_warned_of_and_the_others_are_not(place: Place) -> None:
    log, _, _ = place.spasshd.running.log.partition("spasshd: ready")
    assert log.count("takes packets of fwknop") == 2
    for name, what in (
        ("lax", "an HMAC"),
        ("old", "an HMAC and the one spelling of fwknop 2"),
    ):
        text = f"a key of {name} takes packets of fwknop without {what}"
        assert f'spasshd: warning text="{text}"' in log


# The same on Debian's own libraries


def test_the_libraries_of_debian_do_the_same(make_lab: Callable[[str], Lab]) -> None:
    lab = make_lab("debian")
    place = Place(lab, KINDS[0])
    try:
        client = lab.client()
        mac = f'hmac_key = "{hmac("sha256").key.decode()}"'
        profile(client, place.who, 62201, mac)
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
        fwknop = Fwknop(lab.stranger, lab.path("fwknop"))
        fwknop("-A", "tcp/22", "-a", STRANGER4, *options(place.who, hmac("md5")))
        line = f"granted user=md5 address={STRANGER4} port=tcp/22"
        place.spasshd.running.wait_log(line)
    finally:
        place.close()
