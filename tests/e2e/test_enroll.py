"""From an SSH that works to one behind a port that is shut, with one command.

Server and client have an /etc of their own. The server's has accounts, sudo's rules and
the configuration of spasshd where it belongs; the client's says where the home of root
is, for ssh does not look at HOME.
"""

import codecs
import json
import os
import pty
import shutil
import stat
import subprocess
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest
from lab import openpgp
from lab.inside import port_answers
from lab.network import CLIENT4, SERVER4, SERVER_NAME, wait_for
from lab.programs import Client, Daemon, Sshd

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

PASSWORD = "correct horse"  # noqa: S105 - of an account in the lab

SUDOERS = {
    "carol": "carol ALL=(root) NOPASSWD: {spasshd}",
    "dave": "dave ALL=(root) {spasshd}",
    "eve": "",
}
"""The accounts beside root, and what sudo lets them do."""

CONFIG = "/etc/spassh/spasshd.toml"


class Server:
    """A server as its administrator leaves it: spasshd runs, and nobody knows it."""

    def __init__(self, lab: Lab, user_key: str) -> None:
        self.lab = lab
        self.host = lab.server
        self.directory = lab.path("site")
        os.mkdir(self.directory)
        lab.sshd.stop()
        self.host.own_etc(self.directory)
        bin_dir = self.host.environment["PATH"].split(":")[0]
        hashed = self.host.run(["openssl", "passwd", "-6", PASSWORD]).stdout.strip()
        rules = [f'Defaults secure_path="{self.host.environment["PATH"]}"']
        for name, rule in SUDOERS.items():
            self.host.run(["useradd", "--no-create-home", "-p", hashed, name])
            rules.append(rule.format(spasshd=f"{bin_dir}/spasshd"))
        self.write("/etc/sudoers.d/lab", "\n".join(rules) + "\n")
        self.host.run(["chmod", "440", "/etc/sudoers.d/lab"])
        self.sshd = Sshd(self.host, lab.path("sshd"), user_key)
        self.daemon: Daemon | None = None

    def write(self, path: str, text: str) -> None:
        """Write a file in the host's own /etc."""
        self.host.run(["tee", path], text=text)

    def init(self) -> None:
        self.host.run(["spasshd", "init"])
        for key in ("state", "run"):
            where = f's|^{key}_dir = .*|{key}_dir = "{self.directory}-{key}"|'
            self.host.run(["sed", "-i", where, CONFIG])

    def protect(self, ports: str) -> None:
        self.host.run(["sed", "-i", f"s|^protect = .*|protect = [{ports}]|", CONFIG])

    def start(self) -> None:
        argv = ["spasshd", "run"]
        self.daemon = Daemon(self.host, argv, self.lab.path("spasshd.log"))
        self.daemon.wait_log("spasshd: ready")

    def stop(self) -> None:
        if self.daemon:
            assert self.daemon.stop() == 0
            self.daemon = None
            self.host.run(["spasshd", "stop", "--open"])

    def restart(self) -> None:
        """Start it anew, with the drop as it is."""
        if self.daemon:
            assert self.daemon.stop() == 0
        self.start()

    def wait_verbs(self) -> None:
        """Wait until no verb of spasshd runs, beside the daemon."""

        def none_runs() -> bool:
            verbs = ("protect", "confirm")
            return not any(self.host.running(f"spasshd {verb}") for verb in verbs)

        wait_for(none_runs, "the verbs of spasshd to end")

    def users(self) -> str:
        return self.host.run(["spasshd", "user", "list"]).stdout

    def counters(self) -> dict[str, int]:
        state = json.loads(self.host.run(["spasshd", "status", "--json"]).stdout)
        counters: dict[str, int] = state["counters"]
        return counters


@pytest.fixture(scope="module")
def user_key(lab: Lab) -> Iterator[str]:
    """A key for every login: sshd reads its public half as the one who logs in."""
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # noqa: S103 - the secret half has a mode of its own
        path = os.path.join(directory, "user_key")
        for ending in ("", ".pub"):
            shutil.copy(lab.sshd.user_key + ending, path + ending)
        yield path


@pytest.fixture(scope="module")
def bare(lab: Lab, user_key: str) -> Server:
    """The server before anybody has said `spasshd init`."""
    return Server(lab, user_key)


