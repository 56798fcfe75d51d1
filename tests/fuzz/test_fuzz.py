"""Whatever bytes come from outside, each parser keeps to its invariant.

What is tried is the same in every run, so that a change fails for what it changed.
`SPASSH_FUZZ_SECONDS=60` has atheris look for new inputs for so long, and so has
`scripts/fuzz`, which goes on from what it found before.
"""

import os
import subprocess
from hashlib import sha1
from pathlib import Path
from random import SystemRandom

import pytest
from fuzz.command import ARTIFACTS, argv, environment
from fuzz.corpus import CORPUS, TARGETS, made, module_of, runs_of
from fuzz.mutation import inputs

SECONDS = int(os.environ.get("SPASSH_FUZZ_SECONDS") or 0)
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
@pytest.mark.timeout(SECONDS + 600)
def test_atheris_finds_nothing_that_breaks_the_invariant(
    target: str, tmp_path: Path
) -> None:
    pytest.importorskip("atheris")
    seed = SystemRandom().randrange(1, 1 << 31)
    # Without a time, the corpus alone: what it makes of that is never quite the same.
    end = f"-max_total_time={SECONDS}" if SECONDS else "-runs=0"
    kept = ARTIFACTS / target
    kept.mkdir(parents=True, exist_ok=True)
    words = (f"-seed={seed}", end, f"-artifact_prefix={kept}/")
    done = fuzz(f"fuzz.targets.{target}", *words, str(tmp_path), str(CORPUS / target))
    assert done.returncode == 0, f"seed {seed}, see {kept}\n{done.stdout}"


BROKEN = """
from spassh.plain_toml import read

def check(data: bytes) -> None:
    table = read(data.decode("latin-1")) or {}
    assert table.get("a", 11) == 11
"""


def test_an_invariant_that_is_broken_is_found_and_the_input_is_kept(
    tmp_path: Path,
) -> None:
    pytest.importorskip("atheris")
    (tmp_path / "broken.py").write_text(BROKEN, encoding="ascii")
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "one").write_bytes(b"a = 11")
    words = ("-seed=1", "-runs=20000", f"-artifact_prefix={tmp_path}/", str(seeds))
    done = fuzz("broken", *words, more=str(tmp_path))
    assert done.returncode
    assert "AssertionError" in done.stdout
    (kept,) = tmp_path.glob("crash-*")
    assert kept.read_bytes().strip().startswith(b"a")


def keep(target: str, data: bytes) -> Path:
    """Write down an input that breaks an invariant; return where."""
    path = ARTIFACTS / target / f"crash-{sha1(data, usedforsecurity=False).hexdigest()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def fuzz(
    module: str, *words: str, more: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        argv(module, *words),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(more),
        encoding="utf-8",
        errors="replace",
    )
