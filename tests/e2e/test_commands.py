"""Commands that users may run with `spassh run`, and nothing else."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from lab.knocks import knock
from lab.network import SERVER4, STRANGER4, wait_for
from lab.packets import send
from lab.programs import Client, Spasshd
from lab.users import set_lines

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

COMMANDS = """
[[command]]
name = "write"
argv = ["/bin/sh", "-c", 'echo "$(id -un) got $1 of $SPASSH_USER" | tee -a "$2"',
    "sh", "{word}", "FILE"]
word = "[a-z0-9-]{1,16}"

[[command]]
name = "env"
argv = ["/usr/bin/env"]
run_as = "daemon"

[[command]]
name = "sleep"
argv = ["/bin/sleep", "{time}"]
time = "[0-9]{1,3}"
timeout = 1
"""

NET_ADMIN, NET_RAW, KILL, SETGID, SETUID = 12, 13, 5, 6, 7


@pytest.fixture(scope="module")
def shared() -> Iterator[str]:
    """Return a directory that every account can write to."""
    path = tempfile.mkdtemp()
    os.chmod(path, 0o777)  # noqa: S103 - accounts of commands and hooks write there
    yield path
    shutil.rmtree(path)


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def granter_capabilities(spasshd: Spasshd) -> int:
    pid = spasshd.running.process.pid
    (child,) = read(f"/proc/{pid}/task/{pid}/children").split()
    status = read(f"/proc/{child}/status")
    return int(status.split("CapPrm:\t")[1].split("\n")[0], 16)


@pytest.fixture(scope="module")
def server(lab: Lab, shared: str) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    text = COMMANDS.replace("FILE", os.path.join(shared, "written"))
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(text)
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


@pytest.fixture(scope="module")
def alice(lab: Lab, server: Spasshd) -> Client:
    """Make the user who may run all of them."""
    client = lab.client(server)
    set_lines(server, "alice", 'commands = ["write", "env", "sleep"]')
    server.verb("reload")
    return client


def write_argv(shared: str, word: str) -> list[str]:
    script = 'echo "$(id -un) got $1 of $SPASSH_USER" | tee -a "$2"'
    path = os.path.join(shared, "written")
    return ["/bin/sh", "-c", script, "sh", word, path]


def test_a_command_runs_once_as_its_account_and_the_log_has_its_output(
    server: Spasshd, alice: Client, shared: str
) -> None:
    asked = alice.run(
        "spassh", "run", "v4.server.test", "--", *write_argv(shared, "me")
    )
    assert "asked v4.server.test" in asked.stderr + asked.stdout

    server.running.wait_log('output name=write text="nobody got me of alice"')
    assert read(os.path.join(shared, "written")) == "nobody got me of alice\n"
    assert "ordered user=alice address=192.0.2.2 command=write" in server.running.log
    assert " run_as=nobody status=0 seconds=" in server.running.log
    assert server.status()["grants"] == []


def test_a_command_that_is_sent_again_does_not_run_again(
    lab: Lab, server: Spasshd, alice: Client, shared: str
) -> None:
    datagram = knock_command(alice, write_argv(shared, "twice"))
    server.running.wait_log('text="nobody got twice of alice"')

    send(lab.stranger, SERVER4, datagram)

    server.running.wait_log(f"replayed user=alice address={STRANGER4}")
    knock_command(alice, write_argv(shared, "last"))
    server.running.wait_log('text="nobody got last of alice"')
    assert read(os.path.join(shared, "written")).count("got twice") == 1


def knock_command(client: Client, argv: list[str]) -> bytes:
    nothing: dict[str, Any] = {"protocol": 0}
    return knock(client, SERVER4, 0, command=tuple(argv), **nothing)


def test_a_command_has_a_clean_environment_and_its_own_account(
    server: Spasshd, alice: Client
) -> None:
    alice.run("spassh", "run", "v4.server.test", "--", "/usr/bin/env")

    server.running.wait_log('output name=env text="SPASSH_ADDRESS=192.0.2.2"')
    lines = server.running.log.splitlines()
    found = [line.split("text=", 1)[1] for line in lines if "output name=env" in line]
    names = {line.strip('"').split("=")[0] for line in found}
    assert names == {
        "PATH",
        "LC_ALL",
        "HOME",
        "USER",
        "LOGNAME",
        "SPASSH_USER",
        "SPASSH_ADDRESS",
    }
    assert '"USER=daemon"' in found


REFUSED = [
    ["/usr/bin/env", "-i"],
    ["/usr/bin/id"],
    ["/bin/sleep", "1; touch TOUCHED"],
    ["/bin/sleep", "$(touch TOUCHED)"],
    ["/bin/sleep", "`touch TOUCHED`"],
    ["/bin/sleep", "1\ntouch TOUCHED"],
    ["/bin/sleep", "-1"],
    ["/bin/sleep", ""],
    ["/bin/sh", "-c", "touch TOUCHED"],
]


def test_what_matches_no_command_is_refused_and_meets_no_shell(
    server: Spasshd, alice: Client, shared: str
) -> None:
    touched = os.path.join(shared, "touched")
    before = server.status()["counters"]
    for argv in REFUSED:
        words = [word.replace("TOUCHED", touched) for word in argv]
        alice.run("spassh", "run", "v4.server.test", "--", *words)

    wanted = before.get("refused", 0) + len(REFUSED)
    wait_for(lambda: server.status()["counters"].get("refused", 0) == wanted, "them")
    assert server.status()["counters"]["ordered"] == before["ordered"]
    assert 'reason="the command is none of the user\'s commands"' in server.running.log
    assert not os.path.exists(touched)


def test_a_command_ends_after_its_time(server: Spasshd, alice: Client) -> None:
    alice.run("spassh", "run", "v4.server.test", "--", "/bin/sleep", "300")
    server.running.wait_log('argv="/bin/sleep 300" run_as=nobody status=timeout')


def test_who_has_no_commands_is_refused(lab: Lab, server: Spasshd) -> None:
    bob = lab.client(server, "bob")
    bob.run("spassh", "run", "v4.server.test", "--", "/usr/bin/env")
    server.running.wait_log(
        'refused user=bob address=192.0.2.2 reason="commands are not allowed"'
    )


def test_the_granter_can_become_others_only_with_commands(
    lab: Lab, server: Spasshd
) -> None:
    network = 1 << NET_ADMIN | 1 << NET_RAW
    others = 1 << KILL | 1 << SETGID | 1 << SETUID
    assert granter_capabilities(server) == network | others
    without = lab.spasshd()
    without.start()
    assert granter_capabilities(without) == network
    assert without.running.stop() == 0
    without.verb("stop", "--open")
