"""The unit that we ship, under the real systemd."""

import json
import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import door, port_answers, udp
from lab.knocker import Knocker
from lab.machine import Machine, Service
from lab.network import SERVER4, Network, wait_for
from lab.openpgp import KEYS, Home
from lab.site import Site
from lab.syscalls import fields
from lab.unit import IPTABLES
from unit.server.bpf_machine import has_maps
from unit.server.kernel import landlock_version

from spassh.protocol.invite import decode_invite
from spassh.protocol.packet import ClientKeys, ephemeral_spelling, seal_payload
from spassh.protocol.request import TCP, Request
from spassh.protocol.signed import encode_signed, encode_text
from spassh_server.clock import now_ms

from .conftest import BIN_DIRS

pytestmark = [
    pytest.mark.login,
    pytest.mark.netns,
    pytest.mark.skipif(
        shutil.which("systemd-nspawn") is None,
        reason="systemd-nspawn is missing: apt install systemd-container",
    ),
]


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network(BIN_DIRS["pypi"])
    yield made
    made.close()


@pytest.fixture(params=["nftables", "iptables"])
def service(
    request: pytest.FixtureRequest, network: Network, tmp_path: Path
) -> Iterator[Service]:
    machine = Machine(network.server, str(tmp_path / "machine"))
    made = Service(machine, "--protect", "tcp/22", "--backend", request.param)
    if request.param == "iptables":
        made.drop_in("iptables", IPTABLES)
    yield made
    machine.close()


def started(network: Network, service: Service) -> Site:
    """Boot the machine and start the service; return the host that it guards."""
    service.machine.boot()
    service.begin()
    site = Site(network.server, SERVER4, service)
    run_dir = f"/proc/{service.machine.leader}/root/run/spassh"
    site.config = site.config._replace(run_dir=run_dir)
    return site


def test_the_service_guards_the_port_in_its_sandbox(
    network: Network, service: Service
) -> None:
    alice = Knocker(service, "alice")
    site = started(network, service)
    assert ("Landlock" in service.journal) is (landlock_version() < 1)
    # Where this test may, the service may: what it takes is in the unit.
    assert ("does not count copies" not in service.journal) is has_maps()
    # There are more filters of system calls than that of the machine itself.
    machine, *programs = (
        int(fields(pid)["Seccomp_filters"])
        for pid in (service.machine.leader, *service.programs())
    )
    assert min(programs) > machine

    with udp(network.client) as sock, door(network.server):
        assert not port_answers(network.client, SERVER4, 22, 0.3)
        assert site.outcome(sock, alice.seal(lifetime=300)) == "granted"
        assert port_answers(network.client, SERVER4, 22)
        for verb in ("reload", "restart"):
            service.machine.run("systemctl", verb, "spasshd")
            assert port_answers(network.client, SERVER4, 22)
            assert not port_answers(network.stranger, SERVER4, 22, 0.3)
        assert site.outcome(sock, alice.seal()) == "granted"
    assert "error" not in service.journal


NETWORK = """
[Unit]
DefaultDependencies=no
Wants=network-pre.target
After=network-pre.target
[Service]
Type=oneshot
ExecStart=/usr/sbin/nft list ruleset
StandardOutput=file:/srv/rules
"""
"""As what sets up interfaces says it: see systemd.special(7)."""

BOOT = """
[Unit]
DefaultDependencies=no
Wants=lab-network.service spasshd.service systemd-tmpfiles-setup.service
After=lab-network.service spasshd.service
"""


@pytest.mark.parametrize("service", ["nftables"], indirect=True)
def test_the_drop_is_in_place_before_the_network_is(
    network: Network, service: Service
) -> None:
    machine = service.machine
    Path(f"{machine.files}/srv").mkdir(exist_ok=True)
    machine.write("/etc/systemd/system/lab-network.service", NETWORK)
    machine.write("/etc/systemd/system/lab-boot.target", BOOT)
    machine.boot()
    # All in one go, as a boot begins it, and to its end.
    machine.run("systemctl", "start", "lab-boot.target")
    rules = machine.run("cat", "/srv/rules").stdout
    assert f"table inet {service.firewall_name} {{" in rules
    assert service.show("ActiveState") == "active"


@pytest.mark.parametrize("service", ["nftables"], indirect=True)
def test_systemd_ends_a_service_that_hangs_and_starts_it_anew(
    network: Network, service: Service
) -> None:
    # The watchdog that we ship takes minutes to bite.
    service.drop_in("fast", "[Service]\nWatchdogSec=4s\nRestartSec=100ms\n")
    alice = Knocker(service, "alice")
    site = started(network, service)
    before = service.programs()
    os.kill(before[1], signal.SIGSTOP)

    wait_for(lambda: service.show("NRestarts") == "1", "the watchdog to bite", 30)

    with udp(network.client) as sock, door(network.server):
        assert not port_answers(network.client, SERVER4, 22, 0.3)
        wait_for(lambda: service.show("ActiveState") == "active", "the restart", 30)
        assert not set(before) & set(service.programs())
        assert site.outcome(sock, alice.seal()) == "granted"
        assert port_answers(network.client, SERVER4, 22)


