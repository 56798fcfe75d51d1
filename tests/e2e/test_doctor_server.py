"""`spasshd doctor`: what is wrong with a server is found, and the remedy mends it.

Where the remedy is a command, it is what the doctor has printed that is run.
"""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab.inside import port_answers
from lab.network import SERVER4
from lab.programs import Spasshd
from lab.sessions import session
from lab.users import set_lines

from .conftest import Lab

pytestmark = [pytest.mark.login, pytest.mark.netns]

CHECKS = {
    *("configuration", "users", "daemon", "boot", "firewall", "order", "foreign"),
    *("bypass", "listeners", "established", "interfaces", "capture", "store"),
    *("clock", "network"),
}
"""All that is looked at."""

Findings = dict[str, list[dict[str, Any]]]


def doctor(spasshd: Spasshd, without: Collection[str] = ()) -> tuple[int, Findings]:
    """Return the exit status, and the findings of each check.

    Where nothing is protected, the checks `without` have nothing to look at.
    """
    done = spasshd.verb("doctor", "--json", check=False)
    for kind in ("spassh-secret-", "spassh-psk-", "spassh-public-"):
        assert kind not in done.stdout
    answer = json.loads(done.stdout)
    assert set(answer) == {"result", "findings"}
    found: Findings = {}
    for one in answer["findings"]:
        assert set(one) == {"check", "result", "seen", "remedy", "data"}
        assert one["result"] in {"ok", "unknown"} or one["remedy"]
        found.setdefault(one["check"], []).append(one)
    assert set(found) == CHECKS - set(without)
    return done.returncode, found


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


def obey(lab: Lab, finding: dict[str, Any]) -> None:
    """Run the command that mends what was found."""
    lab.server.run(shlex.split(finding["remedy"]))


@contextmanager
def running(
    lab: Lab, backend: str = "nftables", ports: tuple[str, ...] = ("tcp/22",)
) -> Iterator[Spasshd]:
    """Have a daemon that guards the ports, and a user who may reach them."""
    protect = [word for port in ports for word in ("--protect", port)]
    spasshd = lab.spasshd("--backend", backend, *protect)
    spasshd.invite("ada")
    spasshd.start()
    try:
        yield spasshd
    finally:
        spasshd.running.stop(signal.SIGKILL)
        spasshd.verb("stop", "--open")
        lab.server.run(["nft", "flush", "ruleset"])


def everything(lab: Lab, spasshd: Spasshd) -> dict[str, bytes]:
    """Return what a doctor must not change: the rules, and all files of spasshd."""
    found = {"rules": lab.server.run(["nft", "list", "ruleset"]).stdout.encode()}
    for directory, _, names in os.walk(spasshd.directory):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    found[path] = file.read()
    return found


def restart(spasshd: Spasshd) -> None:
    spasshd.running.stop()
    spasshd.start()


@pytest.mark.parametrize("stack", ["pypi", "debian"])
def test_a_healthy_server_has_no_problem(
    make_lab: Callable[[str], Lab], lab: Lab, stack: str
) -> None:
    if stack != "pypi":
        lab = make_lab(stack)
    with running(lab) as spasshd:
        before = everything(lab, spasshd)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (0, set())
        assert everything(lab, spasshd) == before
        # The key of the user has come in an invite.
        assert results(findings, "users") == ["ok", "warning"]
        for check in CHECKS - {"boot", "clock", "network", "users"}:
            assert results(findings, check) == ["ok"], findings[check]
        (capture,) = findings["capture"]
        assert capture["seen"] == "it hears a datagram, and so does the daemon"
        assert findings["listeners"][0]["seen"] == "sshd listens on tcp/22"
        assert findings["configuration"][0]["data"] == {
            "path": spasshd.config,
            "protect": ["tcp/22"],
            "port": 62201,
        }
        done = spasshd.verb("doctor")
        # A line for each finding, and perhaps one with the remedy.
        lines = [line.split() for line in done.stdout.splitlines()]
        heads = [words[1] for words in lines if words[0] != "hint:"]
        assert list(dict.fromkeys(heads)) == [f"{check}:" for check in findings]
        assert "spassh-" not in done.stdout.replace(spasshd.directory, "")
        # What it has sent to itself opened nothing.
        assert spasshd.status()["grants"] == []
        assert not port_answers(lab.client_host, SERVER4, 22, 0.3)


