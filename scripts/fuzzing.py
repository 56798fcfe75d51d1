"""scripts/fuzz and scripts/test: each target for some time, one on each processor."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import SystemRandom

sys.path.insert(0, os.path.abspath(os.path.join(__file__, "../../tests")))

from fuzz.command import ARTIFACTS, argv, environment
from fuzz.corpus import CORPUS, TARGETS

_SEED = "SPASSH_FUZZ_SEED"


def main() -> int:
    words = sys.argv[1:]
    if words[:1] == ["--idle"]:
        del words[0]
        _take_what_is_left()
    seconds = int(words.pop(0)) if words and words[0].isdecimal() else 60
    unknown = set(words) - set(TARGETS)
    if unknown:
        print(f"fuzz: error: no such target: {' '.join(sorted(unknown))}")
        print(f"fuzz: hint: there are {' '.join(TARGETS)}")
        return 2
    given = int(os.environ.get(_SEED) or 0)
    seed = given or SystemRandom().randrange(1, 1 << 31)
    targets = words or TARGETS
    start = "the corpus" if given else "what was found before"
    print(
        f"fuzz: {len(targets)} targets for {seconds} s each from {start}, "
        f"{_SEED}={seed}",
        flush=True,
    )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda one: _fuzz(one, seconds, seed, bool(given)), targets)
        return 0 if all(list(results)) else 1


def _take_what_is_left() -> None:
    """Run only where nobody else wants to, in a group of processes of our own."""
    os.setsid()
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Between sessions Linux may share evenly, however idle those are who are in them.
    with suppress(OSError), open("/proc/self/autogroup", "wb") as file:
        file.write(b"19")


def _fuzz(target: str, seconds: int, seed: int, anew: bool) -> bool:
    """Fuzz a target, say what came of it, and return whether its invariant holds.

    What was found before is gone on from, but not `anew`: what is tried then is the
    same each time, as far as the time lets it come.
    """
    kept = ARTIFACTS / target
    found = kept / ("found-anew" if anew else "found")
    if anew:
        shutil.rmtree(found, ignore_errors=True)
    found.mkdir(parents=True, exist_ok=True)
    words = [f"-seed={seed}", f"-max_total_time={seconds}", f"-artifact_prefix={kept}/"]
    with open(kept / "log", "w+b") as log:
        done = subprocess.run(
            argv(f"fuzz.targets.{target}", *words, str(found), str(CORPUS / target)),
            check=False,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        log.seek(0)
        text = log.read().decode(errors="replace")
    runs = re.findall(r"^#(\d+)\s", text, re.MULTILINE)
    held = "BROKEN" if done.returncode else "the invariant holds"
    said = [f"fuzz: {target}: {runs[-1] if runs else 0} inputs, {held}"]
    if done.returncode:
        said += [*_last_words(text), *_hints(target, seed, text)]
    print("\n".join(said), flush=True)
    return not done.returncode


def _last_words(text: str) -> list[str]:
    """Return what was said from the exception on; the input is there in base64."""
    _, mark, end = text.rpartition(" === Uncaught Python exception: ===")
    return (mark + end if mark else text).strip().split("\n")[-_MOST_LINES:]


def _hints(target: str, seed: int, text: str) -> list[str]:
    hints = [
        f"fuzz: hint: all that was said is in {ARTIFACTS / target / 'log'}",
        f"fuzz: hint: {_SEED}={seed} scripts/fuzz 600 {target}",
    ]
    artifact = re.search(r"Test unit written to (\S+)", text)
    if artifact:
        again = shlex.join(argv(f"fuzz.targets.{target}", artifact[1]))
        hints.append(f"fuzz: hint: PYTHONPATH=tests {again}")
    return hints


_MOST_LINES = 60

if __name__ == "__main__":
    sys.exit(main())
