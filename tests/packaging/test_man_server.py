"""spasshd(8) and the program say the same: verbs, options, exit codes, messages."""

import argparse
import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spassh.protocol.errors import Replayed, Stale
from spassh.protocol.limits import MAX_PASSPHRASE, WINDOW_MS
from spassh_server import cli, limits
from spassh_server.firewall import ipfw_sets_render
from spassh_server.openpgp.message import REASONS
from spassh_server.privsep import bounds, job_log, jobs
from spassh_server.signatures import Taken

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "server" / "spassh_server"
PAGE = CHECKOUT / "man" / "spasshd.8"
PAGES = [PAGE, CHECKOUT / "man" / "spasshd.toml.5"]
OUR_PAGES = {
    ("spassh", "1"),
    ("spassh.toml", "5"),
    ("spassh-protocol", "7"),
    ("spasshd", "8"),
    ("spasshd.toml", "5"),
}

SOURCE = PAGE.read_text(encoding="ascii").replace("\\\n", "")

Options = dict[str, str]
"""Each option with what it takes, as the page spells it; nothing for a flag."""


def section(name: str, text: str = SOURCE) -> str:
    """Return what stands under the heading `.Sh name`."""
    return text.partition(f"\n.Sh {name}\n")[2].partition("\n.Sh ")[0]


# The program


def parsers(
    parser: argparse.ArgumentParser, verb: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the parser of each verb that does something, and the top one as ''."""
    if not verb or parser.get_default("module"):
        yield verb, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from parsers(child, f"{verb} {name}".strip())


def offered(parser: argparse.ArgumentParser) -> Options:
    options = {}
    for action in parser._actions:
        if action.choices and not action.metavar:
            value = " | ".join(map(str, action.choices))
        else:
            value = str(action.metavar) if action.nargs != 0 else ""
        for name in action.option_strings:
            assert name in parser.format_help()
            options[name] = value
    return options


def arguments(parser: argparse.ArgumentParser) -> list[str]:
    return [
        str(action.metavar)
        for action in parser._actions
        if not action.option_strings
        and not isinstance(action, argparse._SubParsersAction)
    ]


OFFERED = dict(parsers(cli._parser()))

# The page


def listed(text: str) -> Options:
    """Return the options that are items of a list in `text`."""
    options: Options = {}
    for line in re.findall(r"^\.It (Fl .*)", text, re.MULTILINE):
        names, _, value = line.partition(" Ar ")
        options |= {f"-{name}": value for name in re.findall(r"Fl (\S+)", names)}
    return options


def documented() -> dict[str, Options]:
    """Return the options of each verb in VERBS; those without a verb as ''."""
    introduction, *verbs = section("VERBS").split("\n.Ss ")
    without_verb, common = (listed(one) for one in introduction.split("\n.El")[:2])
    found = {"": without_verb}
    for verb in verbs:
        name, _, text = verb.partition("\n")
        found[name] = common | listed(text)
    return found


def synopses() -> dict[str, tuple[Options, list[str]]]:
    """Return options and arguments of each verb in SYNOPSIS."""
    found = {}
    for block in ("\n" + section("SYNOPSIS")).split("\n.Nm\n")[1:]:
        verb = re.match(r"\.Cm (.*)", block)
        names = re.findall(r"^\.Op (Fl .*)", block, re.MULTILINE)
        positional = re.findall(r"^\.Ar (.*?)(?: \.\.\.)?$", block, re.MULTILINE)
        text = "\n".join(f".It {name}" for name in names)
        found[verb[1] if verb else ""] = (listed(text), positional)
    return found


def test_every_verb_and_option_is_described_and_back() -> None:
    assert documented() == {verb: offered(one) for verb, one in OFFERED.items()}


def test_the_synopsis_has_every_verb_option_and_argument_and_back() -> None:
    expected = {}
    for verb, parser in OFFERED.items():
        options = offered(parser)
        # As a rule, a synopsis leaves the way to help out.
        del options["--help"]
        if verb:
            del options["-h"]
        expected[verb] = (options, arguments(parser))
    assert synopses() == expected


@pytest.mark.parametrize(
    ("page", "more"),
    [
        ("spasshd.8", {"ENVIRONMENT", "EXIT STATUS", "DIAGNOSTICS", "SIGNALS"}),
        ("spasshd.toml.5", {"CONFIGURATION", "USERS", "OWNERS AND PERMISSIONS"}),
    ],
)
def test_a_page_has_the_sections_that_an_administrator_looks_for(
    page: str, more: set[str]
) -> None:
    text = (CHECKOUT / "man" / page).read_text(encoding="ascii")
    sections = re.findall(r"^\.Sh (.*)$", text, re.MULTILINE)
    always = {"NAME", "SYNOPSIS", "DESCRIPTION", "FILES", "EXAMPLES", "SEE ALSO"}
    assert {*sections} >= always | more | {"SECURITY CONSIDERATIONS"}
    assert len({*sections}) == len(sections)


def test_every_exit_status_is_described_and_back() -> None:
    statuses = {value for key, value in vars(cli).items() if key.startswith("EXIT_")}
    items = re.findall(r"^\.It (\d+)$", section("EXIT STATUS"), re.MULTILINE)
    assert {int(one) for one in items} == statuses
    told = re.findall(r"\d+", cli._EPILOG.split(".")[0])
    assert {int(one) for one in told} == statuses


# What the program says


def calls(*paths: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in the files with the last part of the called name."""
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Attribute):
                    yield called.attr, node
                elif isinstance(called, ast.Name):
                    yield called.id, node


