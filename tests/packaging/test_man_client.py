"""The client's man pages: well-formed, and true about options and keys."""

import argparse
import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.transfers import TRANSFERS

from spassh import errors, fwknop_profile, profile
from spassh.ends import CHUNK
from spassh.protocol.fwknop.digests import DEFAULT_DIGEST, DIGESTS
from spassh.protocol.fwknop.keys import MAX_HMAC_KEY, MAX_KEY
from spassh.protocol.limits import DEFAULT_KNOCK_PORT
from spassh.usage import parser
from spassh.verbs import fwknoprc

MAN = Path(__file__).parents[2] / "man"

COMMON = ["NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"]

SECTIONS = {
    "spassh.1": [
        *COMMON,
        "ENVIRONMENT",
        "EXIT STATUS",
        "DIAGNOSTICS",
        "SECURITY CONSIDERATIONS",
    ],
    "spassh.toml.5": [*COMMON, "COMING FROM FWKNOP", "SECURITY CONSIDERATIONS"],
}

# It depends on what is installed where the test runs.
NOT_THE_PAGE = ("referenced manual not found", "mandoc.db")


def read(page: str) -> str:
    return (MAN / page).read_text()


@pytest.mark.parametrize("page", SECTIONS)
@pytest.mark.parametrize(
    "program", [["mandoc", "-T", "lint"], ["groff", "-mdoc", "-ww", "-z"]], ids=str
)
def test_a_page_is_well_formed(program: list[str], page: str) -> None:
    if not shutil.which(program[0]):
        pytest.skip(f"no {program[0]} here")
    done = subprocess.run(
        [*program, str(MAN / page)], capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).splitlines()
    assert [
        line for line in said if not any(word in line for word in NOT_THE_PAGE)
    ] == []


