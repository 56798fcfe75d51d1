"""The ways that ssh takes to a guarded host: bastions, shared connections, families."""

import itertools
import os
import shutil
from collections.abc import Iterator

import pytest
from lab.network import SERVER4, SERVER6, STRANGER4
from lab.programs import RELAY_LINES, Client, Spasshd, Sshd

from .conftest import Lab

_numbers = itertools.count(1)

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Spasshd:
    made = lab.spasshd("--protect", "tcp/22")
    made.start()
    return made


@pytest.fixture(scope="module")
def other(lab: Lab) -> Iterator[Sshd]:
    """An sshd on another host, which nobody guards."""
    made = Sshd(lab.stranger, lab.path("other"), lab.sshd.user_key)
    yield made
    made.stop()


@pytest.fixture
def client(lab: Lab, server: Spasshd) -> Client:
    server.flush()
    return lab.client(server, f"user{next(_numbers)}")


def configuration(client: Client, *lines: str) -> list[str]:
    """Return options for ssh with a file: the ssh of a ProxyJump is given no others."""
    return ["-F", client.write_config(*lines)]


def test_a_jump_through_a_guarded_bastion_needs_nothing_more(
    client: Client, server: Spasshd, other: Sshd
) -> None:
    options = configuration(client)
    words = ["-J", "v4.server.test", STRANGER4, "echo", "hello"]
    assert client.run("ssh", *options, *words).stdout == "hello\n"
    assert server.status()["grants"]


def test_a_guarded_host_behind_a_bastion_is_knocked_at_from_there(
    lab: Lab, client: Client, server: Spasshd, other: Sshd
) -> None:
    """As the example says; the bastion's own profile and address count."""
    bastion = Client(lab.stranger, lab.path("bastion"), lab.sshd.user_key)
    bastion.accept(server.invite("bastion"), "--host", SERVER4)
    server.verb("reload")
    spassh = shutil.which("spassh", path=lab.stranger.environment["PATH"])
    path = os.path.join(client.directory, "config")
    home = f"SPASSH_CONFIG_HOME={bastion.directory}/spassh"
    options = configuration(
        client,
        f"Host {SERVER4}",
        f"    ProxyCommand ssh -F {path} {STRANGER4} env {home} {spassh} proxy"
        " -- %h %p",
        "    ProxyUseFdpass no",
    )
    said = client.run("ssh", *options, SERVER4, "echo", "hello")
    assert said.stdout == "hello\n"
    addresses = {one["address"] for one in server.status()["grants"]}
    assert addresses == {STRANGER4}


def test_a_shared_connection_takes_one_login(client: Client, server: Spasshd) -> None:
    share = [
        *("-o", "ControlMaster=auto"),
        *("-o", f"ControlPath={client.directory}/share"),
        *("-o", "ControlPersist=yes"),
    ]
    assert client.ssh(*share, "v4.server.test", "echo", "1").stdout == "1\n"
    granted = server.status()["counters"]["granted"]
    for word in ("2", "3"):
        assert client.ssh(*share, "v4.server.test", "echo", word).stdout == f"{word}\n"
    assert server.status()["counters"]["granted"] == granted
    client.ssh(*share, "-O", "exit", "v4.server.test")


@pytest.mark.parametrize("dead", [SERVER4, SERVER6])
def test_a_dead_family_costs_a_quarter_of_a_second(
    lab: Lab, client: Client, server: Spasshd, dead: str
) -> None:
    """The name has both; whichever is dead, the other one is taken."""
    program = "ip6tables" if ":" in dead else "iptables"
    lab.server.run([program, "-A", "OUTPUT", "-j", "DROP"])
    try:
        story = client.run(
            "ssh",
            *configuration(client),
            *("-o", "ProxyUseFdpass=no"),
            *("-o", "ProxyCommand=spassh proxy -v -- %h %p"),
            *("server.test", "echo", "hello"),
        )
    finally:
        lab.server.run([program, "-D", "OUTPUT", "-j", "DROP"])
    assert story.stdout == "hello\n"
    alive = SERVER4 if dead == SERVER6 else SERVER6
    assert f"connected to {alive}" in story.stderr


def test_a_profile_may_name_what_the_user_wrote(client: Client) -> None:
    """%n: the Host of ssh_config(5), whose HostName no profile names."""
    options = configuration(client, "Host web", f"    HostName {SERVER4}")
    options += ["-o", "ProxyCommand=spassh proxy --fdpass -- %h %p '%n' '%r'"]
    client.set_hosts("web")
    assert client.run("ssh", *options, "web", "echo", "hello").stdout == "hello\n"
    client.set_hosts("root@w*")
    assert client.run("ssh", *options, "web", "echo", "hello").stdout == "hello\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "port 22 of v4.server.test stays shut: no answer within 3 s"),
        (RELAY_LINES, "Connection timed out during banner exchange"),
    ],
    ids=["fdpass", "relay"],
)
def test_ssh_with_a_timeout_waits_for_the_socket_and_not_for_the_relay(
    lab: Lab, client: Client, lines: tuple[str, ...], said: str
) -> None:
    """Its ConnectTimeout begins when it has a connection, and a relay is one."""
    with open(client.profile, encoding="utf-8") as file:
        text = file.read()
    with open(client.profile, "w", encoding="utf-8") as file:
        # Where nobody hears the knock.
        file.write(text.replace("port = 62201", "port = 62202"))
    client.set_profile("timeout = 3")
    options = configuration(client, *lines)
    argv = ["ssh", *options, "-o", "ConnectTimeout=1", "v4.server.test", "true"]
    failed = client.run(*argv, check=False)
    assert failed.returncode == 255
    assert said in failed.stderr.splitlines()[0]
