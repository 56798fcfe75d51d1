"""The documents: their links lead somewhere, and the records are all listed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECORDS = ROOT / "docs" / "adr"


def anchors(path: Path) -> set[str]:
    """Return what GitHub calls the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_record_is_listed_by_its_title() -> None:
    rows = re.findall(
        r"^\| \[(\d{4})\]\((.*?)\) \| (.*?) \|$",
        (RECORDS / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    files = sorted(RECORDS.glob("0*.md"))
    assert [file for _, file, _ in rows] == [path.name for path in files]
    for (number, _, title), path in zip(rows, files, strict=True):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# {number}: {title}"


@pytest.mark.parametrize("record", sorted(RECORDS.glob("0*.md")), ids=lambda p: p.name)
def test_every_record_has_its_parts(record: Path) -> None:
    """What a decision costs is part of it."""
    text = record.read_text(encoding="utf-8")
    assert re.search(r"^Status: \w+", text, re.MULTILINE)
    parts = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert {"Context", "Decision", "Consequences"} <= set(parts)