def constant(node: ast.expr) -> str:
    """Return the text that `node` is, or nothing if it is worked out."""
    constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return ast.literal_eval(node) if constant else ""


def names(keyword: ast.keyword) -> list[str]:
    """Return what `keyword` gives: itself, or the fields that are there at times."""
    if keyword.arg is not None:
        return [keyword.arg]
    fields = [node for node in ast.walk(keyword.value) if isinstance(node, ast.Dict)]
    return [constant(key) for one in fields for key in one.keys if key is not None]


def events() -> set[tuple[str, ...]]:
    """Return each event that the code can say, with its fields in order."""
    judged = {Stale.outcome, Replayed.outcome}
    fields_of_judged: tuple[str, ...] = ()
    found = set()
    for called, call in calls(*PACKAGE.rglob("*.py")):
        fields = tuple(field for one in call.keywords for field in names(one))
        if called == "denied":
            judged |= {constant(call.args[0])} - {""}
        elif called == "say" and constant(call.args[0]):
            found.add((constant(call.args[0]), *fields))
        elif called == "say" and "user" in fields:
            fields_of_judged = fields
    return found | {(name, *fields_of_judged) for name in judged}


def test_every_event_and_its_fields_are_described_and_back() -> None:
    text = section("DIAGNOSTICS").partition("\n.Ss Events\n")[2].partition("\n.Ss ")[0]
    items = re.findall(r"^\.It Li (\w+)(.*)", text, re.MULTILINE)
    assert (
        "granted",
        "user",
        "address",
        "port",
        "seconds",
        "width",
        "source_port",
    ) in (events())
    assert events() == {(name, *re.findall(r"(\w+)= Ns", rest)) for name, rest in items}


def test_the_rates_of_lines_are_those_of_the_program() -> None:
    text = section("DIAGNOSTICS").partition("\n.Ss Events\n")[2].partition("\n.Bl ")[0]
    assert [int(one) for one in re.findall(r"\d+", text)] == [
        limits.GRANTED_LINES_PER_SECOND,
        limits.OTHER_LINES_PER_SECOND,
        limits.OTHER_LINES_PER_SECOND,
        limits.HOOK_LINES_PER_SECOND,
        limits.OUTPUT_LINES_PER_SECOND,
    ]


# Which argument of these calls is the message.
MESSAGE = {
    **dict.fromkeys(("DaemonError", "CaptureError", "SandboxError", "MessageError"), 0),
    **dict.fromkeys(("GpgError", "HelperMessageError"), 0),
    **dict.fromkeys(
        ("VerbError", "FirewallError", "TextFormError", "Stale", "Replayed"), 0
    ),
    "ConfigError": 3,
}


def fixed_words() -> set[str]:
    """Return what stands between the variable parts of each error message."""
    protocol = CHECKOUT / "spassh" / "protocol"
    shared = [protocol / "keys.py", protocol / "names.py"]
    shared.append(protocol / "sealed_invite.py")
    shared.append(protocol / "fwknop" / "keys.py")
    found = set()
    for called, call in calls(*PACKAGE.rglob("*.py"), *shared):
        at = MESSAGE.get(called)
        if called == "error":
            # events.error has the message first, Table.error has the key before it.
            of_table = ast.unparse(call.func) != "events.error"
            at = 1 if of_table else 0
        if at is None or len(call.args) <= at:
            continue
        message = call.args[at]
        parts = message.values if isinstance(message, ast.JoinedStr) else [message]
        for part in parts:
            found |= {one.strip(" :'") for one in constant(part).split(": ")}
    return {words for words in found if re.search("[a-z]{2}", words)}


