"""`spassh doctor`: what keeps a login from working is found, and the remedy mends it.

Server and client have an /etc of their own, as for enrolling. Where the remedy is a
command, it is what the doctor has printed that is run.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from lab.inside import port_answers
from lab.network import CLIENT4, SERVER4, SERVER6, SERVER_NAME, run, wait_for

from .conftest import Lab
from .test_enroll import Home, Server

pytestmark = [pytest.mark.login, pytest.mark.netns]

TARGET = f"root@{SERVER_NAME}"

CHECKS = {
    *("ssh_config", "profile", "files", "name", "route", "port", "family", "udp"),
    *("access", "login", "clock", "server"),
}
"""All that is looked at, if nothing is wrong."""

Findings = dict[str, list[dict[str, Any]]]

CLOCK_IS_WRONG = """
import sys, time
from spassh import cli
cli._utc_ms = lambda: time.time_ns() // 1_000_000 + 1000 * {seconds}
sys.argv = ["spassh", *sys.argv[1:]]
sys.exit(cli.main())
"""


class Patient:
    """A client that is enrolled, and what the doctor says of it."""

    def __init__(self, server: Server, home: Home, saved: str) -> None:
        self.server = server
        self.home = home
        self._saved = saved
        self._guards = False

    def save(self) -> None:
        """Keep all files as they are, until the next `restore`."""
        shutil.rmtree(self._saved, ignore_errors=True)
        shutil.copytree(self.home.directory, self._saved, symlinks=True)

    def restore(self) -> None:
        for name in ("spassh", "kept-config"):
            there = f"{self.home.directory}/{name}"
            shutil.rmtree(there, ignore_errors=True)
            kept = f"{self._saved}/{name}"
            (shutil.copytree if os.path.isdir(kept) else shutil.copy2)(kept, there)

    def guard(self, *, on: bool) -> None:
        """Have the server guard port 22, or not, with nobody granted anything."""
        running = self.server.daemon and self.server.daemon.process.poll() is None
        if running and self._guards == on:
            self.server.host.run(["spasshd", "flush"])
            return
        if running:
            self.server.stop()
        self.server.host.run(["spasshd", "stop", "--open"])
        self.server.protect('"tcp/22"' if on else "")
        self.server.start()
        self._guards = on

    def doctor(self, *words: str, clock_off: int = 0) -> tuple[int, Findings, Any]:
        """Return the exit status, the findings here by their check, and the server's.

        The clock of the doctor, and not that of ssh, may be wrong by so many seconds.
        """
        program = ["spassh"]
        if clock_off:
            script = CLOCK_IS_WRONG.format(seconds=clock_off)
            program = [sys.executable, "-I", "-c", script]
        words = words or (TARGET,)
        done = self.home.run(*program, "doctor", "--json", *words, check=False)
        assert done.returncode in {0, 1}, done.stderr
        assert done.stderr == ""
        assert not any(
            kind in done.stdout
            for kind in ("spassh-secret-", "spassh-psk-", "spassh-public-")
        )
        answer = json.loads(done.stdout)
        assert set(answer) == {"host", "result", "findings", "server"}
        found: Findings = {}
        for one in answer["findings"]:
            assert set(one) == {"check", "result", "seen", "remedy", "data"}
            assert one["result"] == "ok" or one["remedy"]
            found.setdefault(one["check"], []).append(one)
        assert (done.returncode == 1) is (answer["result"] == "problem")
        return done.returncode, found, answer["server"]

    def obey(self, finding: dict[str, Any]) -> None:
        """Run the command that mends what was found."""
        self.home.run(*shlex.split(finding["remedy"]))

    def processes(self) -> set[str]:
        """Return the processes of the client's host."""
        pids = run(["ip", "netns", "pids", self.home.host.name]).stdout
        return set(pids.split())


def results(findings: Findings, check: str) -> list[str]:
    return [one["result"] for one in findings[check]]


def problems(findings: Findings) -> set[str]:
    """Return the checks that found a problem."""
    return {
        one["check"]
        for several in findings.values()
        for one in several
        if one["result"] == "problem"
    }


@pytest.fixture(scope="module")
def enrolled(lab: Lab) -> Iterator[Patient]:
    hidden = lab.path("client-etc")
    os.mkdir(hidden)
    lab.client_host.own_etc(hidden)
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # noqa: S103 - the secret half has a mode of its own
        user_key = os.path.join(directory, "user_key")
        for ending in ("", ".pub"):
            shutil.copy(lab.sshd.user_key + ending, user_key + ending)
        server = Server(lab, user_key)
        server.init()
        server.start()
        home = Home(lab, user_key)
        home.enroll("--yes", "--name", "ada", TARGET)
        home.set_profile('width = "address"')
        yield Patient(server, home, lab.path("saved"))
        server.host.run(["spasshd", "stop", "--open"])


