"""The stand-ins behave as the programs were seen to do: facts were taken from them."""

import subprocess
from pathlib import Path

import pytest
from firewall.fakes.install import install
from firewall.fakes.ipfw import MAX_COMMENT, Engine, Packet, state_of
from firewall.fakes.pfctl import LETS_ALL_IN, Pf
from firewall.fakes.pfctl import state_of as state_of_pf

SYN = Packet("192.0.2.9", 4000, "192.0.2.1", 22)
ACK = SYN._replace(flags="A")


class Shell:
    """Runs one stand-in, and tells what it said."""

    def __init__(self, name: str, directory: Path) -> None:
        self.path = install(name, directory)

    def __call__(self, line: str, text: str = "") -> tuple[int, str, str]:
        words = [self.path, *line.split()]
        done = subprocess.run(
            words, check=False, capture_output=True, text=True, input=text
        )
        return done.returncode, done.stdout.rstrip("\n"), done.stderr.rstrip("\n")

    def judge(self, packet: Packet) -> bool:
        return Engine(state_of(self.path)).judge(packet)


@pytest.fixture
def ipfw(tmp_path: Path) -> Shell:
    return Shell("ipfw", tmp_path)


@pytest.fixture
def pfctl(tmp_path: Path) -> Shell:
    return Shell("pfctl", tmp_path)


AUTO_CREATED = (
    "ipfw: DEPRECATED: inserting data into non-existent table a. (auto-created)"
)
SSH = "allow tcp from 192.0.2.1 to me dst-port 22"
GRANT = "allow tcp from any to me 22 setup keep-state"


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        ([f"add {SSH}"], (0, f"00100 {SSH}", "")),
        ([f"add {SSH}", f"add {SSH}"], (0, f"00200 {SSH}", "")),
        ([f"add 0 {SSH}"], (0, f"00100 {SSH}", "")),
        ([f"-q add {SSH}"], (0, "", "")),
        (["add 65534 count ip from any to any", f"add {SSH}"], (0, f"65534 {SSH}", "")),
        (
            [f"add 65535 {SSH}"],
            (69, "", "ipfw: getsockopt(IP_FW_XADD): Invalid argument"),
        ),
        (["add pass tcp from 192.0.2.1 to me 22"], (0, f"00100 {SSH}", "")),
        (
            ["add 1 permit ip from any to any"],
            (0, "00001 allow ip from any to any", ""),
        ),
        (
            ["add allow tcp from 192.0.2.300 to me"],
            (68, "", "ipfw: hostname ``192.0.2.300'' unknown"),
        ),
        (["add open tcp from any to me"], (65, "", "ipfw: invalid action open")),
        (["-n add open tcp from any to me"], (65, "", "ipfw: invalid action open")),
        ([f"-n add 5 {SSH}"], (0, f"00005 {SSH}", "")),
        ([f"add 9 set 32 {SSH}"], (65, "", "ipfw: illegal set 32")),
        (["frob"], (64, "", "ipfw: bad command `frob'")),
        (["delete 150"], (69, "", "ipfw: rule 150 not found")),
        (["delete set 5"], (69, "", "ipfw: rule 0 not found")),
        (["list 101"], (69, "", "ipfw: rule 101 does not exist")),
        (["list set 5"], (64, "", "ipfw: bad arguments `set'")),
        ([f"add 7 {SSH} // a  b"], (0, f"00007 {SSH} // a b", "")),
        ([f"add {SSH} //"], (64, "", "ipfw: need comment text")),
        (
            [f"add {SSH} // {'x' * (MAX_COMMENT + 1)}"],
            (65, "", "ipfw: comment too long (max 80 chars)"),
        ),
        (["set swap 5 6"], (0, "", "")),
        (
            ["table a create", "table a create"],
            (71, "", "ipfw: Table creation failed: File exists"),
        ),
        (
            ["table a create", "table a add 192.0.2.1 7"],
            (0, "added: 192.0.2.1/32 7", ""),
        ),
        (
            ["table a create", "table a add 192.0.2.1 7", "table a add 192.0.2.1 8"],
            (
                71,
                "exists: 192.0.2.1/32 7",
                "ipfw: Adding record failed: record already exists",
            ),
        ),
        (
            ["table a create", "table a add ::1 4294967296", "table a list"],
            (0, "--- table(a), set(0) ---\n::1/128 0", ""),
        ),
        (
            ["table a create", "table a add ::1 hello"],
            (71, "", "ipfw: Unable to parse value hello"),
        ),
        (
            ["table a create", "-q table a delete ::1"],
            (71, "", "ipfw: Deleting record failed: record not found"),
        ),
        (
            ["table a add 192.0.2.1 7"],
            (
                0,
                "added: 192.0.2.1/32 7",
                AUTO_CREATED,
            ),
        ),
        (
            [
                "table f create type flow:src-ip,proto,dst-port",
                "-q table f add 192.0.2.9,tcp,22 1",
                "-q table f add 192.0.2.9,6,22 2",
                "table f list",
            ],
            (0, "--- table(f), set(0) ---\n192.0.2.9,6,22 2", ""),
        ),
        (
            [
                "table f create type flow:src-ip,proto,dst-port",
                "add 9 allow ip from any to me flow table(f) setup keep-state",
                "table f destroy",
            ],
            (71, "", "ipfw: failed to destroy table f: Device or resource busy"),
        ),
        (
            ["table f create type flow:src-ip,proto,dst-port", "table f destroy"],
            (0, "", ""),
        ),
    ],
)
def test_ipfw_answers_as_the_real_one_did(
    ipfw: Shell, lines: list[str], answer: tuple[int, str, str]
) -> None:
    *first, last = lines
    for line in first:
        ipfw(line)
    assert ipfw(last) == answer