def test_a_daemon_that_does_not_run_is_a_problem(lab: Lab) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.invite("ada")
    status, findings = doctor(spasshd)
    assert (status, problems(findings)) == (1, {"daemon", "order"})
    start = f"spasshd run --config {spasshd.config}"
    assert [findings[one][0]["remedy"] for one in ("daemon", "order")] == [start] * 2
    # The capture is tried without a daemon as well.
    assert results(findings, "capture") == ["ok"]

    spasshd.start()
    try:
        assert doctor(spasshd)[0] == 0
        spasshd.running.stop(signal.SIGKILL)
        # The drop stays.
        assert problems(doctor(spasshd)[1]) == {"daemon"}
    finally:
        spasshd.verb("stop", "--open")


def test_a_key_that_others_can_read_is_told_with_what_mends_it(lab: Lab) -> None:
    with running(lab) as spasshd:
        key = os.path.join(spasshd.directory, "server.key")
        os.chmod(key, 0o644)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"configuration"})
        (finding,) = findings["configuration"]
        assert finding["seen"] == f"{key}: readable or writable by others"
        obey(lab, finding)
        assert doctor(spasshd)[0] == 0


def test_a_configuration_that_cannot_be_read_is_all_that_is_told(lab: Lab) -> None:
    spasshd = lab.spasshd()
    spasshd.edit("backend =", "lifetme = 3\nbackend =")
    done = spasshd.verb("doctor", "--json", check=False)
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["check"], finding["result"]) == ("configuration", "problem")
    assert "lifetme: unknown key" in finding["seen"]
    assert finding["remedy"] == "did you mean 'lifetime'?"


def test_who_cannot_be_let_in_is_told(lab: Lab) -> None:
    with running(lab) as spasshd:
        set_lines(spasshd, "ada", "expires = 2020-01-01")
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"users"})
        assert "nobody is let in" in findings["users"][0]["seen"]
        spasshd.invite("bob")
        status, findings = doctor(spasshd)
        assert (status, results(findings, "users")) == (0, ["warning"] * 2)
        assert findings["users"][0]["seen"] == "not allowed in now: ada"


def test_who_has_to_sign_and_cannot_is_told(lab: Lab) -> None:
    with running(lab) as spasshd:
        set_lines(spasshd, "ada", 'format = "gnupg"', f'gnupg = ["{"AB" * 20}"]')
        _, findings = doctor(spasshd)
        (found,) = (one for one in findings["users"] if "ada has to" in one["seen"])
        assert (found["result"], found["seen"]) == (
            "warning",
            "ada has to sign, and cannot",
        )
        assert found["remedy"] == "'spasshd user add --gnupg' makes gnupg_dir"


def test_a_daemon_that_has_begun_without_gpg_is_told(lab: Lab) -> None:
    with running(lab) as spasshd:
        set_lines(spasshd, "ada", 'format = "gnupg"', f'gnupg = ["{"AB" * 20}"]')
        owner = os.stat(os.path.join(spasshd.directory, "state"))
        home = os.path.join(spasshd.directory, "gnupg")
        os.mkdir(home, 0o700)
        os.chown(home, owner.st_uid, owner.st_gid)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"users"})
        told = [one["seen"] for one in findings["users"]]
        assert "spasshd runs without gpg, and refuses what ada signs" in told
        assert spasshd.status()["gpg"] is False


def test_a_store_of_somebody_else_is_told_with_what_mends_it(lab: Lab) -> None:
    with running(lab) as spasshd:
        store = os.path.join(spasshd.directory, "state")
        os.chown(store, 0, 0)
        os.chmod(store, 0o500)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"store"})
        assert len(findings["store"]) == 2
        for finding in findings["store"]:
            obey(lab, finding)
        assert doctor(spasshd)[0] == 0


