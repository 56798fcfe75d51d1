"""The daemon's life: ready, reload, stop, killed, restarted; and what it may do."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from lab.inside import Silence, port_answers
from lab.knocks import knock
from lab.network import CLIENT4, SERVER4, wait_for
from lab.notify import ALIVE, READY, STOPPING, managed
from lab.programs import Spasshd
from lab.syscalls import children, fields, state

from spassh_server.cli import EXIT_STOPPED

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]


@pytest.fixture
def server(lab: Lab) -> Iterator[Spasshd]:
    spasshd = lab.spasshd("--protect", "tcp/22")
    # So that none ends while a test looks at it.
    spasshd.edit("lifetime = 15 ", "lifetime = 300 ")
    spasshd.start()
    yield spasshd
    spasshd.running.stop()
    spasshd.verb("stop", "--open", check=False)


def test_the_listener_is_nobody_and_can_do_nothing(server: Spasshd) -> None:
    listener = fields(server.running.process.pid)
    assert 0 not in map(int, listener["Uid"].split())
    assert 0 not in map(int, listener["Gid"].split())
    assert listener["Groups"].strip() == ""
    assert [
        int(listener[f"Cap{one}"], 16) for one in ("Eff", "Prm", "Inh", "Amb", "Bnd")
    ] == [0] * 5
    assert listener["NoNewPrivs"] == "1"


def test_the_granter_is_another_program_with_the_network_capabilities_alone(
    server: Spasshd,
) -> None:
    (pid,) = children(server.running.process.pid)
    granter = fields(pid)
    net_admin_and_raw = 1 << 12 | 1 << 13
    assert [int(granter[f"Cap{one}"], 16) for one in ("Eff", "Prm", "Bnd")] == [
        net_admin_and_raw
    ] * 3
    assert granter["NoNewPrivs"] == "1"
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        maps = file.read()
    assert "cryptography" not in maps
    assert "libpcap" not in maps


def test_nothing_listens_on_any_port(lab: Lab, server: Spasshd) -> None:
    listening = lab.server.run(["ss", "-Hlntup"]).stdout
    assert "spasshd" not in listening
    assert "python" not in listening
    assert "62201" not in listening


def test_a_new_user_is_taken_up_while_the_daemon_runs(
    lab: Lab, server: Spasshd
) -> None:
    client = lab.client(server, "bob")
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"


def test_sighup_takes_users_over_and_keeps_grants(lab: Lab, server: Spasshd) -> None:
    client = lab.client(server)
    knock(client, SERVER4)
    server.wait_grants({"alice"})
    os.unlink(os.path.join(server.directory, "users.d", "alice.toml"))

    server.running.process.send_signal(signal.SIGHUP)

    server.running.wait_log("reloaded users=0")
    assert [one["address"] for one in server.status()["grants"]] == [CLIENT4]
    server.flush()
    before = server.status()["counters"].get("unauthentic", 0)
    knock(client, SERVER4)
    wait_for(
        lambda: server.status()["counters"].get("unauthentic", 0) > before,
        "a knock of nobody to be counted",
    )
    assert server.status()["grants"] == []
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


def test_a_broken_user_file_changes_nothing_for_its_user(
    lab: Lab, server: Spasshd
) -> None:
    client = lab.client(server)
    path = os.path.join(server.directory, "users.d", "alice.toml")
    with open(path, "a", encoding="utf-8") as file:
        file.write("prots = []\n")

    assert server.verb("reload", check=False).returncode == 1

    assert "unknown key" in server.running.log
    assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"


def test_a_daemon_that_cannot_start_closes_nothing(lab: Lab) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    os.chmod(os.path.join(spasshd.directory, "server.key"), 0o644)

    started = spasshd.verb("run", check=False)

    assert started.returncode == 1
    assert "server.key: readable or writable by others" in started.stderr
    assert port_answers(lab.stranger, SERVER4, 22)


def test_a_flush_of_all_rules_is_mended_without_waiting_for_a_knock(
    lab: Lab, server: Spasshd
) -> None:
    """As `systemctl reload nftables` does on Debian."""
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)

    lab.server.run(["nft", "flush", "ruleset"])

    server.running.wait_log("repaired firewall=nftables")
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)


def test_a_log_that_nobody_reads_stops_no_grant(lab: Lab) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    argv = ["spasshd", "run", "--config", spasshd.config]
    process = lab.server.popen(argv, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b"ready" in line:
                break
        client = lab.client(spasshd)
        os.set_blocking(process.stderr.fileno(), False)
        # Fill the pipe to the last byte, as a log reader that hangs lets it become.
        end = os.open(f"/proc/{process.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(end, b"x")
        except BlockingIOError:
            os.close(end)

        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    finally:
        process.kill()
        process.communicate()
        spasshd.verb("stop", "--open")


def test_readiness_is_told_to_systemd_once_it_is_true(lab: Lab) -> None:
    spasshd = lab.spasshd()
    with managed(spasshd) as manager:
        assert manager.recv(64) == READY
        assert spasshd.status()["ready"] is True
        assert spasshd.running.stop() == 0
        assert manager.recv(64) == STOPPING


def test_the_watchdog_hears_nothing_while_the_granter_hangs(lab: Lab) -> None:
    spasshd = lab.spasshd()
    with managed(spasshd, watchdog=1) as manager:
        assert manager.recv(64) == READY
        assert [manager.recv(64) for _ in range(3)] == [ALIVE] * 3
        listener = spasshd.running.process.pid
        (granter,) = children(listener)

        os.kill(granter, signal.SIGSTOP)
        try:
            wait_for(lambda: state(granter) == "T", "the granter to hang")
            # So long that it has been asked again and again.
            seen = wakes(listener)
            wait_for(lambda: wakes(listener) > seen + 3, "the listener to ask")
            manager.setblocking(False)
            # What the granter had answered before, at most.
            assert heard(manager) in ([], [ALIVE])
        finally:
            os.kill(granter, signal.SIGCONT)

        manager.settimeout(30)
        assert manager.recv(64) == ALIVE


def wakes(pid: int) -> int:
    """Return how often a process has gone to sleep by itself."""
    return int(fields(pid)["voluntary_ctxt_switches"])


def heard(sock: socket.socket) -> list[bytes]:
    """Return the datagrams that wait in a socket that does not block."""
    found = []
    try:
        while True:
            found.append(sock.recv(64))
    except BlockingIOError:
        return found


@pytest.mark.parametrize("victim", ["listener", "granter"])
@pytest.mark.parametrize(
    ("backend", "ipset"), [("nftables", True), ("iptables", True), ("iptables", False)]
)
def test_the_hole_closes_and_the_drop_stays_when_a_program_is_killed(
    lab: Lab, victim: str, backend: str, ipset: bool
) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", backend)
    spasshd.edit("lifetime = 15 ", "lifetime = 3 ")
    if not ipset:
        spasshd.edit("backend =", "ipset = false\nbackend =")
    spasshd.start()
    try:
        client = lab.client(spasshd)
        client.ssh("v4.server.test", "true")
        pid = spasshd.running.process.pid
        os.kill(pid if victim == "listener" else children(pid)[0], signal.SIGKILL)

        assert spasshd.running.process.wait(60) != 0

        wait_for(
            lambda: not port_answers(lab.client_host, SERVER4, 22, 0.3),
            "the hole to close",
        )
        assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
        spasshd.start()
        assert client.ssh("v4.server.test", "echo", "back").stdout == "back\n"
        assert spasshd.running.stop() == 0
    finally:
        spasshd.verb("stop", "--open", check=False)
    assert port_answers(lab.stranger, SERVER4, 22)


def test_a_restart_leaves_no_moment_without_the_drop(lab: Lab, server: Spasshd) -> None:
    with Silence(lab.stranger, [SERVER4]) as silence:
        for _ in range(3):
            assert server.running.stop() == 0
            server.start()
    assert silence.tries
    assert silence.answered == []
    # Whoever tries in this way does hear an answer, where there is no drop.
    assert server.running.stop() == 0
    server.verb("stop", "--open")
    with Silence(lab.stranger, [SERVER4]) as silence:
        wait_for(lambda: silence.answered, "an answer")


@pytest.mark.parametrize("mistake", ["lifetme = 9", "= ["])
def test_the_way_back_is_open_whatever_the_configuration_is_like(
    lab: Lab, mistake: str
) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.start()
    assert spasshd.running.stop() == 0
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
    with open(spasshd.config, "a", encoding="utf-8") as file:
        file.write(f"{mistake}\n")

    done = spasshd.verb("stop", "--open")

    assert spasshd.firewall_name in done.stderr
    assert port_answers(lab.stranger, SERVER4, 22)


def test_stop_keeps_the_drop_and_stop_open_takes_everything_away(
    lab: Lab, server: Spasshd
) -> None:
    told = json.loads(server.verb("status", "--json").stdout)
    assert (told["running"], told["in_place"]) == (True, True)
    server.verb("stop")
    assert server.running.process.wait(60) == EXIT_STOPPED
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)

    server.verb("stop", "--open")

    assert port_answers(lab.stranger, SERVER4, 22)
    state = server.verb("status", check=False)
    assert "protected: tcp/22 (not in place)\n" in state.stdout
    assert server.firewall_name not in lab.server.run(["nft", "list", "ruleset"]).stdout


def test_a_second_daemon_with_the_same_configuration_is_refused(
    server: Spasshd,
) -> None:
    second = server.verb("run", check=False)
    assert second.returncode == 1
    assert "spasshd runs already" in second.stderr
    assert server.running.process.poll() is None


def test_two_daemons_with_two_configurations_live_side_by_side(
    lab: Lab, server: Spasshd
) -> None:
    second = lab.spasshd("--protect", "tcp/2222")
    second.start()
    try:
        client = lab.client(server)
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    finally:
        assert second.running.stop() == 0
        second.verb("stop", "--open")
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)


def test_status_says_when_the_daemon_does_not_run(lab: Lab) -> None:
    spasshd = lab.spasshd()
    status = spasshd.verb("status", check=False)
    assert status.returncode == 3
    assert "spasshd is not running" in status.stdout


def test_init_protects_nothing_unless_told_and_overwrites_nothing(lab: Lab) -> None:
    spasshd = lab.spasshd()
    with open(spasshd.config, encoding="utf-8") as file:
        assert "protect = []" in file.read()
    again = spasshd.verb("init", check=False)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_user_add_prints_one_invite_line_and_nothing_else(lab: Lab) -> None:
    spasshd = lab.spasshd()
    added = spasshd.verb("user", "add", "carol")
    assert added.stdout.startswith("spassh-invite-1-")
    assert added.stdout.count("\n") == 1
    again = spasshd.verb("user", "add", "carol", check=False)
    assert (again.returncode, again.stdout) == (1, "")


def test_user_add_with_the_clients_own_key_prints_no_secret(
    lab: Lab, server: Spasshd
) -> None:
    client = lab.client()
    public = client.run("spassh", "keygen").stdout.strip()
    client.accept(server.invite("dave", "--key", public))
    assert client.ssh("server.test", "echo", "in").stdout == "in\n"
    profiles = os.path.join(client.directory, "spassh", "profiles")
    for name in os.listdir(profiles):
        with open(os.path.join(profiles, name), encoding="utf-8") as file:
            assert "spassh-secret-" not in file.read()


def test_the_firewall_that_is_loaded_after_us_is_mended_at_the_next_knock(
    lab: Lab,
) -> None:
    """A boot script that flushes INPUT must not lock the owner out."""
    spasshd = lab.spasshd("--protect", "tcp/22", "--backend", "nftables")
    spasshd.start()
    client = lab.client(spasshd)
    rules = (
        "*filter\n:INPUT DROP\n:FORWARD DROP\n:OUTPUT ACCEPT\n"
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\nCOMMIT\n"
    )
    try:
        lab.server.run(["iptables-restore"], text=rules)
        assert client.ssh("v4.server.test", "echo", "in").stdout == "in\n"
    finally:
        lab.server.run(["iptables", "-P", "INPUT", "ACCEPT"])
        lab.server.run(["iptables", "-F", "INPUT"])
        spasshd.running.stop()
        spasshd.verb("stop", "--open")
