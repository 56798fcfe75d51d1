"""Whatever bytes come from outside, each parser keeps to its invariant.

What is tried is the same in every run, so that a change fails for what it changed. To
look for new inputs is for `scripts/fuzzing.py`, which scripts/test starts beside these.
"""

import os
import subprocess
import sys
from hashlib import sha1
from pathlib import Path

import pytest
from fuzz.command import ARTIFACTS, HERE, argv, environment
from fuzz.corpus import CORPUS, TARGETS, made, module_of, runs_of
from fuzz.mutation import inputs

SEED = 1

targets = pytest.mark.parametrize("target", TARGETS)


@targets
def test_a_target_says_its_invariant_on_its_first_line(target: str) -> None:
    first, *_ = str(module_of(target).__doc__).split("\n")
    assert first.endswith(".")
    assert len(first) > 40


def test_the_corpus_is_what_the_targets_make() -> None:
    assert sorted(path.name for path in CORPUS.iterdir()) == TARGETS
    for target in TARGETS:
        stored = {path.name: path.read_bytes() for path in (CORPUS / target).iterdir()}
        assert stored == made(target), "PYTHONPATH=tests python -m fuzz.corpus"
        assert sum(map(len, stored.values())) < 1 << 14


@targets
def test_the_invariant_holds_for_the_corpus_and_what_becomes_of_it(target: str) -> None:
    corpus = list(made(target).values())
    check = module_of(target).check
    for data in (*corpus, *inputs(corpus, SEED, runs_of(target))):
        try:
            check(data)
        except BaseException as error:
            kept = keep(target, data)
            error.add_note(f"the input, of seed {SEED}, is in {kept}")
            raise


def test_the_same_inputs_are_tried_in_every_run() -> None:
    corpus = list(made("profile").values())
    assert list(inputs(corpus, 1, 100)) == list(inputs(corpus, 1, 100))
    assert list(inputs(corpus, 1, 100)) != list(inputs(corpus, 2, 100))


@targets
def test_atheris_finds_nothing_in_the_corpus(target: str) -> None:
    pytest.importorskip("atheris")
    words = ("-seed=1", "-runs=0", str(CORPUS / target))
    done = said_by(argv(f"fuzz.targets.{target}", *words))
    assert done.returncode == 0, done.stdout


BROKEN = """
import os
from spassh.plain_toml import read

def check(data: bytes) -> None:
    table = read(data.decode("latin-1")) or {}
    assert table.get("a", 11) == 11, f"the policy is {os.sched_getscheduler(0)}"
"""

FUZZING = """
import sys
from pathlib import Path

import fuzzing

fuzzing.TARGETS = ["broken"]
fuzzing.CORPUS, fuzzing.ARTIFACTS = map(Path, sys.argv[1:3])
del sys.argv[1:3]
sys.exit(fuzzing.main())
"""


class Broken:
    """A target whose invariant does not hold for long, among those of scripts/fuzz."""

    def __init__(self, path: Path) -> None:
        self._path = path
        targets = path / "fuzz" / "targets"
        targets.mkdir(parents=True)
        (targets / "broken.py").write_text(BROKEN, encoding="ascii")
        self.corpus, self.kept = path / "corpus", path / "kept"
        (self.corpus / "broken").mkdir(parents=True)
        (self.corpus / "broken" / "one").write_bytes(b"a = 11")

    def fuzz(self, *words: str, seed: str = "1") -> "subprocess.CompletedProcess[str]":
        pytest.importorskip("atheris")
        places = (str(self.corpus), str(self.kept))
        return said_by(
            [sys.executable, "-c", FUZZING, *places, *words],
            environment(str(self._path), str(HERE.parents[1] / "scripts"))
            | {"SPASSH_FUZZ_SEED": seed},
        )


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    return Broken(tmp_path)


def test_an_invariant_that_is_broken_is_told_with_the_seed_and_the_input(
    broken: Broken,
) -> None:
    done = broken.fuzz("150")
    assert done.returncode == 1
    assert "SPASSH_FUZZ_SEED=1\n" in done.stdout
    assert "\nfuzz: broken: " in done.stdout
    assert "AssertionError: the policy is 0\n" in done.stdout
    (kept,) = (broken.kept / "broken").glob("crash-*")
    assert kept.read_bytes().strip().startswith(b"a")
    assert f" {kept}\n" in done.stdout


def test_what_an_idle_run_tries_is_for_processors_that_nobody_else_wants(
    broken: Broken,
) -> None:
    done = broken.fuzz("--idle", "150")
    assert f"AssertionError: the policy is {os.SCHED_IDLE}\n" in done.stdout


def keep(target: str, data: bytes) -> Path:
    """Write down an input that breaks an invariant; return where."""
    path = ARTIFACTS / target / f"crash-{sha1(data, usedforsecurity=False).hexdigest()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def said_by(
    argv: list[str], its_environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=its_environment or environment(),
        encoding="utf-8",
        errors="replace",
    )
