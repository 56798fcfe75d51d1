"""Shell completion offers what the programs read, in bash, fish and zsh themselves."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.shells import at_terminal, offered

from spassh.usage import parser
from spassh_server import cli
from spassh_server.config import BACKENDS

ROOT = Path(__file__).parents[2]
COMPLETION = ROOT / "contrib" / "completion"
FILES = {
    "bash": "bash/{}",
    "fish": "fish/{}.fish",
    "zsh": "zsh/_{}",
}
PARSERS = {"spassh": parser(), "spasshd": cli._parser()}

each = pytest.mark.parametrize("shell", FILES)

PROFILES = {
    "one.toml": 'hosts = ["one.example", "root@two.example", "192.0.2.7"]\n',
    "two.toml": 'user = "a"\nhosts = [\n  "inner.example",\n  "2001:db8::1",\n]\n'
    'name = "not-this.example"\n',
    # What is no host, or would be more than a word to a shell.
    "bad.toml": 'hosts = ["*.wild", "!not.example", "$(touch made)", "a b", "-x",'
    ' "`id`", "x;id", "good.example"]\n',
    "=odd.toml": 'hosts = ["odd.example"]\n',
}
HOSTS = {
    *("one.example", "two.example", "192.0.2.7", "inner.example", "2001:db8::1"),
    *("good.example", "odd.example"),
}
SSH_CONFIG = "Host outer *.wild\n  HostName x\nhost other.example $(touch made)\n"
TARGETS = HOSTS | {"outer", "other.example"}


def ask(shell: str, program: str, home: Path, lines: list[str]) -> list[set[str]]:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here: scripts/test installs it")
    environment = {"HOME": str(home)}
    answers = offered(
        COMPLETION / FILES[shell].format(program), program, lines, environment
    )
    assert len(answers) == len(lines)
    return answers


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with profiles, files and what ssh knows."""
    profiles = tmp_path / ".config" / "spassh" / "profiles"
    profiles.mkdir(parents=True)
    for name, text in PROFILES.items():
        (profiles / name).write_text(text)
    # Who opened it would wait for somebody to write.
    os.mkfifo(profiles / "pipe.toml")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text(SSH_CONFIG)
    return tmp_path


def verbs(
    top: argparse.ArgumentParser, words: str
) -> Iterator[tuple[str, argparse.ArgumentParser, list[str]]]:
    """Yield each verb, its parser and the verbs that may follow it."""
    below: dict[str, argparse.ArgumentParser] = {}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            below |= action.choices
    yield words, top, list(below)
    for name, child in below.items():
        yield from verbs(child, f"{words} {name}")


def test_the_files_are_those_that_the_parsers_make(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "completions.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    made, kept = (
        {
            str(path.relative_to(directory)): path.read_text()
            for path in directory.rglob("*")
            if path.is_file()
        }
        for directory in (tmp_path, COMPLETION)
    )
    assert made == kept, "run scripts/completions"
    assert len(made) == 6


@each
@pytest.mark.parametrize("program", PARSERS)
def test_every_verb_and_option_is_offered(shell: str, program: str, home: Path) -> None:
    lines, expected = [], []
    for words, one, below in verbs(PARSERS[program], program):
        options = {name for action in one._actions for name in action.option_strings}
        lines.append(f"{words} -")
        expected.append(options)
        if below:
            lines.append(f"{words} ")
            expected.append(set(below))
    assert dict(zip(lines, ask(shell, program, home, lines), strict=True)) == dict(
        zip(lines, expected, strict=True)
    )


CLIENT = {
    "spassh en": {"enroll"},
    "spassh show ": HOSTS,
    "spassh show in": {"inner.example"},
    "spassh show one.example ": set(),
    "spassh knock --for 5m --access=tcp/22 o": {"one.example", "odd.example"},
    "spassh knock --for ": set(),
    "spassh lock o": {"one.example", "odd.example", "outer", "other.example"},
    "spassh lock -p 22 ": TARGETS,
    "spassh enroll root@in": {"root@inner.example"},
    "spassh run -- in": {"inner.example"},
    "spassh run inner.example -- ": set(),
    "spassh import --passphrase-file sec": {"secret"},
    "spassh import sec": {"secret"},
    "spassh nonsense ": set(),
}


@each
def test_hosts_of_profiles_are_offered(shell: str, home: Path) -> None:
    (home / "secret").touch()
    answers = ask(shell, "spassh", home, list(CLIENT))
    if shell == "zsh":
        # Where nothing else can follow, it offers the options unasked.
        answers = [{word for word in answer if word[0] != "-"} for answer in answers]
    assert dict(zip(CLIENT, answers, strict=True)) == CLIENT
    assert not (home / "made").exists()


@each
def test_hosts_of_profiles_are_offered_where_macos_has_them(
    shell: str, home: Path
) -> None:
    (home / "Library" / "Application Support").mkdir(parents=True)
    directory = home / ".config" / "spassh"
    directory.rename(home / "Library" / "Application Support" / "spassh")
    assert ask(shell, "spassh", home, ["spassh show in"]) == [{"inner.example"}]


@each
def test_users_with_a_file_are_offered(shell: str, home: Path) -> None:
    users = home / "users.d"
    users.mkdir()
    for name in ("alice.toml", "bob.toml", "$(touch made).toml", "no", ".x.toml"):
        (users / name).touch()
    config = home / "spasshd.toml"
    expected = {
        f"spasshd user remove --config {config} ": {"alice", "bob"},
        f"spasshd user rotate --overlap 1 --config={config} a": {"alice"},
        f"spasshd revoke --kill --config {config} b": {"bob"},
        f"spasshd user add --config {config} ": set(),
        "spasshd user li": {"list"},
        "spasshd init --backend ": set(BACKENDS),
    }
    answers = ask(shell, "spasshd", home, list(expected))
    assert dict(zip(expected, answers, strict=True)) == expected
    assert not (home / "made").exists()


@each
def test_no_profile_is_no_trouble(shell: str, tmp_path: Path) -> None:
    assert ask(shell, "spassh", tmp_path, ["spassh show "]) == [set()]


def test_bash_keeps_what_was_typed(home: Path) -> None:
    """It cuts words at '@' and '=', so the rest alone must come from us."""
    (home / "spasshd.toml").touch()
    (home / "rc").write_text(
        "".join(
            f"source {COMPLETION}/bash/{program}\n"
            f"{program}() {{ printf '<%s>' \"$@\" >>told; echo >>told; }}\n"
            for program in PARSERS
        )
    )
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "TERM": "xterm"}
    at_terminal(
        ["bash", "--rcfile", str(home / "rc"), "-i"],
        environment,
        b"spassh loc\troot@inn\t--ver\t\nspasshd init --config=spa\t\nexit\n",
    )
    assert (home / "told").read_text().splitlines() == [
        "<lock><root@inner.example><--verbose>",
        "<init><--config=spasshd.toml>",
    ]
