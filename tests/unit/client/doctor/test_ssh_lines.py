"""Which line of ssh's configuration it was, from what ssh tells."""

from pathlib import Path

import pytest

from spassh.verbs.doctor.here import missing_program
from spassh.verbs.doctor.ssh_lines import MAX_BYTES, Place, find_line, read_config

OURS = "spassh proxy --fdpass -- %h %p"
KEYWORDS = ("proxycommand", "proxyjump")

FILES = {
    "/c": f"Include /i\nHost other\n    ProxyCommand {OURS}\nHost *\n    ProxyJump b\n",
    "/i": f"# ProxyCommand {OURS}\nHost foo\n  proxycommand = {OURS} \nHost x\n",
    "/m": f"Host x\nProxyJump b\nMatch host foo\nProxyCommand {OURS}\n",
    "/g": f"ProxyCommand {OURS}\nHost foo\nProxyCommand {OURS}\n",
}


def reading(path: str) -> str:
    return f"debug1: Reading configuration data {path}"


def applying(path: str, line: int) -> str:
    return f"debug1: {path} line {line}: Applying options for foo"


@pytest.mark.parametrize(
    ("story", "value", "place"),
    [
        ([reading("/c"), reading("/i"), applying("/i", 2)], OURS, Place("/i", 3)),
        ([reading("/c"), applying("/c", 4)], "b", Place("/c", 5)),
        ([reading("/c"), applying("/c", 2)], OURS, Place("/c", 3)),
        # The block is for another host.
        ([reading("/c"), applying("/c", 4)], OURS, None),
        # What Match says is known to ssh alone, so the value has to tell.
        ([reading("/m")], OURS, Place("/m", 4)),
        ([reading("/m")], "b", None),
        # What stands before any Host is for all of them.
        ([reading("/g"), applying("/g", 2)], OURS, Place("/g", 1)),
        ([reading("/gone"), reading("/c")], "b", None),
        ([], OURS, None),
        (["debug1: whatever", "", "no debug1: Reading configuration"], OURS, None),
    ],
)
def test_the_line_is_the_first_that_applies_and_says_so(
    story: list[str], value: str, place: Place | None
) -> None:
    found = find_line(story, KEYWORDS, value, lambda path: FILES.get(path, ""))
    assert found == place


def test_a_place_is_a_file_and_a_number() -> None:
    assert str(Place("/etc/ssh/ssh_config", 7)) == "/etc/ssh/ssh_config line 7"


def test_a_file_is_read_within_bounds_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "config"
    assert read_config(str(path)) == ""
    path.write_bytes(b"Host \xff\n")
    assert read_config(str(path)) == "Host \ufffd\n"
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    assert len(read_config(str(path))) == MAX_BYTES


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("sh proxy", ""),
        ("exec sh proxy", ""),
        ("'/bin/sh' proxy", ""),
        ("/nowhere/spassh proxy", "/nowhere/spassh"),
        ("'/no where/spassh' proxy", "/no where/spassh"),
        ("/no%%where/spassh proxy", "/no%where/spassh"),
        ("no-such-program proxy", "no-such-program"),
        ("'unbalanced proxy", ""),
        # What a shell makes of them is not known.
        ("$HOME/bin/spassh proxy", ""),
        ("LC_ALL=C /nowhere/spassh proxy", ""),
        ("", ""),
    ],
)
def test_the_program_of_a_command_is_there_or_not(command: str, missing: str) -> None:
    assert missing_program(command) == missing