@pytest.mark.parametrize("page", SECTIONS)
def test_a_page_has_its_sections(page: str) -> None:
    sections = re.findall(r"^\.Sh (.*)$", read(page), re.MULTILINE)
    assert sorted(sections) == sorted(SECTIONS[page])


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each verb, and that of all of them as ""."""
    top = parser()
    verbs = next(
        action.choices
        for action in top._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return {"": top, **verbs}


def items(page: str, begin: str, end: str) -> list[str]:
    """Return the heads of the list items between two lines, each on one line."""
    text = read(page).split(begin, 1)[1].split(end, 1)[0]
    text = re.sub(
        r"^\.It Xo\n(.*?)\.Xc$", _joined, text, flags=re.DOTALL | re.MULTILINE
    )
    return re.findall(r"^\.It (.*)$", text, re.MULTILINE)


def _joined(head: "re.Match[str]") -> str:
    return ".It " + " ".join(line.lstrip(".") for line in head[1].splitlines())


def documented_options() -> set[tuple[str, str]]:
    """Return (verb, option) for each option that has an item of its own."""
    found = set()
    verb = ""
    for head in items("spassh.1", ".Sh DESCRIPTION", "These options stand alone"):
        if head.startswith("Nm Cm "):
            verb = head.split()[2]
        elif not head.startswith("Li "):  # a word that the verb prints
            found |= {(verb, option) for option in flags(head)}
    for head in items("spassh.1", "These options stand alone", ".Sh ENVIRONMENT"):
        found |= {("", option) for option in flags(head)}
    return found


def flags(head: str) -> list[str]:
    """Return the options in the head of an item: `Fl v , -verbose` has two."""
    words = head.split()
    assert words[0] == "Fl"
    end = words.index("Ar") if "Ar" in words else len(words)
    return [f"-{word}" for word in words[1:end] if word != ","]


def test_the_page_and_the_help_have_the_same_options() -> None:
    expected = {
        (verb, option)
        for verb, its_parser in parsers().items()
        for action in its_parser._actions
        for option in action.option_strings
        # Every verb has a help, and the page tells so once.
        if not verb or action.dest != "help"
    }
    assert documented_options() == expected


def test_the_page_and_the_help_have_the_same_verbs() -> None:
    heads = items("spassh.1", ".Sh DESCRIPTION", "These options stand alone")
    verbs = {head.split()[2] for head in heads if head.startswith("Nm Cm ")}
    assert verbs == set(parsers()) - {""}


def test_the_synopsis_has_every_option_and_argument() -> None:
    synopsis = read("spassh.1").split(".Sh SYNOPSIS")[1].split(".Sh")[0]
    for verb, its_parser in parsers().items():
        text = synopsis.split(f".Cm {verb}\n")[-1].split(".Nm\n")[0]
        for action in its_parser._actions:
            if action.dest in {"help", "verb"}:
                continue
            # Of two spellings, the short one is enough.
            word = (
                action.option_strings[0][1:] if action.option_strings else action.dest
            )
            assert re.search(rf"(?:Fl|Ar) {word}\b", text if verb else synopsis), word


def test_the_synopsis_has_no_other_option() -> None:
    synopsis = read("spassh.1").split(".Sh SYNOPSIS")[1].split(".Sh")[0]
    told = {
        (block.split("\n")[0].removeprefix(".Cm ") if ".Cm" in block else "", option)
        for block in synopsis.split("\n.Nm\n")[1:]
        for option in re.findall(r"Fl (-?[\w-]+)", block)
        if option != "-"  # what comes before a command
    }
    expected = {
        (verb, option[1:])
        for verb, its_parser in parsers().items()
        for action in its_parser._actions
        for option in action.option_strings
    }
    assert told <= expected
    assert ("enroll", "-name") in told


def test_the_page_and_the_profile_have_the_same_keys() -> None:
    heads = items("spassh.toml.5", "with these keys", ".Ss")
    assert [head.removeprefix("Ic ") for head in heads] == list(profile._REQUIREMENTS)


def test_the_page_and_a_profile_for_an_fwknopd_have_the_same_keys() -> None:
    heads = items("spassh.toml.5", ".Ss Profiles for an fwknopd", ".Ss")
    found = [head.removeprefix("Ic ") for head in heads]
    assert found == list(fwknop_profile.REQUIREMENTS)
    text = read("spassh.toml.5")
    assert f"passphrase of 1 to {MAX_KEY} bytes" in text
    assert f"passphrase of 1 to {MAX_HMAC_KEY} bytes" in text
    digests = re.findall(r"\\(?:\(dq)(md5|sha\w+)\\", text)
    assert digests == [*DIGESTS, DEFAULT_DIGEST, DEFAULT_DIGEST]


def test_every_variable_of_fwknop_is_in_the_table_with_what_became_of_it() -> None:
    text = read("spassh.toml.5").split(".Sh COMING FROM FWKNOP\n")[1].split(".Sh ")[0]
    found: dict[str, str] = {}
    for item in text.replace("\\\n", "").split("\n.It Li ")[1:]:
        names, _, fate = item.partition("\n")
        words = " ".join(fate.partition("\n.")[0].split())
        found |= dict.fromkeys(map(str.strip, names.split(" , ")), words)
    assert set(found) == fwknoprc.CARRIED.union(fwknoprc.DECISIVE, fwknoprc.LEFT)
    for name, why in (fwknoprc.DECISIVE | fwknoprc.LEFT).items():
        assert found[name] == why
    assert all(found.values())


def test_the_page_has_a_word_about_every_program_that_is_tried() -> None:
    section = read("spassh.1").split(".Ss Other programs")[1].split(".Sh ")[0]
    words = set(re.findall(r"\w+", section))
    assert {name.split()[0] for name in TRANSFERS} <= words


def test_the_page_has_the_limits_of_the_profile() -> None:
    page = read("spassh.toml.5")
    for number in (
        DEFAULT_KNOCK_PORT,
        profile.DEFAULT_TIMEOUT,
        profile.MAX_TIMEOUT,
        65535,
    ):
        assert f" {number}." in page


def test_the_page_says_how_much_a_relay_holds() -> None:
    text = " ".join(read("spassh.1").split())
    assert f"at most {CHUNK // 1024} KiB in each direction" in text


# What the program says

# Not those of single verbs, which hand on what another has said.
ERRORS = {
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.SpasshError)
}
NOT_LISTED = {
    # What argparse says of a command line: the page tells that of all of it.
    "message",
    # A finding of `spassh doctor` has it as its reason.
    re.escape("sudo there wants a password, and nobody is asked for one"),
}


def raised() -> Iterator[tuple[str, str]]:
    """Yield where an error is made, and a pattern of its message."""
    for path in sorted((MAN.parent / "spassh").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).split(".")[-1]
            if name in ERRORS:
                of_file = name == "ProfileError"
                text = pattern(node.args[1 if of_file else 0])
                yield f"{path}:{node.lineno}", f"FILE: {text}" if of_file else text


def pattern(message: ast.expr) -> str:
    if isinstance(message, ast.JoinedStr):
        return "".join(
            ".+" if isinstance(part, ast.FormattedValue) else pattern(part)
            for part in message.values
        )
    if isinstance(message, ast.Constant):
        return re.escape(str(message.value))
    return ast.unparse(message)


def _is_about(item: str, text: str) -> bool:
    """Tell if an item of the page is about messages with the pattern `text`."""
    words = re.sub("[A-Z]{3,}", ".+", re.escape(item))
    example = re.sub(r"\\(.)", r"\1", text.replace(".+", "x"))
    return bool(re.fullmatch(text, item) or re.fullmatch(words, example))


def test_every_error_that_is_raised_is_in_the_page_and_back() -> None:
    section = read("spassh.1").split(".Sh DIAGNOSTICS")[1].split(".Sh ")[0]
    listed = set(re.findall(r'^\.It Li "(.*)"$', section, re.MULTILINE))
    sayings = dict(raised())
    assert set(sayings.values()) > NOT_LISTED
    found = {
        where: {item for item in listed if _is_about(item, text)}
        for where, text in sayings.items()
        if text not in NOT_LISTED
    }
    assert {where: sayings[where] for where, items in found.items() if not items} == {}
    assert listed - set().union(*found.values()) == set()


def test_every_variable_of_the_environment_is_in_the_page_and_back() -> None:
    used = {
        name
        for path in (MAN.parent / "spassh").rglob("*.py")
        for name in re.findall(r'environ\.get\("(\w+)"', path.read_text())
    }
    section = read("spassh.1").split(".Sh ENVIRONMENT")[1].split(".Sh ")[0]
    assert set(re.findall(r"^\.It Ev (\w+)$", section, re.MULTILINE)) == used
