"""The files themselves: made by their generators, complete, named in PROTOCOL.md."""

import re
from pathlib import Path

from vectors.generate import everything, worked_example
from vectors.vector_file import NAMES, NATIVE, load

from spassh.protocol.errors import PacketError

CHECKOUT = Path(__file__).parents[2]
PROTOCOL = (CHECKOUT / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")


def test_generating_the_files_again_yields_the_same_bytes() -> None:
    assert everything() == {
        name: (NATIVE / f"{name}.vec").read_bytes().decode("ascii") for name in NAMES
    }


def test_every_file_is_named_in_the_specification_and_back() -> None:
    assert set(NAMES) == set(re.findall(r"`([a-z0-9_]+)\.vec`", PROTOCOL))


def test_every_outcome_of_opening_has_a_file() -> None:
    outcomes = {kind.outcome for kind in PacketError.__subclasses__()} | {"success"}
    assert outcomes == {load(name).headers["expect"] for name in NAMES}


def test_every_authentic_file_has_an_identity_of_its_own() -> None:
    identities = [load(name).headers.get("handshake hash") for name in NAMES]
    known = [identity for identity in identities if identity]
    assert len(set(known)) == len(known)


def test_the_worked_example_is_what_the_code_computes() -> None:
    section = PROTOCOL.partition("\n## 10. ")[2].partition("\n## 11. ")[0]
    assert section.split("```\n")[1] == worked_example.text()


def test_the_worked_example_is_a_vector() -> None:
    assert worked_example.packet()[1] == load("access_ipv4_source").packet


def test_every_section_that_the_code_cites_exists() -> None:
    cited = set()
    for path in CHECKOUT.glob("spassh/protocol/*.py"):
        text = re.sub(r"(Noise|RFC \d+) section", "", path.read_text(encoding="utf-8"))
        for first, second in re.findall(
            r"[Ss]ections? (\d+(?:\.\d+)?)(?: and (\d+(?:\.\d+)?))?", text
        ):
            cited |= {first, second} - {""}
    headings = set(re.findall(r"^##+ (\d+(?:\.\d+)?)", PROTOCOL, re.MULTILINE))
    assert cited
    assert not cited - headings
