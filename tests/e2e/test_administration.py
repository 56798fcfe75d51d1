"""What the administrator changes and watches while the daemon runs."""

import json
import os
import re
import signal
from collections.abc import Iterator

import pytest
from lab.inside import port_answers
from lab.knocks import knock
from lab.network import CLIENT4, SERVER4, SERVER_NAME
from lab.programs import Client, Spasshd
from lab.users import set_lines, user_file

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield spasshd
    assert spasshd.running.stop() == 0
    spasshd.verb("stop", "--open")


@pytest.fixture(scope="module")
def alice(lab: Lab, server: Spasshd) -> Client:
    return lab.client(server)


def user_table(server: Spasshd, name: str, *lines: str) -> str:
    """Return the user's file as a table of the configuration, and remove the file."""
    path = user_file(server, name)
    with open(path, encoding="utf-8") as file:
        text = file.read().replace("[[key]]", f"[[users.{name}.key]]")
    os.unlink(path)
    return "\n".join([f"\n[users.{name}]", *lines, text])


def test_users_may_be_in_the_configuration_file_if_nobody_else_reads_it(
    lab: Lab, server: Spasshd
) -> None:
    client = lab.client(server, "mainly")
    table = user_table(server, "mainly")
    with open(server.config, encoding="utf-8") as file:
        before = file.read()
    try:
        with open(server.config, "a", encoding="utf-8") as file:
            file.write(table)
        os.chmod(server.config, 0o644)
        refused = server.verb("reload", check=False)
        assert refused.returncode == 1
        assert f"{server.config}: readable or writable by others" in refused.stderr
        assert "hint: " in refused.stderr
        # The daemon itself, and not just the verb.
        assert "readable or writable by others" not in server.running.log
        server.running.process.send_signal(signal.SIGHUP)
        server.running.wait_log(f"{server.config}: readable or writable by others")

        os.chmod(server.config, 0o600)
        server.verb("reload")
        server.flush()
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"

        server.edit("[users.mainly]\n", "[users.mainly]\nexpires = 2020-01-01\n")
        server.verb("reload")
        server.flush()
        knock(client, SERVER4)
        server.running.wait_log('refused user=mainly address=192.0.2.2 reason="the')
        assert "the user has expired" in server.running.log
        assert server.status()["grants"] == []
    finally:
        with open(server.config, "w", encoding="utf-8") as file:
            file.write(before)
        server.verb("reload")


def test_a_directory_of_users_that_is_gone_locks_nobody_out(
    lab: Lab, server: Spasshd, alice: Client
) -> None:
    users = os.path.dirname(user_file(server, "alice"))
    os.rename(users, f"{users}.old")
    try:
        refused = server.verb("reload", check=False)
        assert refused.returncode == 1
        assert f"{users}: cannot be opened\n" in refused.stderr
        assert "hint: its users stay as before" in refused.stderr
        server.running.wait_log(f"{users}: No such file or directory")
        server.flush()
        assert alice.ssh("v4.server.test", "echo", "in").stdout == "in\n"

        # One that is empty is another matter.
        os.mkdir(users, 0o700)
        server.verb("reload")
        assert server.status()["users"] == 0
        os.rmdir(users)
    finally:
        os.rename(f"{users}.old", users)
        server.verb("reload")
    server.flush()
    assert alice.ssh("v4.server.test", "echo", "in").stdout == "in\n"