@pytest.fixture
def patient(enrolled: Patient) -> Iterator[Patient]:
    """A client of a server that guards port 22."""
    enrolled.guard(on=True)
    enrolled.save()
    yield enrolled
    enrolled.restore()


@pytest.fixture
def open_patient(enrolled: Patient) -> Iterator[Patient]:
    """A client of a server that runs spasshd, and protects nothing."""
    enrolled.guard(on=False)
    enrolled.save()
    yield enrolled
    enrolled.restore()


def test_a_healthy_client_has_no_problem(lab: Lab, patient: Patient) -> None:
    before, log = patient.processes(), patient.server.sshd.log
    files = patient.home.files()
    assert not port_answers(lab.client_host, SERVER4, 22, 0.3)
    status, findings, there = patient.doctor()
    assert (status, problems(findings)) == (0, set())
    assert set(findings) == CHECKS
    for check in CHECKS:
        assert set(results(findings, check)) == {"ok"}, findings[check]
    (reached,) = findings["ssh_config"]
    config = f"{patient.home.directory}/spassh/ssh_config"
    with open(config, encoding="utf-8") as file:
        lines = file.read().splitlines()
    path, _, number = reached["data"]["line"].rpartition(" line ")
    assert path == config
    assert "ProxyCommand" in lines[int(number) - 1]
    routes = {
        one["data"]["address"]: one["data"]["source"] for one in findings["route"]
    }
    assert routes[SERVER4] == CLIENT4
    for one in findings["port"]:
        assert one["data"]["state"] == "opens"
        assert one["data"]["milliseconds"] > 0
        assert one["data"]["greeting"].startswith("SSH-2.0-OpenSSH_")
    assert abs(findings["clock"][0]["data"]["offset_seconds"]) < 5
    assert CLIENT4 in findings["access"][0]["seen"]
    # The server's half.
    assert {"capture", "order", "store"} <= {one["check"] for one in there}
    assert not [one for one in there if one["result"] == "problem"]

    # sshd was not left without a word, which it penalises.
    log = patient.server.sshd.log.removeprefix(log)
    assert log.count("spassh doctor has seen enough [preauth]") == 2
    assert "Connection reset" not in log
    assert "Connection closed" not in log
    assert patient.processes() == before
    assert patient.home.files() == files
    assert not port_answers(lab.stranger, SERVER4, 22, 0.3)


def test_people_get_a_line_for_each_finding_and_one_for_each_remedy(
    patient: Patient,
) -> None:
    done = patient.home.run("spassh", "doctor", TARGET)
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    heads = [words[1].rstrip(":") for words in lines if words[0] != "hint:"]
    assert set(heads) == CHECKS | {"server"}
    assert any(words[:3] == ["ok", "server", "capture:"] for words in lines)
    told = patient.home.run("spassh", "doctor", "-v", TARGET).stderr
    assert " ms: running on the server: env LC_ALL=C spasshd doctor --json" in told


def test_a_port_that_nobody_guards_is_told(open_patient: Patient) -> None:
    status, findings, there = open_patient.doctor()
    assert (status, problems(findings)) == (0, set())
    assert results(findings, "port") == ["warning", "warning"]
    assert "is open without a knock" in findings["port"][0]["seen"]
    # That the knock arrives is known all the same, for the server says so.
    assert results(findings, "udp") == ["ok"]
    (configuration,) = (one for one in there if one["check"] == "configuration")
    assert configuration["remedy"].startswith("spasshd protect tcp/22; or ")
    assert findings["port"][0]["remedy"].endswith(f": spassh lock {TARGET}")


@pytest.mark.parametrize("seconds", [-130, 130])
def test_a_clock_that_is_wrong_is_told_by_how_much(
    open_patient: Patient, seconds: int
) -> None:
    status, findings, _ = open_patient.doctor(clock_off=seconds)
    assert (status, problems(findings)) == (1, {"access", "clock"})
    (clock,) = findings["clock"]
    assert abs(clock["data"]["offset_seconds"] + seconds) < 5
    assert ("behind" if seconds < 0 else "ahead of") in clock["seen"]
    assert clock["remedy"].endswith(": timedatectl set-ntp true")
    (access,) = findings["access"]
    assert "stale 8" in access["seen"]
    # It arrives, and that is told apart.
    assert results(findings, "udp") == ["ok"]