@pytest.mark.parametrize(
    ("options", "seen"),
    [("size=64k", " bytes are free, and it may take "), ("ro", "is read-only")],
)
def test_a_disk_that_takes_no_more_is_told(lab: Lab, options: str, seen: str) -> None:
    spasshd = lab.spasshd("--protect", "tcp/22")
    spasshd.invite("ada")
    store = lab.path("state")
    os.mkdir(store)
    spasshd.edit('state_dir = "state"', f'state_dir = "{store}"')
    mount = ["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "spassh-test"]
    subprocess.run([*mount, store], check=True)
    try:
        with open(spasshd.config, encoding="utf-8") as file:
            user = next(line for line in file if line.startswith("user = "))
        account = int(user.split('"')[1])
        if options != "ro":
            os.chown(store, account, account)
        _, findings = doctor(spasshd)
    finally:
        subprocess.run(["umount", store], check=True)
    assert "store" in problems(findings)
    assert seen in findings["store"][-1]["seen"]
    assert store in findings["store"][-1]["remedy"]


def test_a_port_that_nobody_serves_and_an_sshd_beside_it_are_told(lab: Lab) -> None:
    with running(lab, ports=("tcp/2222",)) as spasshd:
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"listeners"})
        nobody, beside = findings["listeners"]
        assert nobody["seen"] == "nobody listens on tcp/2222"
        assert nobody["remedy"] == "sshd listens on 22: write Port 2222 in sshd_config"
        assert beside["result"] == "warning"
        assert beside["seen"] == (
            "sshd listens on tcp/22 as well, which is not protected"
        )
        assert beside["remedy"] == f"spasshd protect tcp/22 --config {spasshd.config}"
    with running(lab, ports=("tcp/22", "tcp/2222")) as spasshd:
        assert results(doctor(spasshd)[1], "listeners") == ["problem", "ok"]


def test_a_port_on_trial_is_judged_as_one_that_is_protected(lab: Lab) -> None:
    spasshd = lab.spasshd("--backend", "nftables")
    spasshd.invite("ada")
    spasshd.start()
    try:
        assert doctor(spasshd, without={"bypass", "listeners", "established"})[0] == 0
        spasshd.verb("protect", "tcp/22")
        assert not port_answers(lab.client_host, SERVER4, 22, 0.3)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (0, set())
        assert results(findings, "order") == results(findings, "listeners") == ["ok"]
        _, trial = findings["configuration"]
        assert trial["seen"].startswith("tcp/22 on trial: open again in ")
    finally:
        spasshd.running.stop()
        spasshd.verb("stop", "--open")


def test_an_interface_that_is_not_there_is_told(lab: Lab) -> None:
    with running(lab) as spasshd:
        spasshd.edit('interfaces = ["any"]', 'interfaces = ["eth0", "wg9"]')
        restart(spasshd)
        status, findings = doctor(spasshd)
        assert (status, results(findings, "interfaces")) == (0, ["warning"])
        assert findings["interfaces"][0]["seen"].startswith("there is no wg9: ")
        (capture,) = findings["capture"]
        assert capture["seen"] == "it hears a datagram over the loopback"


def add_table(lab: Lab, *lines: str) -> None:
    text = "\n".join([f"add {lines[0]}", *(f"add {line}" for line in lines[1:])])
    lab.server.run(["nft", "-f", "-"], text=text + "\n")


FILTER = "type filter hook input priority"


def test_a_chain_that_accepts_before_ours_is_no_way_around_the_drop(lab: Lab) -> None:
    with running(lab) as spasshd:
        add_table(
            lab,
            "table inet hand",
            f"chain inet hand input {{ {FILTER} -100; policy accept; }}",
            "rule inet hand input tcp dport 22 accept",
        )
        assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (0, set())
        assert results(findings, "foreign") == results(findings, "bypass") == ["ok"]


def test_a_chain_that_drops_before_ours_is_told(lab: Lab) -> None:
    with running(lab) as spasshd:
        add_table(
            lab,
            "table inet hand",
            f"chain inet hand input {{ {FILTER} -100; policy drop; }}",
        )
        status, findings = doctor(spasshd)
        assert (status, results(findings, "foreign")) == (0, ["warning"])
        (finding,) = findings["foreign"]
        assert finding["seen"] == (
            "chain inet hand input may drop granted packets: it comes before ours"
        )
        assert finding["remedy"].endswith(": nft -a list chain inet hand input")