@pytest.fixture
def server(bare: Server) -> Iterator[Server]:
    bare.host.run(["rm", "-rf", "/etc/spassh"])
    bare.init()
    bare.start()
    yield bare
    bare.stop()


class Home(Client):
    """A client whose ssh has a home of its own, with a configuration in it."""

    def __init__(self, lab: Lab, user_key: str) -> None:
        super().__init__(lab.client_host, lab.path("home"), user_key)
        home = f"s|^root:\\(.*\\):[^:]*:\\([^:]*\\)$|root:\\1:{self.directory}:\\2|"
        self.host.run(["sed", "-i", home, "/etc/passwd"])
        os.mkdir(os.path.join(self.directory, ".ssh"), 0o700)
        # A link, as of those who keep such files together, and readable.
        self.kept = os.path.join(self.directory, "kept-config")
        self.config = os.path.join(self.directory, ".ssh", "config")
        os.symlink(self.kept, self.config)
        with open(self.kept, "w", encoding="ascii") as file:
            file.write(
                f"IdentityFile {user_key}\nIdentitiesOnly yes\n"
                f"Host other\n    HostName {SERVER4}\n"
                "Host *\n    StrictHostKeyChecking accept-new\n    LogLevel ERROR\n"
                "Host last.example\n    User nobody"
            )
        os.chmod(self.kept, 0o644)

    def enroll(
        self, *words: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.run("spassh", "enroll", *words, check=check)

    def converse(self, *argv: str, answers: dict[str, str]) -> tuple[int, str]:
        """Run a program in a terminal; answer each question once, in this order."""
        ours, theirs = pty.openpty()
        try:
            process = self.popen(
                *("setsid", "--ctty", "--wait", *argv),
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
            )
        finally:
            os.close(theirs)
        said, seen = "", 0
        # A character may come in two parts.
        decoder = codecs.getincrementaldecoder("utf-8")()
        waiting = list(answers.items())
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:
                break  # The last process has closed the terminal.
            if not data:
                break
            said += decoder.decode(data)
            if waiting and waiting[0][0] in said[seen:]:
                seen = len(said)
                os.write(ours, waiting.pop(0)[1].encode() + b"\n")
        os.close(ours)
        assert not waiting, said
        return process.wait(30), said

    def files(self) -> dict[str, bytes]:
        """Return everything that enrolling could change."""
        found = {}
        for directory, _, names in os.walk(self.directory):
            for name in names:
                if name != "known_hosts":
                    path = os.path.join(directory, name)
                    with open(path, "rb") as file:
                        found[path] = file.read()
        return found


@pytest.fixture(scope="module")
def _client_etc(lab: Lab) -> None:
    hidden = lab.path("client-etc")
    os.mkdir(hidden)
    lab.client_host.own_etc(hidden)


@pytest.fixture
def client(lab: Lab, user_key: str, _client_etc: None) -> Home:
    return Home(lab, user_key)


def shut(server: Server) -> None:
    server.stop()
    server.protect('"tcp/22"')
    server.start()


def test_openpgp_keys_are_exchanged_and_then_they_are_needed(
    lab: Lab, server: Server, client: Home
) -> None:
    """The first who signs: the server makes its home and its key, and is restarted."""
    with TemporaryDirectory(prefix="spg") as place:
        os.chmod(place, 0o755)  # noqa: S103 - as /var/lib is
        where = f's|^gnupg_dir = .*|gnupg_dir = "{place}/gnupg"|'
        server.host.run(["sed", "-i", where, CONFIG])
        server.restart()
        keys = openpgp.Home()
        try:
            keys.make("ed25519", "ada")
            client.environment["GNUPGHOME"] = keys.path
            words = ("--yes", "--name", "ada", "--gnupg", "ada", f"root@{SERVER_NAME}")
            first = client.enroll(*words, check=False)
            assert "has begun without gpg" in first.stderr, first.stderr
            server.restart()
            said = client.enroll(*words).stdout
            assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
            shut(server)
            login = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
            assert login.stdout == "hello\n"
            # Without the OpenPGP key, all the rest of what the client has is no use.
            client.environment["GNUPGHOME"] = place
            late = ("ssh", "-o", "ConnectTimeout=20", f"root@{SERVER_NAME}", "true")
            failed = client.run(*late, check=False)
            assert "gpg does not sign: " in failed.stderr
            assert failed.returncode == 255
        finally:
            keys.close()
            server.stop()
            server.host.run(["rm", "-rf", f"{place}/gnupg"])


def test_root_enrolls_and_then_gets_through_a_port_that_is_shut(
    lab: Lab, server: Server, client: Home
) -> None:
    said = client.enroll("--yes", "--name", "ada", f"root@{SERVER_NAME}").stdout
    assert f"{SERVER_NAME} knows the key as user ada\n" in said
    assert f"added an Include of {client.directory}/spassh/ssh_config to " in said
    assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"
    # The link is one still, and the mode is what it was.
    assert os.path.islink(client.config)
    assert stat.S_IMODE(os.stat(client.kept).st_mode) == 0o644

    shut(server)
    assert not port_answers(client.host, SERVER4, 22, 0.3)
    login = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert login.stdout == "hello\n"
    assert server.counters()["granted"] >= 1
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)

    # Through the port that is shut, and nothing changes.
    before = client.files()
    logins = server.sshd.log.count("Accepted publickey for root")
    said = client.enroll("--name", "ada", f"root@{SERVER_NAME}").stdout
    assert "using the key that is there: spassh-public-" in said
    assert f"nothing to do: {client.profile} has it all\n" in said
    assert "ssh goes through spassh already\n" in said
    assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
    assert client.files() == before
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"
    # All commands of one go are one login.
    assert server.sshd.log.count("Accepted publickey for root") == logins + 1