def test_a_connection_that_ssh_shares_helps_where_the_port_stays_shut(
    patient: Patient,
) -> None:
    control = f"{patient.home.directory}/control"
    with open(patient.home.kept, "a", encoding="utf-8") as file:
        file.write(f"\nHost *\n    ControlPath {control}\n")
    patient.home.run("ssh", "-M", "-f", "-N", TARGET)
    try:
        patient.server.host.run(["spasshd", "flush"])
        status, findings, there = patient.doctor(clock_off=130)
        assert (status, problems(findings)) == (1, {"access", "clock", "port"})
        assert "which ssh lets others use" in findings["login"][0]["seen"]
        assert there is not None
        # It is not ours to end.
        patient.home.run("ssh", "-O", "check", TARGET)
    finally:
        patient.home.run("ssh", "-O", "exit", TARGET)


def test_a_profile_that_others_can_read_is_told_with_what_mends_it(
    patient: Patient,
) -> None:
    profile = patient.home.profile
    os.chmod(profile, 0o644)
    status, findings, _ = patient.doctor()
    assert (status, problems(findings)) == (1, {"profile"})
    (finding,) = findings["profile"]
    assert finding["seen"] == f"{profile}: other users can read or change it"
    patient.obey(finding)
    assert patient.doctor()[0] == 0


def test_a_key_that_is_gone_and_a_directory_that_is_open_are_told(
    patient: Patient,
) -> None:
    home = f"{patient.home.directory}/spassh"
    os.rename(f"{home}/key", f"{home}/key.old")
    os.chmod(home, 0o777)  # noqa: S103 - that is what is to be found
    status, findings, _ = patient.doctor()
    assert (status, problems(findings)) == (1, {"keys"})
    assert findings["keys"][0]["seen"] == f"{home}/key: there is no key"
    (finding,) = findings["files"]
    assert finding["seen"].startswith(f"others can put files into {home}")
    patient.obey(finding)
    os.rename(f"{home}/key.old", f"{home}/key")
    status, findings, _ = patient.doctor()
    assert (status, results(findings, "files")) == (0, ["ok"])


def test_a_host_without_a_profile_is_told_with_what_makes_one(patient: Patient) -> None:
    os.rename(patient.home.profile, f"{patient.home.directory}/moved.toml")
    status, findings, there = patient.doctor()
    assert (status, problems(findings)) == (1, {"profile"})
    (finding,) = findings["profile"]
    assert finding["seen"].startswith(f"no profile names {SERVER_NAME}")
    assert finding["remedy"] == f"spassh enroll {TARGET}"
    assert not {"port", "udp", "access", "files"} & set(findings)
    assert there is None


def test_ssh_that_does_not_go_through_spassh_is_told(patient: Patient) -> None:
    with open(patient.home.kept, encoding="utf-8") as file:
        before = file.read()
    with open(patient.home.kept, "w", encoding="utf-8") as file:
        file.write(before.split("# Added by 'spassh enroll'.")[0])
    status, findings, _ = patient.doctor()
    assert (status, problems(findings)) == (1, {"ssh_config"})
    (finding,) = findings["ssh_config"]
    assert "is reached by ssh itself, which does not knock" in finding["seen"]
    assert finding["remedy"] == (
        f"write in ~/.ssh/config, for {SERVER_NAME}: 'ProxyCommand spassh proxy"
        " --fdpass -- %h %p' and 'ProxyUseFdpass yes'"
    )
    lines = finding["remedy"].split("'")[1::2]
    with open(patient.home.kept, "a", encoding="utf-8") as file:
        file.write("\n".join([f"\nHost {SERVER_NAME}", *lines, ""]))
    status, findings, _ = patient.doctor()
    assert (status, results(findings, "ssh_config")) == (0, ["ok"])
    assert findings["ssh_config"][0]["data"]["line"].startswith(patient.home.config)


