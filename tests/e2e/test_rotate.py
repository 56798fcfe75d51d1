"""Keys that are replaced over real ssh, through a port that is shut."""

import os
import shutil
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest
from lab.inside import port_answers
from lab.network import CLIENT4, SERVER4, SERVER_NAME, wait_for
from lab.programs import Client

from .conftest import Lab
from .test_enroll import Home, Server, shut

pytestmark = [pytest.mark.login, pytest.mark.netns]


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
def site(lab: Lab, user_key: str) -> Server:
    hidden = lab.path("client-etc")
    os.mkdir(hidden)
    lab.client_host.own_etc(hidden)
    return Server(lab, user_key)


@pytest.fixture
def server(site: Server) -> Iterator[Server]:
    site.host.run(["rm", "-rf", "/etc/spassh"])
    site.init()
    site.start()
    yield site
    site.stop()


@pytest.fixture
def client(lab: Lab, user_key: str, site: Server) -> Home:
    home = Home(lab, user_key)
    with open(home.kept, "a", encoding="ascii") as file:
        file.write(
            "\nHost *\n    ProxyCommand spassh proxy --fdpass -- %h %p\n"
            "    ProxyUseFdpass yes\n"
        )
    return home


def copy_of(lab: Lab, client: Client) -> Client:
    """Return somebody with a copy of the client's keys, on another computer."""
    thief = Client(lab.stranger, lab.path("thief"), lab.sshd.user_key)
    shutil.copytree(
        os.path.join(client.directory, "spassh"),
        os.path.join(thief.directory, "spassh"),
    )
    return thief


def is_let_in(thief: Client) -> bool:
    thief.run("spassh", "knock", SERVER_NAME)
    return port_answers(thief.host, SERVER4, 22, 10)


def is_unknown(server: Server, thief: Client) -> bool:
    """Tell whether the server has seen a knock, and does not know the key."""
    server.host.run(["spasshd", "flush"])
    before = server.counters().get("unauthentic", 0)
    thief.run("spassh", "knock", SERVER_NAME)
    wait_for(
        lambda: server.counters().get("unauthentic", 0) > before, "the knock to arrive"
    )
    return not port_answers(thief.host, SERVER4, 22, 0.3)


def test_an_invite_is_worth_nothing_once_its_key_was_replaced(
    lab: Lab, server: Server, client: Home
) -> None:
    invite = server.host.run(
        ["spasshd", "user", "add", "ada", "--address", SERVER_NAME]
    ).stdout
    client.accept(invite, "--host", SERVER4)
    client.set_profile('width = "address"')
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\t1 invite\n"
    shut(server)
    thief = copy_of(lab, client)
    # Until then it is a key as good as any.
    assert is_let_in(thief)
    server.host.run(["spasshd", "flush"])
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)

    said = client.enroll(f"root@{SERVER_NAME}").stdout
    assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
    assert f"{SERVER_NAME} has forgotten the old key: spassh-public-" in said
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"
    assert is_unknown(server, thief)
    for name in (SERVER_NAME, SERVER4):
        assert client.run("ssh", f"root@{name}", "echo", "hello").stdout == "hello\n"

    files = client.files()
    assert f"nothing to do: {client.profile} has it all\n" in (
        client.enroll(f"root@{SERVER_NAME}").stdout
    )
    assert client.files() == files


@pytest.mark.parametrize("login", ["root", "carol"])
def test_a_rotated_key_lets_in_and_the_old_one_does_not(
    lab: Lab, server: Server, client: Home, login: str
) -> None:
    client.enroll("--name", "ada", f"{login}@{SERVER_NAME}")
    client.set_profile('width = "address"')
    shut(server)
    thief = copy_of(lab, client)
    assert is_let_in(thief)
    said = client.run("spassh", "rotate", f"{login}@{SERVER_NAME}").stdout
    assert f"test knock: the server lets {CLIENT4} reach tcp/22 for " in said
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"
    assert is_unknown(server, thief)
    done = client.run("ssh", f"{login}@{SERVER_NAME}", "echo", "hello")
    assert done.stdout == "hello\n"
    # A second time, by the key that the first one made.
    first = client.files()[client.profile]
    client.run("spassh", "rotate", f"{login}@{SERVER_NAME}")
    assert client.files()[client.profile] != first
    done = client.run("ssh", f"{login}@{SERVER_NAME}", "echo", "hello")
    assert done.stdout == "hello\n"
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"


def test_a_rotation_without_a_way_for_knocks_goes_on_when_there_is_one(
    lab: Lab, server: Server, client: Home
) -> None:
    client.enroll("--name", "ada", f"root@{SERVER_NAME}")
    rule = "type filter hook forward priority 0; udp dport 62201 drop;"
    wire = lab.network.wire
    wire.run(["nft", f"table bridge deaf {{ chain knocks {{ {rule} }}; }}"])
    try:
        done = client.run("spassh", "rotate", f"root@{SERVER_NAME}", check=False)
    finally:
        wire.run(["nft", "delete table bridge deaf"])
    assert done.returncode == 1
    assert f"spassh: error: no knock arrived at {SERVER_NAME}\n" in done.stderr
    assert server.users() == "ada\ttcp/22\t15 s\t2 keys\n"

    shut(server)
    done = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert done.stdout == "hello\n"
    client.run("spassh", "rotate", f"root@{SERVER_NAME}")
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"
    server.host.run(["spasshd", "flush"])
    done = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert done.stdout == "hello\n"


def test_a_rotation_that_is_killed_between_the_two_keys_leaves_one_that_works(
    server: Server, client: Home
) -> None:
    """At the moment at which the server has both, and the profile has the new one."""
    client.enroll("--name", "ada", f"root@{SERVER_NAME}")
    shut(server)
    # The program ends like that if it cannot write the second line.
    done = client.run(
        *("sh", "-c"),
        f"spassh rotate root@{SERVER_NAME} | sed -n '/has the new key$/q'",
        check=False,
    )
    assert done.returncode == 0
    keys = server.users()
    done = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert done.stdout == "hello\n"
    if "2 keys" in keys:
        client.run("spassh", "rotate", f"root@{SERVER_NAME}")
    assert server.users() == "ada\ttcp/22\t15 s\t1 key\n"
    done = client.run("ssh", f"root@{SERVER_NAME}", "echo", "hello")
    assert done.stdout == "hello\n"