def test_who_moves_over_from_fwknop_enrolls_through_its_knock(
    lab: Lab, server: Server, client: Home
) -> None:
    """The port is shut all the while, and both sides begin with fwknop's files."""
    keys = "KEY an old passphrase\nHMAC_KEY and another one\n"
    stanza = f"SOURCE ANY\nOPEN_PORTS tcp/22\n{keys}"
    server.stop()
    server.host.run(["sed", "-i", "1i fwknop = true", CONFIG])
    server.host.run(["mkdir", "-p", "/etc/fwknop"])
    server.write("/etc/fwknop/fwknopd.conf", "")
    server.write("/etc/fwknop/access.conf", stanza)
    server.host.run(["spasshd", "import-fwknop", "/etc/fwknop"])
    shut(server)
    assert not port_answers(client.host, SERVER4, 22, 0.3)
    rc = os.path.join(client.directory, ".fwknoprc")
    with open(os.open(rc, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(f"[gate]\nSPA_SERVER {SERVER_NAME}\n{keys}")
    client.run("spassh", "import-fwknop", rc)
    said = client.enroll("--yes", "--name", "ada", f"root@{SERVER_NAME}").stdout
    assert f"{SERVER_NAME} knows the key as user ada\n" in said
    assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
    with open(client.profile, encoding="utf-8") as file:
        text = file.read()
    assert 'server = "spassh-public-' in text
    assert "fwknop" not in text
    assert [line.split("\t")[0] for line in server.users().splitlines()] == [
        "ada",
        "fwknop-1",
    ]
    server.host.run(["spasshd", "user", "remove", "fwknop-1"])
    login = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert login.stdout == "hello\n"


def test_a_login_with_sudo_enrolls_by_the_name_that_only_ssh_knows(
    server: Server, client: Home
) -> None:
    said = client.enroll("--yes", "--name", "carol", "carol@other").stdout
    assert "logged in to other as carol\n" in said
    assert server.users() == "carol\ttcp/22\t15 s\t1 key\n"
    shut(server)
    assert client.run("ssh", "carol@other", "echo", "hello").stdout == "hello\n"
    assert client.run("ssh", f"carol@{SERVER4}", "echo", "hi").stdout == "hi\n"
    before = client.files()
    said = client.enroll("--name", "carol", "carol@other").stdout
    assert f"nothing to do: {client.profile} has it all\n" in said
    assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
    assert client.files() == before


def test_sudo_gets_its_password_from_the_terminal_once(
    server: Server, client: Home
) -> None:
    status, said = client.converse(
        *("spassh", "enroll", "--name", "dave", f"dave@{SERVER_NAME}"),
        answers={
            f"sudo password of dave on {SERVER_NAME}: ": "wrong",
            f"sudo password of dave on {SERVER_NAME}:": PASSWORD,
            "spassh: add an Include of ": "y",
        },
    )
    assert status == 0, said
    assert said.count("sudo password of") == 2
    assert PASSWORD not in said
    assert "test knock: the server lets" in said
    shut(server)
    login = client.run("ssh", f"dave@{SERVER_NAME}", "echo", "hello")
    assert login.stdout == "hello\n"


@pytest.mark.parametrize("login", ["dave", "eve"])
def test_sudo_that_asks_where_nobody_answers_is_told(
    server: Server, client: Home, login: str
) -> None:
    done = client.enroll(f"{login}@{SERVER_NAME}", check=False)
    assert done.returncode == 1
    assert (
        f"spassh: error: sudo on {SERVER_NAME} wants a password, and there is no"
        " terminal to ask for it\nspassh: hint: "
    ) in done.stderr
    assert server.users() == ""


def test_a_login_that_sudo_refuses_is_told(server: Server, client: Home) -> None:
    status, said = client.converse(
        *("spassh", "enroll", f"eve@{SERVER_NAME}"),
        answers={f"sudo password of eve on {SERVER_NAME}:": PASSWORD},
    )
    assert status == 1
    assert f"spassh: error: sudo on {SERVER_NAME} does not run spasshd: " in said
    assert "eve is not in the sudoers file" in said


def test_a_server_that_is_not_ready_is_told_and_enrolling_goes_on_later(
    bare: Server, client: Home
) -> None:
    bare.host.run(["rm", "-rf", "/etc/spassh"])
    words = ("--yes", "--name", "ada", f"root@{SERVER_NAME}")
    done = client.enroll(*words, check=False)
    assert done.returncode == 1
    said = f"spassh: error: spasshd on {SERVER_NAME}: {CONFIG}: no such file"
    assert said in done.stderr
    assert "spassh: hint: there: " in done.stderr
    assert "spasshd init" in done.stderr

    bare.init()
    done = client.enroll(*words, check=False)
    assert done.returncode == 1
    assert f"spassh: error: spasshd on {SERVER_NAME} is not running" in done.stderr

    bare.start()
    try:
        assert "test knock: the server lets" in client.enroll(*words).stdout
    finally:
        bare.stop()


def test_a_network_that_drops_knocks_is_told(
    lab: Lab, server: Server, client: Home
) -> None:
    rule = "type filter hook forward priority 0; udp dport 62201 drop;"
    wire = lab.network.wire
    wire.run(["nft", f"table bridge deaf {{ chain knocks {{ {rule} }}; }}"])
    try:
        done = client.enroll("--yes", f"root@{SERVER_NAME}", check=False)
    finally:
        wire.run(["nft", "delete table bridge deaf"])
    assert done.returncode == 1
    assert f"spassh: error: no knock arrived at {SERVER_NAME}\n" in done.stderr
    assert "UDP to its port 62201" in done.stderr


def test_who_has_imported_an_invite_enrolls_through_the_port_that_is_shut(
    lab: Lab, server: Server, client: Home
) -> None:
    """ssh knows nothing of spassh yet, and the port has been shut for long."""
    shut(server)
    words = ("spasshd", "user", "add", "ada", "--address", SERVER_NAME)
    client.accept(server.host.run(words).stdout.strip())
    plainly = ("ssh", "-o", "ConnectTimeout=1", f"root@{SERVER_NAME}", "true")
    assert client.run(*plainly, check=False).returncode == 255
    said = client.enroll("--yes", f"root@{SERVER_NAME}").stdout
    assert f"logged in to {SERVER_NAME} as root\n" in said
    login = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert login.stdout == "hello\n"


def test_another_name_of_a_server_that_is_shut_is_told_in_time(
    server: Server, client: Home
) -> None:
    client.enroll("--yes", "--name", "ada", f"root@{SERVER_NAME}")
    shut(server)
    done = client.enroll("root@other", check=False)
    assert done.returncode == 1
    assert "spassh: error: ssh does not get in to other\n" in done.stderr
    assert "goes into its 'hosts': see 'spassh list'" in done.stderr