def refusals() -> set[str]:
    """Return the reasons why nothing is granted, without their variable parts."""
    found = set()
    for name in ("policy", "pipeline", "asking", "settle"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        documentation = {
            id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }
        # What a rule demands is what `explain` says of one that is kept.
        documentation |= {
            id(part)
            for node in ast.walk(tree)
            if name == "policy"
            and isinstance(node, ast.Yield | ast.Return)
            and isinstance(node.value, ast.Tuple)
            and len(node.value.elts) == 3
            for part in ast.walk(node.value.elts[1])
        }
        found |= {
            constant(node).strip()
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and id(node) not in documentation
        }
    found |= set(REASONS.values()) | {Taken.TOO_MANY.value, Taken.NO_HELPER.value}
    # A reason has words; what has none is the name of an event or of a field.
    return {text for text in found if " " in text}


def mandoc(*words: str) -> str:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed: scripts/test installs it")
    result = subprocess.run(
        ["mandoc", *words], check=False, capture_output=True, text=True
    )
    return result.stdout


def words_of_page() -> str:
    """Return the page as it is read, on one line."""
    page = mandoc("-T", "ascii", "-O", "width=200", str(PAGE))
    return " ".join(re.sub(".\b", "", page).split())


def test_every_message_is_in_the_page() -> None:
    text = words_of_page()
    words = fixed_words() | refusals()
    assert {"unknown key", "spasshd run needs root", "too many requests"} <= words
    assert {"commands are not allowed", "is over the granter's limits"} <= words
    assert sorted(one for one in words if one not in text) == []


SAID_OTHERWISE = {
    # Python, of a network.
    "does not appear to be an IPv",
    "has host bits set",
    # The system, of a file.
    "no such file or directory",
    # Of two parts.
    "not found in",
}
"""What the system, Python or another program says, or the code puts together."""


def texts_of_the_code() -> str:
    """Return every text in the code that could be said, with marks between."""
    paths = [*PACKAGE.rglob("*.py"), *(CHECKOUT / "spassh").rglob("*.py")]
    return "\0".join(
        " ".join(node.value.split())
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_every_message_of_the_page_is_in_the_code() -> None:
    """Of each item the words between what is different each time."""
    errors = section("DIAGNOSTICS").split("\n.Ss Errors ", 1)[1]
    items = [
        words.replace("\\(dq", '"').strip(' ,:"')
        for line in re.findall(r"^\.It (.*)", errors, re.MULTILINE)
        for words in re.findall(r"Li (.*?)(?= Ar | Ns |$)", line)
        for words in re.split(r" , | : |Li |: |\d+", words)
    ]
    text = texts_of_the_code()
    assert len(items) > 150
    items = [one for one in items if one and one not in SAID_OTHERWISE]
    assert sorted(one for one in items if one not in text) == []


def test_every_variable_of_the_environment_is_in_the_page_and_back() -> None:
    used = {
        name
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r'environ\.get\("(\w+)"', path.read_text())
    }
    items = re.findall(r"^\.It Ev (.*)$", section("ENVIRONMENT"), re.MULTILINE)
    assert {name for item in items for name in item.split(" , ")} == used


NUMBERS = {
    r"within (\d+) seconds of the server's clock": WINDOW_MS // 1000,
    r"after (\d+) each user gets one a second": bounds._COMMAND_BURST,
    r"each grant is a rule: (\d+) at a time": ipfw_sets_render.MAX_GRANTS,
    r"at most (\d+) lines are written of granted": limits.GRANTED_LINES_PER_SECOND,
    r"apart from these at most (\d+) of refused": limits.OTHER_LINES_PER_SECOND,
    r"(\d+) errors of the granter": limits.OTHER_LINES_PER_SECOND,
    r"(\d+) of hook and": limits.HOOK_LINES_PER_SECOND,
    r"and (\d+) of output": limits.OUTPUT_LINES_PER_SECOND,
    r"there are (\d+) at once for each user": limits.SIGNED_BURST,
    r"for each user, and then (\d+) in a second": limits.SIGNED_PER_SECOND,
    r"Of each at most (\d+) lines": job_log.OUTPUT_LINES,
    r"lines of the first (\d+) bytes": jobs.OUTPUT_BYTES,
    r"the (\d+) addresses that the user was last": limits.ADDRESSES_PER_USER,
    r"the user has used (\d+) up": limits.REQUEST_BURST,
    r"and gets (\d+) back every second": limits.REQUESTS_PER_SECOND,
    r"the user has (\d+) already": limits.MAX_GRANTS_PER_USER,
    r"only the first (\d+) files are read": limits.MAX_USER_FILES,
    r"larger than (\d+) bytes": limits.MAX_FILE_BYTES,
    r"more than (\d+) keys for packets of fwknop": limits.MAX_FWKNOP_KEYS,
    r"with a passphrase of at least (\d+) letters": limits.MIN_PASSPHRASE,
    r"the passphrase is too short: it takes (\d+)": limits.MIN_PASSPHRASE,
    r"a passphrase has 1 to (\d+) bytes": MAX_PASSPHRASE,
}


def test_the_limits_are_those_of_the_code() -> None:
    text = words_of_page()
    told = {words: re.findall(words, text) for words in NUMBERS}
    assert told == {words: [str(number)] for words, number in NUMBERS.items()}


# The form


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_no_fault(page: Path) -> None:
    # Whether the pages of other packages, and ours, are installed here is no fault of
    # the page; ours are looked at in the next test.
    complaints = [
        line
        for line in mandoc("-T", "lint", str(page)).splitlines()
        if "referenced manual not found" not in line
    ]
    assert complaints == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_references_to_our_pages_name_their_section(page: Path) -> None:
    text = page.read_text(encoding="ascii")
    references = set(re.findall(r"^\.Xr (spassh\S*) (\d)", text, re.MULTILINE))
    assert references
    assert references <= OUR_PAGES