def test_rotated_keys_overlap_until_the_old_one_ends(lab: Lab, server: Spasshd) -> None:
    old = lab.client(server, "rose")
    new = lab.client()
    invite = server.verb(
        "user", "rotate", "rose", "--overlap", "1", "--address", SERVER_NAME
    ).stdout.strip()
    new.accept(invite, "--host", "v4.server.test")
    for client in (old, new):
        server.flush()
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"

    path = user_file(server, "rose")
    with open(path, encoding="utf-8") as file:
        text, count = re.subn("expires = 20.*Z", "expires = 2020-01-01", file.read())
    assert count == 1
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    server.verb("reload")

    server.flush()
    knock(old, SERVER4)
    server.running.wait_log(
        f'refused user=rose address={CLIENT4} reason="the user\'s key has expired"'
    )
    assert server.status()["grants"] == []
    assert new.ssh("v4.server.test", "echo", "in").stdout == "in\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("expires = 2020-01-01", "the user has expired"),
        ("not_before = 2100-01-01", "the user is not allowed in yet"),
        (
            'sources = ["198.51.100.0/24"]',
            "the packet's source is not in the user's sources",
        ),
    ],
)
def test_who_is_not_let_in_now_is_refused_with_the_reason(
    lab: Lab, server: Spasshd, line: str, reason: str
) -> None:
    name = line.partition(" ")[0].replace("_", "-")
    client = lab.client(server, name)
    set_lines(server, name, line)
    server.verb("reload")
    server.flush()

    knock(client, SERVER4)

    said = f'refused user={name} address={CLIENT4} reason="{reason}"'
    server.running.wait_log(said)
    assert server.status()["grants"] == []
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


def test_metrics_count_what_happened(server: Spasshd, alice: Client) -> None:
    server.flush()

    def metrics() -> dict[str, float]:
        lines = server.verb("metrics").stdout.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    before = metrics()
    knock(alice, SERVER4)
    server.wait_grants({"alice"})
    after = metrics()

    granted = 'spassh_packets_total{outcome="granted"}'
    assert after[granted] == before[granted] + 1
    assert after['spassh_packets_total{outcome="bug"}'] == 0
    assert after['spassh_grants{port="tcp/22"}'] == 1
    assert after["spassh_up"] == after["spassh_ready"] == after["spassh_in_place"] == 1
    assert after["spassh_frames_total"] > before["spassh_frames_total"]
    path = os.path.join(server.directory, "spassh.prom")
    server.verb("metrics", "--output", path)
    with open(path, encoding="ascii") as file:
        assert "spassh_up 1\n" in file.read()


def test_metrics_without_a_daemon_say_that_it_is_down(lab: Lab) -> None:
    done = lab.spasshd().verb("metrics", check=False)
    assert done.returncode == 3
    assert "spassh_up 0\n" in done.stdout
    assert "spassh_packets_total" not in done.stdout


def test_a_log_in_json_is_nothing_but_json(lab: Lab) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.edit("backend =", 'log = "json"\nbackend =')
    spasshd.start('"ready"')
    try:
        client = lab.client(spasshd)
        path = os.path.join(spasshd.directory, "users.d", "broken\n.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("ports = 1\n")
        spasshd.verb("reload", check=False)
        knock(client, SERVER4)
        knock(client, SERVER4, 80)
        spasshd.running.wait_log("is not in the user's ports")
    finally:
        assert spasshd.running.stop() == 0
        spasshd.verb("stop", "--open")

    events = [json.loads(line) for line in spasshd.running.log.splitlines()]

    assert all({"time", "event"} <= one.keys() for one in events)
    named = {one["event"]: one for one in events}
    assert {"ready", "granted", "refused", "error", "stopped"} <= named.keys()
    assert named["granted"]["address"] == CLIENT4
    assert named["granted"]["seconds"] == 15
    assert named["refused"]["reason"] == "tcp/80 is not in the user's ports"


def test_check_warns_of_what_this_host_cannot_do(lab: Lab) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", "iptables")
    for name, widths in (("flo", '["flow"]'), ("ona", '["once"]')):
        spasshd.invite(name)
        set_lines(spasshd, name, f"widths = {widths}")
    with_sets = spasshd.verb("check").stdout
    assert "firewall: iptables (" in with_sets
    assert "widths: flow, once, address\n" in with_sets
    assert "warning: flo is let in only where no NAT rewrites source ports" in with_sets

    spasshd.edit("backend =", "ipset = false\nbackend =")
    without = spasshd.verb("check").stdout

    assert "widths: flow, address\n" in without
    assert "warning: iptables can do none of the widths of ona: once" in without
