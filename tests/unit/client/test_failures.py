"""Every failure that a user can meet: its message, its hint, and its exit code.

The messages are spelled as in the DIAGNOSTICS of spassh(1): a word in capitals stands
for what is different each time.
"""

import _socket
import errno
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from lab.openpgp import Home as Gnupg
from unit.client.fake_ssh import FakeSsh
from unit.client.parties import (
    INVITE,
    KEYS,
    NOW_MS,
    PROFILE,
    Gate,
    Home,
    Shut,
    invite,
)

from spassh import connect, handover, outside, profile, timekeeping, transport
from spassh.cli import proxy_arguments
from spassh.errors import SpasshError
from spassh.fwknop import FwknopSealer
from spassh.fwknop_profile import Fwknop
from spassh.fwknop_way import Way
from spassh.knock import Knocker
from spassh.patterns import Wanted
from spassh.private import PrivateFile
from spassh.protocol.crypto import PrivateKey
from spassh.protocol.fwknop.keys import Keys
from spassh.protocol.request import Request
from spassh.protocol.sealed_invite import seal_invite
from spassh.proxy import Clocks
from spassh.resolve import Address, Resolving
from spassh.schedule import Plan
from spassh.sockets import Socket
from spassh.source import Source
from spassh.ui import silent
from spassh.verbs import (
    enroll,
    forget,
    import_,
    import_fwknop,
    keygen,
    lock,
    openpgp,
    passphrase,
    ssh_config,
)
from spassh.verbs import knock as knock_verb
from spassh.verbs import run as run_verb
from spassh.verbs.ssh import Target, parse_target
from spassh.verbs.ssh_config import write_blocks

MAN_PAGE = Path(__file__).parents[3] / "man" / "spassh.1"

HOST = "server.example"