@pytest.mark.parametrize(
    ("lines", "result", "seen", "remedy"),
    [
        (
            ["ProxyCommand /nowhere/spassh proxy %h %p"],
            "problem",
            "goes through spassh, which is not there: /nowhere/spassh",
            "write the path of spassh in {config} line 2",
        ),
        (
            ["ProxyCommand spassh proxy %h %p", "ProxyUseFdpass yes"],
            "problem",
            "goes through spassh, without the --fdpass that ssh waits for",
            "write --fdpass after 'proxy' in {config} line 2",
        ),
        (
            ["ProxyCommand nc -w 9 %h %p"],
            "warning",
            "has a way of its own, 'nc'",
            "spassh has to be in it, or to stand before it: see spassh(1)",
        ),
    ],
)
def test_a_line_of_ssh_config_that_is_wrong_is_told_with_its_number(
    patient: Patient, lines: list[str], result: str, seen: str, remedy: str
) -> None:
    with open(patient.home.kept, encoding="utf-8") as file:
        before = file.read()
    with open(patient.home.kept, "w", encoding="utf-8") as file:
        file.write("\n".join([f"Host {SERVER_NAME}", *lines, "Host *", before]))
    status, findings, _ = patient.doctor()
    (finding,) = findings["ssh_config"]
    assert finding["result"] == result
    assert status == (result == "problem")
    config = patient.home.config
    assert f"{seen}, by {config} line 2" in finding["seen"]
    assert finding["remedy"] == remedy.format(config=config)


def test_a_name_that_nobody_knows_is_told(patient: Patient) -> None:
    patient.home.set_hosts("nobody.test")
    status, findings, _ = patient.doctor("root@nobody.test")
    assert status == 1
    assert "name" in problems(findings)
    assert findings["name"][0]["seen"].startswith("cannot resolve nobody.test: ")


def test_a_host_that_there_is_no_way_to_is_told(patient: Patient) -> None:
    patient.home.set_hosts("203.0.113.9")
    status, findings, there = patient.doctor("root@203.0.113.9")
    assert (status, there) == (1, None)
    assert "route" in problems(findings)
    (finding,) = findings["route"]
    assert finding["seen"] == "no way to 203.0.113.9: network is unreachable"
    assert finding["remedy"] == "ip route get 203.0.113.9"


@contextmanager
def dropping(lab: Lab, *rules: str) -> Iterator[None]:
    """Have what the rules say dropped on the wire."""
    lines = ["add table bridge deaf"]
    hook = "type filter hook forward priority 0"
    lines.append(f"add chain bridge deaf drops {{ {hook}; }}")
    lines += [f"add rule bridge deaf drops {rule} drop" for rule in rules]
    lab.network.wire.run(["nft", "-f", "-"], text="\n".join(lines) + "\n")
    try:
        yield
    finally:
        lab.network.wire.run(["nft", "delete table bridge deaf"])


def test_a_network_that_drops_udp_and_no_tcp_is_told(
    lab: Lab, open_patient: Patient
) -> None:
    with dropping(lab, "udp dport 62201"):
        status, findings, _ = open_patient.doctor()
    assert (status, problems(findings)) == (1, {"udp"})
    (finding,) = findings["udp"]
    assert finding["seen"] == f"no knock arrives: {SERVER_NAME} has seen none"
    assert finding["remedy"].startswith("have udp/62201 let through on the way")
    assert results(findings, "login") == ["ok"]


def test_where_the_server_cannot_be_asked_it_is_not_known_what_drops_udp(
    lab: Lab, patient: Patient
) -> None:
    with dropping(lab, "udp dport 62201"):
        patient.home.set_profile("timeout = 2")
        status, findings, there = patient.doctor()
    assert (status, problems(findings), there) == (1, {"port"}, None)
    for check in ("udp", "login", "clock", "server", "family"):
        assert results(findings, check) == ["unknown"]
    assert findings["udp"][0]["remedy"] == (
        f"on {SERVER_NAME}: tcpdump -n -i any udp port 62201; meanwhile here: spassh"
        f" knock {SERVER_NAME}"
    )


def test_a_firewall_of_this_computer_is_told(lab: Lab, patient: Patient) -> None:
    rule = ["OUTPUT", "-p", "udp", "--dport", "62201", "-j", "REJECT"]
    for program in ("iptables", "ip6tables"):
        lab.client_host.run([program, "-I", *rule])
    try:
        patient.home.set_profile("timeout = 2")
        status, findings, _ = patient.doctor()
    finally:
        for program in ("iptables", "ip6tables"):
            lab.client_host.run([program, "-D", *rule])
    assert status == 1
    assert "udp" in problems(findings)
    (finding,) = findings["udp"]
    assert finding["seen"].startswith("this computer says of udp/62201 to ")


def test_one_family_that_is_dead_is_told(lab: Lab, patient: Patient) -> None:
    patient.home.set_profile("timeout = 2")
    with dropping(lab, "ip6 nexthdr { tcp, udp }"):
        status, findings, _ = patient.doctor()
    assert (status, problems(findings)) == (0, set())
    (family,) = findings["family"]
    assert family["result"] == "warning"
    assert family["seen"] == "IPv6 is tried first and does not get in; IPv4 does"
    assert family["remedy"] == f'write name = "{SERVER4}" in {patient.home.profile}'
    assert sorted(results(findings, "port")) == ["ok", "warning"]
    states = {one["data"]["address"]: one["data"]["state"] for one in findings["port"]}
    assert states == {SERVER4: "opens", SERVER6: "shut"}
    patient.home.set_profile(family["remedy"].split("write ")[1].split(" in ")[0])
    with dropping(lab, "ip6 nexthdr { tcp, udp }"):
        assert results(patient.doctor()[1], "family") == ["ok"]


