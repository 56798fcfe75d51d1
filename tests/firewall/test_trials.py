"""A drop on trial ends in the kernel, whatever becomes of us."""

from firewall.backends import DNS, SETTINGS, SSH, VARIANTS, make, python, to
from firewall.network import CLIENT, STRANGER, VERSIONS, Network, sh, wait_for

CLIENTS = tuple(CLIENT.values())
STRANGERS = tuple(STRANGER.values())
EVERYBODY = CLIENTS + STRANGERS

TRIAL = SETTINGS._replace(protect=(), trial=(SSH, DNS))
BESIDE = SETTINGS._replace(protect=(DNS,), trial=(SSH,))


def test_until_it_is_held_nothing_is_dropped(kind: str, network: Network) -> None:
    firewall = make(kind, TRIAL)
    assert firewall.holds
    firewall.prepare()
    assert network.is_open(*EVERYBODY)
    assert all(network.udp_arrives(source, DNS.number) for source in EVERYBODY)


def test_what_is_held_is_dropped_but_for_grants(kind: str, network: Network) -> None:
    firewall = make(kind, TRIAL)
    firewall.prepare()
    firewall.hold(60)
    assert network.is_silent(*EVERYBODY)
    assert all(network.udp_is_lost(source, DNS.number) for source in EVERYBODY)
    for version in VERSIONS:
        firewall.grant(to(CLIENT[version]), 60)
        assert network.is_open(CLIENT[version])
        assert network.is_silent(STRANGER[version])
    assert firewall.in_place()
    assert not firewall.repair()


def test_it_ends_by_itself_when_we_are_gone(kind: str, network: Network) -> None:
    script = (
        "from firewall.backends import make;"
        "from firewall.test_trials import BESIDE;"
        f"one = make({kind!r}, BESIDE); one.prepare(); one.hold(5);"
        "print('held', flush=True); input()"
    )
    with python(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        silent = network.is_silent(*STRANGERS)
        process.kill()
    assert silent
    wait_for(lambda: not network.is_silent(STRANGER[6]), "the end of the trial")
    assert network.is_open(*STRANGERS)
    # What is protected for good stays so.
    assert all(network.udp_is_lost(source, DNS.number) for source in EVERYBODY)


def test_to_hold_again_prolongs_or_shortens(kind: str, network: Network) -> None:
    firewall = make(kind, TRIAL)
    firewall.prepare()
    firewall.hold(600)
    firewall.hold(2)
    wait_for(lambda: not network.is_silent(STRANGER[6]), "the end of the trial")
    assert network.is_open(*EVERYBODY)
    firewall.hold(600)
    assert network.is_silent(*EVERYBODY)


def test_sessions_go_on_through_begin_end_and_confirmation(
    kind: str, network: Network
) -> None:
    sessions = [network.session(source) for source in EVERYBODY]
    make(kind, SETTINGS._replace(protect=())).prepare()
    trial = make(kind, TRIAL)
    trial.prepare()
    trial.hold(60)
    assert network.is_silent(*STRANGERS)
    assert all(session.lives() for session in sessions)
    make(kind).prepare()
    assert network.is_silent(*STRANGERS)
    assert all(session.lives() for session in sessions)


def test_grants_live_on_when_it_begins_ends_and_is_confirmed(
    kind: str, network: Network
) -> None:
    first = make(kind, SETTINGS._replace(protect=()))
    first.prepare()
    first.grant(to(CLIENT[4]), 60)
    for settings, hold in ((TRIAL, 60), (TRIAL, 60), (SETTINGS, 0), (SETTINGS, 0)):
        firewall = make(kind, settings)
        firewall.prepare()
        if hold:
            firewall.hold(hold)
        assert [one.grant for one in firewall.grants()] == [to(CLIENT[4])]
        assert network.is_open(CLIENT[4])
        assert network.is_silent(STRANGER[4])


def test_when_the_rules_are_made_anew_nothing_is_dropped_until_it_is_held(
    kind: str, network: Network
) -> None:
    firewall = make(kind, TRIAL)
    firewall.prepare()
    firewall.hold(60)
    flush(kind)
    assert network.is_open(*STRANGERS)
    assert firewall.repair()
    firewall.hold(60)
    assert network.is_silent(*STRANGERS)


def test_without_it_nothing_is_left(kind: str, network: Network) -> None:
    firewall = make(kind, TRIAL)
    firewall.prepare()
    firewall.hold(60)
    firewall.remove()
    assert network.is_open(*EVERYBODY)


def flush(kind: str) -> None:
    """Take all rules away, as somebody who loads another firewall does."""
    if "nftables" in kind:
        sh("nft", "flush", "ruleset")
        return
    for program in ("iptables", "ip6tables"):
        sh(f"{program}{VARIANTS[kind][0]}", "-F")