def test_ipfw_keeps_rules_that_are_the_same(ipfw: Shell) -> None:
    for _ in range(2):
        ipfw(f"add 150 {SSH}")
    assert ipfw("list 150")[1].splitlines() == [f"00150 {SSH}"] * 2
    assert ipfw("delete 150")[0] == 0
    assert ipfw("delete 150")[0] == 69


def test_ipfw_deletes_on_after_what_is_missing(ipfw: Shell) -> None:
    ipfw(f"add 65534 {SSH}")
    assert ipfw("delete 100 65534") == (69, "", "ipfw: rule 100 not found")
    assert ipfw("list 65534")[0] == 69


def test_ipfw_shows_disabled_rules_only_with_their_sets(ipfw: Shell) -> None:
    ipfw(f"add 200 set 5 {SSH}")
    ipfw("set disable 5 31")
    assert ipfw("list")[1] == "65535 allow ip from any to any"
    shown = ipfw("-S list")[1].splitlines()
    assert shown[0] == f"# DISABLED 00200 set 5 {SSH}"
    assert ipfw("set 4 delete 200")[0] == 69
    assert ipfw("set 5 delete 200")[0] == 0


def test_ipfw_stops_a_file_at_the_first_error_and_keeps_the_rest(ipfw: Shell) -> None:
    text = f"# first\nadd 1 {SSH} # end\n\nadd 2 open all\nadd 3 {SSH}\n"
    assert ipfw("-q /dev/stdin", text)[0] == 65
    assert ipfw("list")[1].splitlines()[:-1] == [f"00001 {SSH}"]


def test_the_states_of_ipfw_die_with_their_rule(ipfw: Shell) -> None:
    ipfw(f"add 900 {GRANT}")
    ipfw("add 1000 deny tcp from any to me 22")
    assert ipfw.judge(SYN)
    assert ipfw.judge(ACK)
    ipfw("delete 900")
    assert not ipfw.judge(ACK)


@pytest.mark.parametrize("early", [True, False])
def test_a_disabled_rule_of_ipfw_keeps_its_states_if_they_are_looked_up(
    ipfw: Shell, early: bool
) -> None:
    if early:
        ipfw("add 10 check-state")
    ipfw(f"add 900 set 1 {GRANT}")
    ipfw("add 1000 deny tcp from any to me 22")
    assert ipfw.judge(SYN)
    ipfw("set disable 1")
    assert ipfw.judge(ACK) is early
    assert not ipfw.judge(SYN._replace(source_port=4001))


def test_an_entry_of_a_table_may_go_and_its_states_stay(ipfw: Shell) -> None:
    ipfw("table f create type flow:src-ip,proto,dst-port")
    ipfw("table f add 192.0.2.9,tcp,22 1")
    ipfw("add 900 allow ip from any to me flow table(f) setup keep-state")
    ipfw("add 1000 deny tcp from any to me 22")
    assert ipfw.judge(SYN)
    ipfw("table f delete 192.0.2.9,tcp,22")
    assert ipfw.judge(ACK)
    assert ipfw.judge(ACK.answer())
    assert not ipfw.judge(SYN._replace(source_port=4001))


def test_established_lets_any_bare_ack_through(ipfw: Shell) -> None:
    ipfw("add 900 allow tcp from any to me established")
    ipfw("add 1000 deny tcp from any to me 22")
    assert ipfw.judge(ACK)
    assert not ipfw.judge(SYN)