def test_a_server_whose_daemon_does_not_run_is_told(open_patient: Patient) -> None:
    open_patient.server.stop()
    status, findings, there = open_patient.doctor()
    assert status == 1
    # Nothing drops the datagram, so the server's kernel answers it.
    (udp,) = findings["udp"]
    assert udp["result"] == "warning"
    assert "which refuses it: spasshd does not run there" in udp["seen"]
    (daemon,) = (one for one in there if one["check"] == "daemon")
    assert daemon["result"] == "problem"
    assert daemon["seen"] == "spasshd is not running, so nobody is let in"


def test_a_daemon_that_does_not_run_behind_its_drop_is_told(patient: Patient) -> None:
    patient.home.set_profile("timeout = 2")
    assert patient.server.daemon is not None
    patient.server.daemon.stop(signal.SIGKILL)
    status, findings, there = patient.doctor()
    assert (status, problems(findings), there) == (1, {"port"}, None)
    assert findings["port"][0]["remedy"] == (
        f"on {SERVER_NAME}: spasshd doctor, and the log of spasshd"
    )
    patient.guard(on=True)
    assert patient.doctor()[0] == 0


def test_a_user_who_was_removed_is_told(open_patient: Patient) -> None:
    open_patient.server.host.run(["spasshd", "user", "remove", "ada"])
    status, findings, there = open_patient.doctor()
    assert (status, problems(findings)) == (1, {"access"})
    (access,) = findings["access"]
    assert "unauthentic 8" in access["seen"]
    assert access["remedy"] == f"spassh enroll {TARGET}"
    assert [one["result"] for one in there if one["check"] == "users"] == ["warning"]
    open_patient.home.run(*shlex.split(access["remedy"]), "--name", "ada")
    open_patient.save()
    assert open_patient.doctor()[0] == 0


def test_a_port_that_nobody_serves_is_told(open_patient: Patient) -> None:
    status, findings, _ = open_patient.doctor("-p", "2222", TARGET)
    assert (status, problems(findings)) == (1, {"port"})
    assert len(findings["port"]) == 2
    for one in findings["port"]:
        assert one["data"]["state"] == "refused"
        assert one["remedy"].startswith(f"see that sshd runs on {SERVER_NAME}")


def test_sudo_that_wants_a_password_is_not_asked_for_one(
    open_patient: Patient,
) -> None:
    status, findings, there = open_patient.doctor(f"dave@{SERVER_NAME}")
    assert (status, there) == (0, None)
    assert results(findings, "clock") == ["ok"]
    (server,) = findings["server"]
    assert server["result"] == "unknown"
    assert server["seen"].endswith(
        "sudo there wants a password, and nobody is asked for one"
    )


def test_ctrl_c_leaves_nothing_running(lab: Lab, patient: Patient) -> None:
    before = patient.processes()
    with dropping(lab, "udp dport 62201"):
        process = patient.home.popen(
            "spassh",
            "doctor",
            "-v",
            TARGET,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if b"knocked at" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert patient.processes() == before


def test_ctrl_c_while_ssh_logs_in_leaves_nothing_running(
    lab: Lab, open_patient: Patient
) -> None:
    before = open_patient.processes()
    with session_that_hangs(open_patient) as wait:
        process = open_patient.home.popen(
            "spassh",
            "doctor",
            TARGET,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    wait_for(lambda: open_patient.processes() == before, "the end of what was started")


@contextmanager
def session_that_hangs(patient: Patient) -> Iterator[Callable[[], None]]:
    """Have a ProxyCommand that never ends; yield what waits until ssh has run it."""
    mark = f"{patient.home.directory}/begun"
    with open(patient.home.kept, encoding="utf-8") as file:
        before = file.read()
    # ssh has its shell exec the first program.
    command = f"ProxyCommand sh -c 'touch {mark}; exec sleep 600'"
    with open(patient.home.kept, "w", encoding="utf-8") as file:
        file.write(f"Host {SERVER_NAME}\n{command}\nHost *\n{before}")

    def wait() -> None:
        wait_for(lambda: os.path.exists(mark), "ssh to begin")

    yield wait