@pytest.mark.parametrize("service", ["nftables"], indirect=True)
def test_a_signal_of_somebody_ends_no_service_and_the_verb_does(
    network: Network, service: Service
) -> None:
    """The drop stays when the daemon goes: without it, nobody gets in any more."""
    service.drop_in("fast", "[Service]\nRestartSec=100ms\n")
    started(network, service)
    before = service.programs()
    os.kill(before[0], signal.SIGTERM)
    wait_for(lambda: service.show("NRestarts") == "1", "a restart", 30)
    wait_for(lambda: service.show("ActiveState") == "active", "it to be ready", 30)
    assert not set(before) & set(service.programs())

    service.machine.run("spasshd", "stop", "--open")

    wait_for(lambda: service.show("ActiveState") == "inactive", "its end", 30)
    assert service.show("Result") == "success"
    with door(network.server):
        assert port_answers(network.client, SERVER4, 22)


def test_ports_are_protected_and_on_trial_from_inside_the_sandbox(
    network: Network, service: Service
) -> None:
    """The half that does it reads files that the verb has just written."""
    Knocker(service, "alice")
    started(network, service)
    steps = {
        ("unprotect", "tcp/22"): True,
        ("protect", "tcp/22"): False,
        ("protect", "--roll-back"): True,
        ("protect", "tcp/22", "--now"): False,
    }
    with door(network.server):
        for words, is_open in steps.items():
            service.machine.run("spasshd", *words)
            patience = 5 if is_open else 0.3
            assert port_answers(network.client, SERVER4, 22, patience) is is_open
        service.machine.run("systemctl", "restart", "spasshd")
        assert not port_answers(network.client, SERVER4, 22, 0.3)
    assert "error" not in service.journal


@pytest.mark.parametrize("service", ["nftables"], indirect=True)
def test_the_doctor_sees_that_nothing_starts_the_service_at_boot(
    network: Network, service: Service
) -> None:
    Knocker(service, "alice")
    started(network, service)

    def findings() -> dict[str, dict[str, str]]:
        done = service.machine.run("spasshd", "doctor", "--json", check=False)
        return {one["check"]: one for one in json.loads(done.stdout)["findings"]}

    found = findings()
    assert found["boot"]["result"] == "problem"
    remedy = found["boot"]["remedy"]
    assert remedy == "systemctl enable spasshd.service"
    for check in ("configuration", "users", "daemon", "order", "capture", "store"):
        assert found[check]["result"] == "ok", found[check]
    service.machine.run(*shlex.split(remedy))
    assert findings()["boot"]["result"] == "ok"

    service.machine.run("systemctl", "stop", "spasshd")
    daemon = findings()["daemon"]
    assert daemon["result"] == "problem"
    service.machine.run(*shlex.split(daemon["remedy"]))
    assert findings()["daemon"]["result"] == "ok"


@pytest.mark.parametrize("service", ["nftables"], indirect=True)
def test_signed_requests_are_opened_inside_the_sandbox(
    network: Network, service: Service
) -> None:
    """gpg and its agent have room in there, and none outside of their directory."""
    client = Home()
    try:
        client.gpg("--import", str(KEYS / "ed25519-ada.asc"))
        signer = client.fingerprint("ada")
        key = client.gpg("--export", "--armor", signer).decode()
        service.machine.write("/etc/spassh/ada.asc", key)
        service.machine.boot()
        words = ("ada", "--address", "x", "--gnupg", "/etc/spassh/ada.asc")
        added = service.machine.run("spasshd", "user", "add", *words).stdout
        line, armoured = added.split("\n", 1)
        client.gpg("--import", data=armoured.encode())
        recipient = client.fingerprint("spasshd")
        invite = decode_invite(line)
        service.begin()
        site = Site(network.server, SERVER4, service)
        run_dir = f"/proc/{service.machine.leader}/root/run/spassh"
        site.config = site.config._replace(run_dir=run_dir)

        random, now = os.urandom(33), now_ms()
        request = Request(now, TCP, 22)
        text = encode_text(request, invite.server, ephemeral_spelling(random))
        payload = encode_signed(now, client.seal(text, signer, recipient))
        keys = ClientKeys(invite.secret, invite.server, invite.psk)
        datagram = seal_payload(payload, keys, random)
    finally:
        client.close()
    with udp(network.client) as sock, door(network.server):
        assert not port_answers(network.client, SERVER4, 22, 0.3)
        assert site.outcome(sock, datagram) == "granted", service.journal
        assert port_answers(network.client, SERVER4, 22)
    assert "error" not in service.journal
