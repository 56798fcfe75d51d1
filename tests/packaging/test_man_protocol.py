"""spassh-protocol(7), docs/PROTOCOL.md and the code have the same numbers and words."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from spassh.protocol import (
    errors,
    invite,
    keys,
    limits,
    noise,
    packet,
    request,
    sealed_invite,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "man" / "spassh-protocol.7"
SOURCE = PAGE.read_text(encoding="ascii")
SPECIFICATION = (ROOT / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, str]:
    """Return the rows of a table of Markdown, by their first column."""
    return dict(re.findall(r"^\| (.*?) \| (.*?) \|$", text, re.MULTILINE))


def test_mandoc_finds_no_fault() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed: scripts/test installs it")
    done = subprocess.run(
        ["mandoc", "-T", "lint", str(PAGE)], check=False, capture_output=True, text=True
    )
    said = (done.stdout + done.stderr).splitlines()
    assert [
        line
        for line in said
        if "referenced manual not found" not in line and "mandoc.db" not in line
    ] == []


LIMITS = {
    "protocol version": limits.PROTOCOL_VERSION,
    "UDP destination port, unless both sides say otherwise": (
        limits.DEFAULT_KNOCK_PORT
    ),
    "datagram that asks for access": limits.ACCESS_DATAGRAM,
    "datagram with a command": limits.COMMAND_DATAGRAM,
    "everything in a datagram but the payload (4 + 32 + 48 + 16 + 16)": (
        limits.OVERHEAD
    ),
    "payload of an access datagram": limits.ACCESS_PAYLOAD,
    "payload of a command datagram": limits.COMMAND_PAYLOAD,
    "OpenPGP message of a signed request": limits.MAX_MESSAGE,
    "random bytes that a datagram consumes": limits.RANDOMNESS_SIZE,
    "freshness window, either way": limits.WINDOW_MS,
    "longest lifetime": limits.MAX_LIFETIME,
    "most words of a command, the program among them": limits.MAX_ARGUMENTS,
    "bytes of a command, the lengths of its words among them": (
        limits.COMMAND_PAYLOAD - request._FIXED.size
    ),
    "bytes of a user name in an invite": limits.MAX_NAME,
    "bytes of a host in an invite": 253,
    "bytes of a passphrase": limits.MAX_PASSPHRASE,
}
"""The beginning of each row in section 2, and what the code has for it."""


def test_the_limits_of_the_specification_are_those_of_the_code() -> None:
    section = SPECIFICATION.split("## 2. Limits")[1].split("\n## ")[0]
    told = rows(section)
    del told["limit"]
    expected = {}
    for row in told:
        (name,) = [one for one in LIMITS if row.startswith(one)]
        expected[row] = LIMITS[name]
    assert len(expected) == len(LIMITS)
    assert {
        row: int(re.sub(r" (?=\d)|\D+$", "", value.removeprefix("1 to ")))
        for row, value in told.items()
    } == expected


def test_the_page_has_the_sizes_and_labels_of_the_code() -> None:
    text = " ".join(SOURCE.replace("\\ ", " ").split())
    for words in (
        f"A datagram has {limits.ACCESS_DATAGRAM} bytes,",
        f"or {limits.COMMAND_DATAGRAM} bytes if it carries a command",
        f"destination port is {limits.DEFAULT_KNOCK_PORT} unless",
        f"byte[{limits.TAG_SIZE}] tag",
        f"byte[{limits.EPHEMERAL_SIZE}] ephemeral public key",
        f"byte[{limits.STATIC_SIZE}] encrypted public key of the client",
        f"byte[n + {limits.AEAD_TAG_SIZE}] encrypted payload, n =",
        f"n = {limits.ACCESS_PAYLOAD} or {limits.COMMAND_PAYLOAD}",
        f"byte[{limits.MAC_SIZE}] mac",
        f".Ql {noise.PROTOCOL_NAME.decode()}",
        f".Ql {packet.PROLOGUE.decode()} .",
        f"a secret of {limits.KEY_SIZE} bytes, the pre-shared key",
        f"over the first {packet._TAG_INPUT} bytes of the ephemeral key",
        f"byte version {limits.PROTOCOL_VERSION} byte",
        f"flags 0x{request._FLAG_COMMAND:02x}: command",
        f"protocol {request.TCP} (TCP) or {request.UDP} (UDP)",
        f"seconds, at most {limits.MAX_LIFETIME};",
        f"more than {limits.WINDOW_MS // 1000} seconds from the server's clock",
    ):
        assert words in text, words


def test_both_describe_the_payload_alike() -> None:
    """The fields in their order, each with its type."""
    fields = SPECIFICATION.split("### 5.1 Fields")[1].split("### 5.2")[0]
    specified = re.findall(
        r"^ *\S+ +(byte\S*|u\d+) +(\w+(?: \w+)?)", fields, re.MULTILINE
    )
    block = SOURCE.split(".Ss Payload")[1].split(".Ed")[0]
    described = re.findall(r"^(byte\S*|u\d+) +(\w+(?: \w+)?)", block, re.MULTILINE)
    assert len(specified) > 10
    assert described == specified


def test_every_outcome_is_described_and_back() -> None:
    section = SOURCE.split(".Ss Opening")[1].split(".Ss ")[0]
    listed = re.findall(r"^\.It (\S+)$", section, re.MULTILINE)
    outcomes = {error.outcome for error in errors.PacketError.__subclasses__()}
    assert set(listed) == outcomes | {"refused", "success"}
    table = SPECIFICATION.split("### 6.1 Order")[1].split("### 6.2")[0]
    words = re.findall(r"\| ([a-z, -]+) \|$", table, re.MULTILINE)
    specified = {one for words_of_step in words for one in words_of_step.split(", ")}
    assert set(listed) == specified - {"outcome on failure"}


def test_every_text_form_is_described_and_back() -> None:
    section = SOURCE.split(".Ss Text forms")[1].split(".Sh ")[0]
    listed = re.findall(r"^\.It Ql (\S+)$", section, re.MULTILINE)
    prefixes = [keys.PUBLIC, keys.SECRET, keys.PSK]
    prefixes += [invite.PREFIX, sealed_invite.PREFIX]
    assert listed == prefixes
    for prefix in prefixes:
        assert f"`{prefix}" in SPECIFICATION or f'"{prefix}"' in SPECIFICATION


def test_the_example_is_a_datagram_that_the_code_makes() -> None:
    vector = ROOT / "tests" / "vectors" / "native" / "access_ipv4_source.vec"
    head, datagram = vector.read_text(encoding="ascii").split("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    example = SOURCE.split("\n.Sh EXAMPLES\n")[1].split("\n.Sh ")[0]
    made_from, shown = re.findall(r"\n\.Bd .*\n([^.]*)\n\.Ed", example)
    assert shown == datagram.strip()
    words = re.sub(r"\n +", "", made_from).splitlines()
    assert {" ".join(line.split()[:-1]): line.split()[-1] for line in words} == {
        name: fields[name]
        for name in ("server secret", "client secret", "psk", "randomness")
    }
    wanted = json.loads(fields["request"])
    assert (wanted["port"], wanted["protocol"], wanted["address"]) == (22, 6, "")
    assert f"{wanted['time']} milliseconds" in example


def test_the_page_has_the_sections_of_what_is_no_program() -> None:
    sections = re.findall(r"^\.Sh (.*)$", SOURCE, re.MULTILINE)
    assert sections == [
        *("NAME", "DESCRIPTION", "EXAMPLES", "SEE ALSO", "STANDARDS"),
        "SECURITY CONSIDERATIONS",
    ]
