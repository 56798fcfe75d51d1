"""`spassh lock`: the port is shut for good only if somebody has been in.

Whatever fails or is killed on the way, the server is open as before when the trial is
over, or it is shut and we have been in.
"""

import signal
import subprocess
import tomllib

import pytest
from lab.inside import port_answers
from lab.network import SERVER4, SERVER_NAME, wait_for

from .conftest import Lab
from .test_enroll import (  # noqa: F401 - fixtures
    CONFIG,
    PASSWORD,
    Home,
    Server,
    _client_etc,
    bare,
    client,
    server,
    user_key,
)

pytestmark = [pytest.mark.login, pytest.mark.netns]

ROOT = f"root@{SERVER_NAME}"


@pytest.fixture
def enrolled(server: Server, client: Home) -> Home:  # noqa: F811
    """A client whose ssh goes through spassh, and a server that is open."""
    client.enroll("--yes", "--name", "ada", ROOT)
    client.set_profile('width = "address"')
    # What the test knock has opened would let us in without another.
    server.host.run(["spasshd", "flush"])
    return client


def protected(server: Server) -> list[str]:  # noqa: F811
    """Return what spasshd.toml protects."""
    text = server.host.run(["cat", CONFIG]).stdout
    found: list[str] = tomllib.loads(text)["protect"]
    return found


def commands_of(home: Home) -> set[int]:
    """Return the processes of ssh that run a command, beside those that only log in."""
    return {*home.host.running("/ssh -a -x -T ")} - {*home.host.running(" -f -N ")}


def is_open(lab: Lab) -> bool:
    """Tell whether anybody gets to the port."""
    return port_answers(lab.stranger, SERVER4, 22)


def test_lock_shuts_the_port_and_unlock_opens_it(
    lab: Lab,
    server: Server,  # noqa: F811
    enrolled: Home,
) -> None:
    assert is_open(lab)
    said = enrolled.run("spassh", "lock", ROOT).stdout
    assert said == (
        f"{SERVER_NAME} drops tcp/22 on trial; now to get in all the same\n"
        "got in: knocked, and logged in anew\n"
        f"locked: {SERVER_NAME} drops tcp/22 for everybody without a knock\n"
    )
    assert protected(server) == ["tcp/22"]
    assert not is_open(lab)
    server.host.run(["spasshd", "flush"])
    assert enrolled.run("ssh", ROOT, "echo", "in").stdout == "in\n"

    # Again, and after a restart, it changes nothing.
    said = enrolled.run("spassh", "lock", ROOT).stdout
    assert f"{SERVER_NAME} drops tcp/22 already; now to get in all the same\n" in said
    server.restart()
    assert not is_open(lab)

    said = enrolled.run("spassh", "unlock", ROOT).stdout
    assert said == f"unlocked: {SERVER_NAME} does not drop tcp/22 any more\n"
    assert protected(server) == []
    assert is_open(lab)
    assert enrolled.run("spassh", "unlock", ROOT).stdout == said


def test_a_login_with_sudo_is_asked_for_the_password_once(
    lab: Lab,
    server: Server,  # noqa: F811
    enrolled: Home,
) -> None:
    status, said = enrolled.converse(
        *("spassh", "lock", f"dave@{SERVER_NAME}"),
        answers={f"sudo password of dave on {SERVER_NAME}: ": PASSWORD},
    )
    assert status == 0, said
    assert said.count("sudo password of") == 1
    assert protected(server) == ["tcp/22"]
    assert not is_open(lab)


def test_where_no_knock_arrives_it_is_rolled_back_at_once(
    lab: Lab,
    server: Server,  # noqa: F811
    enrolled: Home,
) -> None:
    enrolled.set_profile("timeout = 2")
    rule = "type filter hook forward priority 0; udp dport 62201 drop;"
    wire = lab.network.wire
    wire.run(["nft", f"table bridge deaf {{ chain knocks {{ {rule} }}; }}"])
    try:
        done = enrolled.run("spassh", "lock", ROOT, check=False)
    finally:
        wire.run(["nft", "delete table bridge deaf"])
    assert done.returncode == 1
    assert f"{SERVER_NAME}: rolled back\n" in done.stdout
    assert f"spassh: error: ssh does not get in to {SERVER_NAME}\n" in done.stderr
    assert protected(server) == []
    assert is_open(lab)


def test_without_spassh_in_ssh_nothing_is_begun(
    server: Server,  # noqa: F811
    client: Home,  # noqa: F811
) -> None:
    done = client.run("spassh", "lock", ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"spassh: error: ssh does not go through spassh to {SERVER_NAME}\n"
        f"spassh: hint: begin with 'spassh enroll {ROOT}'\n"
    )


def test_killed_at_any_step_it_is_on_trial_or_we_have_been_in(
    lab: Lab,
    server: Server,  # noqa: F811
    enrolled: Home,
) -> None:
    for step in range(1, 20):
        logins = server.sshd.log.count("Accepted publickey")
        process = enrolled.popen(
            *("spassh", "lock", "-v", ROOT),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        for number, _ in enumerate(process.stderr, 1):
            if number == step:
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=60)
        finished = process.returncode == 0
        # The ssh that it had started goes on, and what that has begun on the server.
        wait_for(lambda: not commands_of(enrolled), "ssh to be done")
        server.wait_verbs()
        if protected(server):
            assert server.sshd.log.count("Accepted publickey") >= logins + 2
            server.host.run(["spasshd", "unprotect", "tcp/22"])
        else:
            server.host.run(["spasshd", "protect", "--roll-back"])
        assert is_open(lab)
        server.host.run(["spasshd", "flush"])
        if finished:
            assert step > 6
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_whoever_is_asked_to_end_rolls_back(
    lab: Lab,
    server: Server,  # noqa: F811
    enrolled: Home,
    number: int,
    code: int,
) -> None:
    before = set(enrolled.host.running("ssh "))
    process = enrolled.popen(
        *("spassh", "lock", "-v", ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stderr:
        if b"running on the server:" in line and b"protect tcp/22" in line:
            break
    for line in process.stderr:
        if b"exit status 0" in line:
            break
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"{SERVER_NAME}: rolled back\n".encode() in said
    assert protected(server) == []
    assert is_open(lab)
    # Neither of the two logins is left open.
    wait_for(lambda: set(enrolled.host.running("ssh ")) <= before, "the logins to end")


def test_locking_again_ends_no_trial_of_somebody_else(
    lab: Lab,
    server: Server,  # noqa: F811
    enrolled: Home,
) -> None:
    server.host.run(["spasshd", "protect", "tcp/22"])
    done = enrolled.run("spassh", "lock", ROOT, check=False)
    assert done.returncode == 1
    assert "tcp/22 is on trial already, for " in done.stderr
    assert "spassh: hint: there: wait for that, or end it: " in done.stderr
    assert not is_open(lab)
    server.host.run(["spasshd", "protect", "--roll-back"])