class Scene:
    """Where a failure takes place."""

    def __init__(
        self, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.home = home
        self.tmp_path = tmp_path
        self.monkeypatch = monkeypatch

    def find(self) -> None:
        profile.find(self.home.path, Wanted(HOST))

    def load_keys(self) -> None:
        found = profile.find(self.home.path, Wanted(HOST))
        assert found is not None
        profile.load_keys(found, self.home.path)

    def take(self, text: str, passphrase_file: str = "") -> None:
        """Import an invite from a file."""
        path = self.tmp_path / "invite"
        path.write_text(text)
        import_.run(str(path), [], force=False, passphrase_file=passphrase_file)


Provoke = Callable[[Scene], None]


SIGNING = PROFILE._replace(format="gnupg", gnupg_key="AB" * 20, gnupg_server="CD" * 20)


class Failure(NamedTuple):
    """One row: what is said, the beginning of the hint, the exit code, and how."""

    message: str
    hint: str
    exit_code: int
    provoke: Provoke


def command_line(*words: str) -> Provoke:
    return lambda _: (None, proxy_arguments(list(words)))[0]


def ssh_is_gone(_: Scene) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        handover.pass_socket(ours, ours.fileno())


def bad_host_option(_: Scene) -> None:
    import_.run("-", ["two words"], force=False)


def no_such_name(scene: Scene) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    scene.monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    Resolving(HOST, 22).wait()


def through(address: Address, failure: int, timeout: float = 10) -> None:
    def knock(_: Address, *, narrow: bool) -> Source:
        if failure:
            raise OSError(failure, os.strerror(failure))
        return Source(("127.0.0.1", 0))

    target = connect.Target(HOST, 22, [address])
    connect.through(target, knock, time.monotonic, Plan(timeout), silent)


def no_route(_: Scene) -> None:
    through(Address(socket.AF_INET, ("192.0.2.1", 22)), errno.ENETUNREACH)


def no_route_plainly(_: Scene) -> None:
    # A link-local address without a zone leads nowhere.
    address = Address(socket.AF_INET6, ("fe80::1", 22, 0, 0))
    connect.plainly(connect.Target(HOST, 22, [address]), silent)


def stays_shut(scene: Scene) -> None:
    scene.monkeypatch.setattr(timekeeping, "is_synchronised", lambda: True)
    with Shut() as shut:
        through(shut.address, 0, 0.05)


def stays_shut_plainly(_: Scene) -> None:
    with Shut() as shut:
        connect.plainly(connect.Target(HOST, 22, [shut.address]), silent, 0.05)


def refused(_: Scene) -> None:
    with Gate() as gate:
        through(gate.address, 0)


def refused_plainly(_: Scene) -> None:
    with Gate() as gate:
        connect.plainly(connect.Target(HOST, 22, [gate.address]), silent)


def relay(stdout: str, *, reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
    if reset:
        # A close with unread data is a reset.
        ours.sendall(b"x")
        theirs.recv(1, socket.MSG_PEEK)
    else:
        theirs.sendall(b"x")
    theirs.close()
    read, write = os.pipe()
    out = os.open(stdout, os.O_WRONLY)
    try:
        with ours:
            handover.relay(ours, read, out)
    finally:
        os.close(read)
        os.close(write)


def connection_lost(_: Scene) -> None:
    relay(os.devnull, reset=True)


def disk_full(_: Scene) -> None:
    relay("/dev/full", reset=False)


def with_profile(**fields: str) -> Provoke:
    def provoke(scene: Scene) -> None:
        scene.home.profile(**fields)
        scene.load_keys()

    return provoke


def with_file(text: str | bytes) -> Provoke:
    def provoke(scene: Scene) -> None:
        scene.home.write("server.toml", text)
        scene.find()

    return provoke


def unreadable(scene: Scene) -> None:
    PrivateFile(f"{scene.home.profile()}/below")


def no_directory(scene: Scene) -> None:
    Path(scene.home.path).mkdir()
    scene.home.profiles.write_text("")
    scene.find()


def no_regular_file(scene: Scene) -> None:
    (scene.home.profiles / "server.toml").mkdir(parents=True)
    scene.find()


def foreign(scene: Scene) -> None:
    path = scene.home.profile()
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        other = os.geteuid() + 1
        scene.monkeypatch.setattr(os, "geteuid", lambda: other)
    scene.find()


def open_to_others(scene: Scene) -> None:
    scene.home.profile().chmod(0o644)
    scene.find()


def low_order_server(_: Scene) -> None:
    keys = KEYS._replace(server=bytes(32))
    Knocker(PROFILE, keys, 22, lambda: NOW_MS, lambda size: b"\1" * size)


def two_profiles(scene: Scene) -> None:
    scene.home.profile("a.toml")
    scene.home.profile("b.toml")
    scene.find()


def taken_host(scene: Scene) -> None:
    scene.home.profile("other.toml")
    scene.take(invite())


def no_key(scene: Scene) -> None:
    with_profile(secret="")(scene)


def damaged_key(scene: Scene) -> None:
    scene.home.write_key("no key")
    no_key(scene)


def second_key(scene: Scene) -> None:
    scene.home.write_key()
    keygen.run()


def invite_for_another(scene: Scene) -> None:
    scene.home.write_key()
    scene.take(invite(client=PrivateKey(b"\5" * 32).public, secret=b""))


def after_an_invite(**changes: object) -> Provoke:
    def provoke(scene: Scene) -> None:
        scene.take(invite())
        scene.take(invite(**changes))

    return provoke


def over_a_broken_profile(scene: Scene) -> None:
    scene.home.write("server.example.toml", "")
    scene.take(invite())


def no_invite_file(scene: Scene) -> None:
    import_.run(str(scene.tmp_path / "gone"), [], force=False)


def sealed(scene: Scene) -> str:
    """Return an invite whose passphrase is "right", with nobody at the terminal."""
    scene.monkeypatch.setattr(passphrase, "ask_password", lambda _: None)
    return seal_invite(INVITE, "right", bytes(16))


def no_passphrase(scene: Scene) -> None:
    scene.take(sealed(scene))


def wrong_passphrase(scene: Scene) -> None:
    path = scene.tmp_path / "passphrase"
    path.write_text("wrong\n")
    path.chmod(0o600)
    scene.take(sealed(scene), str(path))


def no_passphrase_file(scene: Scene) -> None:
    scene.take(sealed(scene), str(scene.tmp_path / "gone"))


def no_memory(scene: Scene) -> None:
    def open_sealed(*_: object) -> None:
        raise MemoryError

    scene.monkeypatch.setattr(passphrase, "open_sealed", open_sealed)
    wrong_passphrase(scene)


def no_include(scene: Scene) -> None:
    write_blocks(f"{scene.home.path}?")


def unwritable(scene: Scene) -> None:
    Path(scene.home.path).write_text("")
    keygen.run()


def ask(*command: str, host: str = "127.0.0.1") -> Provoke:
    def provoke(scene: Scene) -> None:
        scene.home.profile(hosts='["127.0.0.1"]')
        run_verb.run(host, list(command), lambda: NOW_MS)

    return provoke


def knock(access: str = "tcp/22", lifetime: str = "", allow: str = "") -> Provoke:
    return lambda _: knock_verb.run(HOST, access, lifetime, allow, lambda: NOW_MS)


def resolving(url: str, *, allow: str = "", answer: bytes = b"") -> Provoke:
    def provoke(scene: Scene) -> None:
        scene.home.profile(hosts=f'["{HOST}"]')
        scene.monkeypatch.setattr(outside, "fetch", lambda *_: answer)
        knock_verb.run(HOST, "tcp/22", "", allow, lambda: NOW_MS, resolve_url=url)

    return provoke


def whole_packet(*, is_root: bool) -> Provoke:
    """Have scapy make a packet, which is not there; nor is root, perhaps."""

    class Raw(Socket):
        __slots__ = ()

        def __init__(self, family: int, kind: int, protocol: int) -> None:
            if not is_root:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            super().__init__(family, socket.SOCK_DGRAM)

        def setsockopt(self, *_: object) -> None:
            """Take whatever there is."""

    def provoke(scene: Scene) -> None:
        scene.monkeypatch.setattr(transport, "Socket", Raw)
        scene.monkeypatch.setitem(sys.modules, "spassh.raw_packet", None)
        there = Address(socket.AF_INET, ("127.0.0.1", 22))
        transport.send(b"8", there, PROFILE, Way("icmp"))

    return provoke


def for_fwknopd(**fields: str) -> Provoke:
    def provoke(scene: Scene) -> None:
        native = dict.fromkeys(("server", "psk", "secret"), "")
        lines = {"format": '"fwknop"', "key": '"k"', "hosts": f'["{HOST}"]'}
        scene.home.profile(**(native | lines | fields))
        scene.load_keys()

    return provoke


def knock_at_fwknopd(scene: Scene) -> None:
    with suppress(SpasshError):
        for_fwknopd(hosts=f'["127.0.0.1", "{HOST}"]')(scene)
    allow = "2001:db8::7"
    knock_verb.run("127.0.0.1", "tcp/22", "", allow, lambda: NOW_MS)


def fwknoprc(text: str) -> Provoke:
    def provoke(scene: Scene) -> None:
        path = scene.tmp_path / "fwknoprc"
        path.write_text(text)
        path.chmod(0o600)
        import_fwknop.run(str(path))

    return provoke


def second_profile(scene: Scene) -> None:
    scene.home.profile("gate.toml")
    fwknoprc("[gate]\nSPA_SERVER gate\nKEY k\n")(scene)


def forget_a_pattern(scene: Scene) -> None:
    scene.home.profile(hosts='["*"]')
    forget.run(HOST)


def forget_in_vain(scene: Scene) -> None:
    scene.home.profile()

    def unlink(_: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    scene.monkeypatch.setattr(os, "unlink", unlink)
    forget.run(HOST)


def target(text: str, port: str = "") -> Provoke:
    return lambda _: (None, parse_target(text, port))[0]


def enroll_with(fake: FakeSsh, scene: Scene, name: str = "ada") -> None:
    scene.home.write_key()
    scene.monkeypatch.setattr(enroll, "user_config", lambda: str(fake.config))
    clocks = Clocks(lambda: 0.0, lambda: NOW_MS)
    enroll.run(Target(HOST), name, clocks, silent, yes=True)


def fake_ssh(scene: Scene, login: str = "root") -> FakeSsh:
    fake = FakeSsh(scene.tmp_path / "bin", scene.monkeypatch)
    fake.settings(user=login)
    return fake


def bad_name(scene: Scene) -> None:
    enroll_with(fake_ssh(scene), scene, "two words")


def no_ssh(scene: Scene) -> None:
    fake = fake_ssh(scene)
    scene.monkeypatch.setenv("PATH", "/nowhere")
    enroll_with(fake, scene)


def ssh_is_confused(scene: Scene) -> None:
    fake = fake_ssh(scene)
    fake.set(settings_status=255)
    enroll_with(fake, scene)


def no_login(scene: Scene) -> None:
    fake = fake_ssh(scene)
    fake.set(login_status=255)
    enroll_with(fake, scene)


def server_says(
    errors: str = "", status: int = 1, login: str = "root", output: str = ""
) -> Provoke:
    """Provoke an error by the answer to `spasshd user add`."""

    def provoke(scene: Scene) -> None:
        fake = fake_ssh(scene, login)
        scene.monkeypatch.setattr(enroll, "ask_password", lambda _: None)
        fake.answer(output, errors, status)
        enroll_with(fake, scene)

    return provoke


def states(*outputs: str) -> Provoke:
    """Provoke an error by the answers to `spasshd status`."""

    def provoke(scene: Scene) -> None:
        fake = fake_ssh(scene)
        fake.answer(invite(user="ada", address="127.0.0.1", secret=b""))
        for output in outputs:
            fake.answer(output)
        enroll_with(fake, scene)

    return provoke


def lock_without_spassh(scene: Scene) -> None:
    fake_ssh(scene)
    lock.lock(Target(HOST, "root"), Clocks(lambda: 0.0, lambda: NOW_MS), silent)


def invite_of_another(scene: Scene) -> None:
    scene.home.profile(hosts='["127.0.0.1"]', invite="true")
    enroll_with(fake_ssh(scene), scene)


def sign(scene: Scene) -> None:
    scene.monkeypatch.setenv("GNUPGHOME", str(scene.tmp_path))
    scene.tmp_path.chmod(0o700)
    try:
        Knocker(SIGNING, KEYS, 22, lambda: NOW_MS, os.urandom)
    finally:
        # gpg may have started its agent.
        scene.monkeypatch.undo()
        Gnupg(str(scene.tmp_path)).stop()


def signing_without(what: str) -> Provoke:
    def provoke(scene: Scene) -> None:
        if what == "python-gnupg":
            scene.monkeypatch.setitem(sys.modules, "gnupg", None)
        elif what == "gpg":
            scene.monkeypatch.setenv("PATH", str(scene.tmp_path))
        sign(scene)

    provoke.__qualname__ = f"signing_without_{what}"
    return provoke


def signing_too_much(scene: Scene) -> None:
    """Have a gpg that makes 1 KiB of everything, and more."""

    def encrypt(self: object, *_: object, **__: object) -> object:
        return SimpleNamespace(ok=True, data=bytes(1100))

    scene.monkeypatch.setattr("gnupg.GPG.encrypt", encrypt)
    sign(scene)


def sealing_what_fwknop_cannot_read(scene: Scene) -> None:
    """Have a gpg that encrypts to a key on a curve."""

    def encrypt(self: object, *_: object, **__: object) -> object:
        return SimpleNamespace(ok=True, data=b"\x84\x5e\x03" + bytes(500))

    scene.monkeypatch.setattr("gnupg.GPG.encrypt", encrypt)
    ours = Fwknop(
        Keys(b"", b"h"), "md5", b"", None, False, signer="AB" * 20, recipient="AB" * 20
    )
    request = Request(NOW_MS, 6, 22)
    FwknopSealer(PROFILE, ours, os.urandom).seal(request)


ARMOUR = (
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----\n"
)


def enroll_signing(
    keys: list[str], *, without_gpg: bool = False, **fields: str
) -> Provoke:
    """Enroll with these secret keys, and a profile that is there if it has fields."""

    def provoke(scene: Scene) -> None:
        fake = fake_ssh(scene)
        fake.settings(hostname="server.example")
        named = invite(user="ada", address="server.example", secret=b"")
        note = 'spasshd: note text="restart spasshd: it has begun without gpg"\n'
        fake.answer(f"{named}\n{ARMOUR if without_gpg else ''}", note)
        if fields:
            names = ("gnupg_key", "gnupg_server") if "format" in fields else ()
            more = dict.fromkeys(names, f'"{"AB" * 20}"')
            scene.home.profile(user='"ada"', **fields, **more)
        found = [{"cap": "scESC", "fingerprint": one} for one in keys]
        gpg = SimpleNamespace(
            list_keys=lambda *_, **__: found,
            export_keys=lambda *_, **__: "key",
            scan_keys=lambda _: [{"type": "pub", "fingerprint": "CD" * 20}],
            import_keys=lambda *_, **__: SimpleNamespace(fingerprints=["CD" * 20]),
        )
        scene.monkeypatch.setattr(openpgp, "open_gnupg", lambda _: gpg)
        scene.home.write_key()
        clocks = Clocks(lambda: 0.0, lambda: NOW_MS)
        enroll.run(Target(HOST), "ada", clocks, silent, yes=True, gnupg="ada")

    return provoke


def unreadable_configuration(scene: Scene) -> None:
    ssh_config.includes(str(scene.tmp_path), "/x")


RUNNING = '{"running": true, "counters": {}, "grants": []}'
STALE = '{"running": true, "counters": {"stale": 1}, "grants": []}'

USAGE = "usage: spassh proxy [--fdpass] [-v] HOST PORT [NAME [LOGIN]]"
AGAIN = "import the invite again with 'spassh import --force'"
FORCE = "'spassh import --force' replaces it"

FAILURES = [
    Failure("unknown option OPTION", USAGE, 2, command_line("-x", "host", "22")),
    Failure("proxy takes a host and a port", USAGE, 2, command_line("host")),
    Failure("not a host: WORD", "no host's name", 2, command_line("--", "-h", "22")),
    Failure("not a port: WORD", "a port is a number", 2, command_line("host", "ssh")),
    Failure(
        "run takes a host, '--' and a command", "usage: spassh run HOST --", 2, ask()
    ),
    Failure("not an absolute path: WORD", "the server compares", 2, ask("ls")),
    Failure(
        "cannot send the command: REASON",
        "a command has at most 64 words",
        2,
        ask("/bin/ls", "x" * 1046),
    ),
    Failure(
        "FILE: no profile names 'HOST'",
        "'spassh enroll server.example' makes one, or with an invite 'spassh import",
        3,
        ask("/bin/ls", host=HOST),
    ),
    Failure("--access: not a port: WORD", "such as tcp/443", 2, knock("443")),
    Failure("--for: not a time: WORD", "such as 30s", 2, knock(lifetime="ever")),
    Failure("--allow: not an address: WORD", "such as 192.0.2.7", 2, knock(allow=HOST)),
    Failure("--resolve-url: REASON", "such as https://", 2, resolving("ftp://a.test/")),
    Failure(
        "--allow and --resolve-url are both there",
        "take one of them out",
        2,
        resolving("http://a.test/", allow="192.0.2.7"),
    ),
    Failure(
        "cannot learn the address from HOST: REASON",
        "see that the URL is right",
        4,
        resolving("http://127.0.0.1/", answer=b"no"),
    ),
    Failure(
        "FILE: 'transport': NAME takes root", "run", 3, whole_packet(is_root=False)
    ),
    Failure(
        "FILE: 'transport': NAME takes scapy, which is not there",
        "install python3-scapy",
        3,
        whole_packet(is_root=True),
    ),
    Failure(
        "FILE: is for 'HOST' by a pattern alone", "others may", 3, forget_a_pattern
    ),
    Failure("cannot remove FILE: REASON", "see whose", 1, forget_in_vain),
    Failure("--host: REASON", "give the name or address", 2, bad_host_option),
    Failure(
        "cannot resolve HOST: REASON",
        "see that the name is spelled right",
        4,
        no_such_name,
    ),
    Failure("cannot reach HOST: REASON", "see that the network is up", 5, no_route),
    Failure(
        "cannot reach HOST: REASON", "see that the network is up", 5, no_route_plainly
    ),
    Failure(
        "port PORT of HOST stays shut: no answer within SECONDS s",
        "'spassh doctor server.example' looks for the reason",
        6,
        stays_shut,
    ),
    Failure(
        "port PORT of HOST stays shut: no answer within SECONDS s",
        "if spassh guards it, it has to be among the hosts of a profile",
        6,
        stays_shut_plainly,
    ),
    Failure("HOST refuses connections to port PORT", "see that sshd runs", 7, refused),
    Failure(
        "HOST refuses connections to port PORT",
        "see that sshd runs",
        7,
        refused_plainly,
    ),
    Failure("connection lost: REASON", "log in again", 1, connection_lost),
    Failure("cannot write the output: REASON", "see that there is room", 1, disk_full),
    Failure("ssh did not wait: REASON", "", 1, ssh_is_gone),
    Failure("FILE: cannot be read: REASON", "see whose it is with: ls", 3, unreadable),
    Failure(
        "FILE: cannot be read: REASON", "see whose it is with: ls", 3, no_directory
    ),
    Failure("FILE: not a regular file", "replace it by one", 3, no_regular_file),
    Failure("FILE: larger than 16384 bytes", AGAIN, 3, with_file("#" * 16385)),
    Failure(
        "FILE: not UTF-8 in line NUMBER", "save it as UTF-8", 3, with_file(b"\xff")
    ),
    Failure("FILE: not TOML: REASON", f"mend the line, or {AGAIN}", 3, with_file("=")),
    Failure("FILE: belongs to another user, uid NUMBER", "chown ", 3, foreign),
    Failure(
        "FILE: other users can read or change it", "chmod 600 /", 3, open_to_others
    ),
    Failure("FILE: unknown key 'KEY'", "take it out", 3, with_profile(prot="1")),
    Failure("FILE: 'KEY' is missing", AGAIN, 3, with_profile(psk="")),
    Failure(
        "FILE: 'KEY' must be REQUIREMENT",
        "for example: port = 62201",
        3,
        with_profile(port="0"),
    ),
    Failure("FILE: 'KEY': REASON", AGAIN, 3, with_profile(psk='"damaged"')),
    Failure(
        "FILE: 'KEY' is missing, and so is 'KEY'",
        "take KEY_BASE64 or KEY",
        3,
        for_fwknopd(key=""),
    ),
    Failure(
        "FILE: 'KEY' and 'KEY' are both there",
        "take one of them out",
        3,
        for_fwknopd(key_base64='"QQ=="'),
    ),
    Failure(
        "FILE: 'KEY' needs 'KEY'",
        'add nat_access = "10.0.0.5,22"',
        3,
        for_fwknopd(nat_local="true"),
    ),
    Failure(
        "FILE: there are keys for packets of both kinds",
        "take 'key' out, or 'gnupg_key' and 'gnupg_server'",
        3,
        for_fwknopd(gnupg_key=f'"{"AB" * 20}"', gnupg_server=f'"{"AB" * 20}"'),
    ),
    Failure(
        "FILE: fwknopd does not take what gpg makes of these keys: REASON",
        "its key has to be RSA of 2048 to 4096 bits, or Elgamal of 2048",
        3,
        sealing_what_fwknop_cannot_read,
    ),
    Failure(
        "FILE: 'KEY' needs 'KEY' or 'KEY'",
        "say which address is to be let in",
        3,
        for_fwknopd(transport='"icmp"', spoof_source='"192.0.2.9"'),
    ),
    Failure(
        "FILE: 'KEY' must be REQUIREMENT",
        "take the line out",
        3,
        for_fwknopd(width='"flow"'),
    ),
    Failure(
        "FILE: is for an fwknopd, and this takes a native profile",
        "'spassh enroll' makes one of it",
        3,
        for_fwknopd(),
    ),
    Failure(
        "fwknop has no word for that: REASON",
        "it allows an IPv4 address",
        2,
        knock_at_fwknopd,
    ),
    Failure("FILE: 'KEY': REASON", "ask the server's", 3, low_order_server),
    Failure(
        "FILE: names 'HOST' as FILE does", "take the host out of one", 3, two_profiles
    ),
    Failure("FILE: names 'HOST' already", "take the host out of it", 3, taken_host),
    Failure("FILE: is there already", "to make it anew: rm", 3, second_profile),
    Failure(
        "no stanza of FILE can be a profile",
        "each has a SPA_SERVER, and a KEY",
        1,
        fwknoprc("[gate]"),
    ),
    Failure("FILE: there is no key", "make one with 'spassh keygen'", 3, no_key),
    Failure("FILE: not a key: REASON", "put back the line that", 3, damaged_key),
    Failure("FILE: there is a key already: KEY", "to make another: mv", 3, second_key),
    Failure(
        "FILE: the invite is for another key: KEY",
        "have the server make an invite for this one: spassh-public-",
        3,
        invite_for_another,
    ),
    Failure(
        "FILE: belongs to another server",
        FORCE,
        3,
        after_an_invite(server=PrivateKey(b"\4" * 32).public),
    ),
    Failure("FILE: belongs to user NAME", FORCE, 3, after_an_invite(user="bob")),
    Failure(
        "FILE: is there already, and cannot be used", FORCE, 3, over_a_broken_profile
    ),
    Failure("cannot read FILE: REASON", "give the file that", 1, no_invite_file),
    Failure(
        "no invite: longer than 4096 bytes",
        "an invite is one line",
        1,
        lambda scene: scene.take(" " * 4097),
    ),
    Failure(
        "cannot read the invite: REASON",
        "copy all of the line",
        1,
        lambda scene: scene.take("hello"),
    ),
    Failure(
        "the invite takes a passphrase, and there is no terminal to ask for it",
        "give it with --passphrase-file",
        1,
        no_passphrase,
    ),
    Failure("the passphrase is wrong", "it is the one that was", 1, wrong_passphrase),
    Failure(
        "FILE: no such file",
        "its first line is the passphrase",
        3,
        no_passphrase_file,
    ),
    Failure(
        "there is not enough memory for a passphrase",
        "it takes 128 MiB",
        1,
        no_memory,
    ),
    Failure("no Include can name FILE", "set SPASSH_CONFIG_HOME", 1, no_include),
    Failure("cannot write FILE: REASON", "see that the directory", 1, unwritable),
    Failure("not a host: WORD", "give the name or address", 2, target("-x")),
    Failure("not a login: WORD", "such as root@server", 2, target("-x@server")),
    Failure("not a port: WORD", "a port is a number", 2, target("server", "ssh")),
    Failure("--name: REASON", "such as alice-laptop", 2, bad_name),
    Failure(
        "ssh does not go through spassh to HOST",
        "begin with 'spassh enroll root@server.example'",
        1,
        lock_without_spassh,
    ),
    Failure("there is no ssh in PATH", "install OpenSSH's client", 1, no_ssh),
    Failure(
        "ssh cannot say how it reaches HOST: REASON",
        "see that 'ssh -G' works",
        1,
        ssh_is_confused,
    ),
    Failure("ssh does not get in to HOST", "'ssh' has to work first", 1, no_login),
    Failure("ssh to HOST failed: REASON", "try again", 1, server_says("x", 255)),
    Failure(
        "HOST has no spasshd",
        "install it there",
        1,
        server_says("env: 'spasshd': No such file or directory", 127),
    ),
    Failure(
        "HOST has no sudo",
        "log in as root: root@server.example",
        1,
        server_says("env: 'sudo': No such file or directory", 127, "ann"),
    ),
    Failure(
        "sudo on HOST does not run spasshd: REASON",
        "let ann use it, or log in as root: root@server.example",
        1,
        server_says("ann may not run sudo", login="ann"),
    ),
    Failure(
        "sudo on HOST wants a password, and there is no terminal to ask for it",
        "do this in a terminal, or as root",
        1,
        server_says("sudo: a password is required", login="ann"),
    ),
    Failure(
        "spasshd on HOST: REASON",
        "there: make it with 'spasshd init'",
        1,
        server_says(
            "spasshd: error: /x: no such file\n"
            "spasshd: hint: make it with 'spasshd init'\n"
        ),
    ),
    Failure(
        "HOST has a user NAME with another key",
        "take another name with --name",
        1,
        server_says("spasshd: error: user 'ada' exists already: /x"),
    ),
    Failure(
        "HOST knows this key as user NAME",
        "enroll with --name bob",
        1,
        server_says("spasshd: error: the key belongs to user 'bob' already"),
    ),
    Failure(
        "spasshd on HOST does not print the invite of user NAME again",
        "it is too old for that",
        1,
        server_says("spasshd: error: the key belongs to user 'ada' already"),
    ),
    Failure(
        "no invite came from HOST",
        "'spasshd user add ada' has to print one there",
        1,
        server_says(status=0, output="welcome"),
    ),
    Failure(
        "the invite is for user NAME at HOST, and not the one that was asked for",
        "see what 'spasshd' is on the server",
        1,
        server_says(status=0, output=invite()),
    ),
    Failure(
        "HOST does not know the key of user NAME any more",
        "'spassh forget' the profile",
        1,
        server_says("spasshd: error: user 'ada' has no such key"),
    ),
    Failure("FILE: belongs to user NAME", "leave --name out", 3, invite_of_another),
    Failure("cannot read FILE: REASON", "see whose it is", 1, unreadable_configuration),
    Failure(
        "the answer of spasshd on HOST makes no sense",
        "update spassh on both sides",
        1,
        states("{}"),
    ),
    Failure(
        "spasshd on HOST is not running",
        "start it there, and try again",
        1,
        states('{"running": false, "grants": []}'),
    ),
    Failure(
        "no knock arrived at HOST",
        "see that nothing on the way drops UDP to its port 62201",
        1,
        states(*[RUNNING] * 5),
    ),
    Failure(
        "HOST did not let the knock in: REASON",
        "see that the clocks of both",
        1,
        states(RUNNING, *[STALE] * 4),
    ),
    Failure(
        "FILE: python-gnupg is not installed",
        "apt install python3-gnupg",
        3,
        signing_without("python-gnupg"),
    ),
    Failure("FILE: gpg cannot be run", "install GnuPG", 3, signing_without("gpg")),
    Failure(
        "FILE: gpg does not sign: REASON",
        "see that 'gpg --sign --local-user ABAB",
        3,
        signing_without("keys"),
    ),
    Failure(
        "FILE: the signed request has NUMBER bytes, and NUMBER fit into a datagram",
        "sign with a smaller key",
        3,
        signing_too_much,
    ),
    Failure(
        "--gnupg: no secret key of NAME can sign",
        "'gpg --list-secret-keys' shows them",
        2,
        enroll_signing([]),
    ),
    Failure(
        "--gnupg: more than one secret key of NAME can sign",
        "'gpg --list-secret-keys' shows them",
        2,
        enroll_signing(["AB" * 20, "CD" * 20]),
    ),
    Failure(
        "--gnupg: FILE has another key to sign with",
        "'spassh forget' the profile",
        2,
        enroll_signing(["CD" * 20], format='"gnupg"'),
    ),
    Failure(
        "--gnupg: FILE is to get another key",
        "enroll without --gnupg first",
        2,
        enroll_signing(["AB" * 20], invite="true"),
    ),
    Failure(
        "spasshd on HOST has begun without gpg",
        "there: systemctl restart spasshd",
        1,
        enroll_signing(["AB" * 20], without_gpg=True),
    ),
    Failure(
        "no OpenPGP key came from HOST",
        "update spasshd there",
        1,
        enroll_signing(["AB" * 20]),
    ),
]


VARIABLE = re.compile(
    r"\b(?:OPTION|WORD|HOST|PORT|REASON|SECONDS|FILE|NUMBER|KEY|REQUIREMENT|NAME)\b"
)


def pattern(message: str) -> str:
    """Turn the spelling of the man page into a regular expression."""
    return ".+".join(map(re.escape, VARIABLE.split(message)))


@pytest.mark.parametrize(
    "failure", FAILURES, ids=lambda failure: failure.provoke.__qualname__
)
def test_a_failure_is_told_with_a_remedy_and_an_exit_code(
    failure: Failure, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpasshError) as caught:
        failure.provoke(Scene(home, tmp_path, monkeypatch))
    error = caught.value
    assert re.fullmatch(pattern(failure.message), str(error))
    assert error.hint.startswith(failure.hint)
    assert bool(error.hint) == bool(failure.hint)
    assert error.exit_code == failure.exit_code
    for text in (str(error), error.hint):
        assert text == text.strip().removesuffix(".")


def test_the_man_page_lists_every_message_and_no_other() -> None:
    diagnostics = MAN_PAGE.read_text().split(".Sh DIAGNOSTICS")[1].split(".Sh ")[0]
    listed = re.findall(r'^\.It Li "(.*)"$', diagnostics, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted({failure.message for failure in FAILURES})


def test_the_man_page_lists_every_exit_code() -> None:
    status = MAN_PAGE.read_text().split(".Sh EXIT STATUS")[1].split(".Sh ")[0]
    listed = {int(code) for code in re.findall(r"^\.It (\d+)$", status, re.MULTILINE)}
    assert listed == {0, 130} | {failure.exit_code for failure in FAILURES}