def test_limit_denies_the_second_connection(ipfw: Shell) -> None:
    ipfw("add 900 allow tcp from any to me 22 setup limit src-addr 1")
    ipfw("add 1000 deny tcp from any to me 22")
    assert ipfw.judge(SYN)
    assert not ipfw.judge(SYN._replace(source_port=4001))


def test_states_have_names(ipfw: Shell) -> None:
    ipfw("add 10 check-state :other")
    ipfw(f"add 900 set 1 {GRANT} :mine")
    ipfw("add 1000 deny tcp from any to me 22")
    assert ipfw.judge(SYN)
    ipfw("set disable 1")
    assert not ipfw.judge(ACK)
    ipfw("add 11 check-state :mine")
    assert ipfw.judge(ACK)


PARSE = "-nv -a spa/g1 -f -"
LOADED = "pfctl: Syntax error in config file: pf rules not loaded"
CANONICAL = (
    "pass in quick inet proto tcp from 192.0.2.1 to any"
    " port = ssh flags S/SA keep state"
)


@pytest.mark.parametrize(
    ("line", "text", "answer"),
    [
        (
            PARSE,
            "pass in quick proto tcp from 192.0.2.1 to any port 22",
            (0, CANONICAL, ""),
        ),
        (PARSE, CANONICAL, (0, CANONICAL, "")),
        (
            PARSE,
            'block in proto udp from any to any label "a b"',
            (0, 'block drop in proto udp from any to any label "a b"', ""),
        ),
        (PARSE, "table <spa_ssh> persist { 192.0.2.1 }", (0, "", "")),
        (PARSE, "frob", (1, "", f"stdin:1: syntax error\n{LOADED}")),
        (
            PARSE,
            "\npass in quick proto tcp from any to any port 22;x",
            (1, "", f"stdin:2: syntax error\n{LOADED}"),
        ),
        (
            PARSE,
            "pass in proto tcp from any to any rdr-to 127.0.0.1",
            (1, "", f"stdin:1: syntax error\n{LOADED}"),
        ),
        (
            PARSE,
            f'block in from any label "{"x" * 64}"',
            (1, "", f"stdin:1: rule label too long (max 63 chars)\n{LOADED}"),
        ),
        (
            "-n -t spa_ssh -T add 192.0.2.1",
            "",
            (0, "", "0/1 addresses added (syntax only)."),
        ),
        (
            "-t spa_ssh -T add 192.0.2.300",
            "",
            (1, "", "no IP address found for 192.0.2.300"),
        ),
    ],
)
def test_pfctl_answers_as_the_real_one_did(
    pfctl: Shell, line: str, text: str, answer: tuple[int, str, str]
) -> None:
    """Which had no kernel: what it says of tables and anchors is from its manual."""
    assert pfctl(line, text) == answer
    assert not Path(state_of_pf(pfctl.path)).exists(), "nothing was loaded"


def test_a_label_of_pf_has_63_characters(pfctl: Shell) -> None:
    rule = f'block drop in from any to any label "{"x" * 63}"'
    assert pfctl(PARSE, rule) == (0, rule, "")


def test_tables_of_pf_are_made_by_adding_to_them_and_by_nothing_else(
    pfctl: Shell,
) -> None:
    missing = (255, "", "pfctl: Table does not exist.")
    for verb in ("show", "delete 192.0.2.1"):
        assert pfctl(f"-a x -t spa_ssh -T {verb}") == missing
    for added in (1, 0):
        said = f"{added}/1 addresses added."
        assert pfctl("-a x -t spa_ssh -T add 192.0.2.1") == (0, "", said)
    assert pfctl("-a x -t spa_ssh -T show") == (0, "   192.0.2.1", "")
    assert pfctl("-q -a x -t spa_ssh -T delete 192.0.2.1") == (0, "", "")


def test_what_no_rule_of_pf_decides_has_no_state(pfctl: Shell) -> None:
    pf = Pf(state_of_pf(pfctl.path))
    pf.data["main"] = [LETS_ALL_IN]
    assert pf.judge(SYN)
    pf.data["main"] = []
    assert pf.judge(SYN._replace(source_port=4001))
    pf.data["main"] = ["block drop quick all"]
    assert pf.judge(ACK)
    assert pf.judge(ACK.answer())
    assert not pf.judge(SYN), "no connection begins in another's place"
    assert not pf.judge(ACK._replace(source_port=4001))