@pytest.mark.parametrize(
    ("add", "chain"),
    [
        (
            (
                f"nft add table inet hand; add chain inet hand input {{ {FILTER} 0;"
                " policy drop; }"
            ),
            "inet hand input",
        ),
        ("iptables -P INPUT DROP", "INPUT of iptables-nft"),
    ],
    ids=["nft", "iptables"],
)
def test_a_policy_drop_that_does_not_lead_granted_packets_on_is_told(
    lab: Lab, add: str, chain: str
) -> None:
    with running(lab) as spasshd:
        spasshd.running.stop(signal.SIGKILL)
        program, _, rest = add.partition(" ")
        # To nft, all of it is one argument.
        lab.server.run([program, *([rest] if program == "nft" else rest.split())])
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"daemon", "foreign"})
        (finding,) = findings["foreign"]
        assert finding["seen"] == (
            f"{chain} does not begin with our rule: what is granted may be dropped"
        )
        assert finding["remedy"] == f"spasshd run --config {spasshd.config}"
        spasshd.start()
        status, findings = doctor(spasshd)
        assert (status, results(findings, "foreign")) == (0, ["ok"])


def test_an_accept_before_our_jump_is_told(lab: Lab) -> None:
    with running(lab, backend="iptables") as spasshd:
        assert doctor(spasshd)[0] == 0
        spasshd.running.stop(signal.SIGKILL)
        rule = ["INPUT", "1", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"]
        lab.server.run(["iptables", "-I", *rule])
        assert port_answers(lab.stranger, SERVER4, 22)
        status, findings = doctor(spasshd)
        assert (status, problems(findings)) == (1, {"daemon", "order"})
        assert "others come before them" in findings["order"][0]["seen"]
        spasshd.start()
        assert not port_answers(lab.stranger, SERVER4, 22, 0.3)
        assert doctor(spasshd)[0] == 0


@pytest.mark.parametrize(
    "add",
    [
        "nft add rule inet hand pre tcp dport 22 redirect to :2222",
        "iptables -t nat -A PREROUTING -p tcp --dport 22 -j REDIRECT --to-ports 2222",
    ],
    ids=["nft", "iptables"],
)
def test_a_rule_that_sends_packets_elsewhere_is_told_with_what_takes_it_out(
    lab: Lab, add: str
) -> None:
    with running(lab) as spasshd:
        hook = "type nat hook prerouting priority dstnat"
        chain = f"chain inet hand pre {{ {hook}; }}"
        add_table(lab, "table inet hand", chain)
        lab.server.run(shlex.split(add))
        status, findings = doctor(spasshd)
        assert (status, results(findings, "bypass")) == (0, ["warning"])
        (finding,) = findings["bypass"]
        assert "sends tcp/22 elsewhere before our rules see it" in finding["seen"]
        lead, _, command = finding["remedy"].partition(": ")
        assert lead == "if that is not meant"
        lab.server.run(shlex.split(command))
        assert results(doctor(spasshd)[1], "bypass") == ["ok"]


def test_sessions_that_are_not_tracked_are_told_with_what_mends_it(lab: Lab) -> None:
    with running(lab) as spasshd:
        client = lab.client(spasshd)
        client.set_profile('width = "address"')
        hook = "type filter hook prerouting priority raw"
        chain = f"chain inet hand pre {{ {hook}; }}"
        rule = "rule inet hand pre tcp dport 22 notrack"
        add_table(lab, "table inet hand", chain, rule)
        with session(client, "v4.server.test") as login:
            status, findings = doctor(spasshd)
            assert (status, problems(findings)) == (1, {"bypass", "established"})
            (finding,) = findings["bypass"]
            assert "has packets to tcp/22 not tracked" in finding["seen"]
            obey(lab, finding)
            (finding,) = findings["established"]
            assert finding["seen"].startswith("1 of 1 sessions are not tracked")
            assert login.lives()
            assert doctor(spasshd)[0] == 0

            lab.server.run(["conntrack", "-F"])
            status, findings = doctor(spasshd)
            assert (status, problems(findings)) == (1, {"established"})
            (finding,) = findings["established"]
            stop, start = finding["remedy"].split("; ")
            lab.server.run(shlex.split(stop))
            assert start == f"spasshd run --config {spasshd.config}"
            spasshd.running.process.wait(60)
            spasshd.start()
            status, findings = doctor(spasshd)
            assert (status, problems(findings)) == (0, set())
            assert "the 1 sessions among them" in findings["established"][0]["seen"]
            spasshd.flush()
            assert login.lives()


def test_who_is_not_root_is_told_so(lab: Lab) -> None:
    argv = ["setpriv", "--reuid", "65534", "spasshd", "doctor"]
    done = lab.server.run(argv, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("spasshd: error: spasshd doctor needs root\n")
