"""scripts/fuzz: each target for some time, one on each processor."""

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import SystemRandom

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests"))

from fuzz.command import ARTIFACTS, argv, environment
from fuzz.corpus import CORPUS, TARGETS

_SEED = "SPASSH_FUZZ_SEED"


def main() -> int:
    words = sys.argv[1:]
    seconds = int(words.pop(0)) if words and words[0].isdecimal() else 60
    unknown = set(words) - set(TARGETS)
    if unknown:
        print(f"fuzz: error: no such target: {' '.join(sorted(unknown))}")
        print(f"fuzz: hint: there are {' '.join(TARGETS)}")
        return 2
    seed = int(os.environ.get(_SEED) or SystemRandom().randrange(1, 1 << 31))
    targets = words or TARGETS
    print(f"fuzz: {len(targets)} targets for {seconds} s each, {_SEED}={seed}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda one: _fuzz(one, seconds, seed), targets)
        return 0 if all(list(results)) else 1


def _fuzz(target: str, seconds: int, seed: int) -> bool:
    """Fuzz a target, say what came of it, and return whether its invariant holds."""
    kept = ARTIFACTS / target
    found = kept / "found"
    found.mkdir(parents=True, exist_ok=True)
    module = f"fuzz.targets.{target}"
    # What an earlier run has found is gone on from.
    words = [f"-seed={seed}", f"-max_total_time={seconds}", f"-artifact_prefix={kept}/"]
    with open(kept / "log", "w+b") as log:
        done = subprocess.run(
            argv(module, *words, str(found), str(CORPUS / target)),
            check=False,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        log.seek(0)
        text = log.read().decode(errors="replace")
    runs = re.findall(r"^#(\d+)\s", text, re.MULTILINE)
    print(f"fuzz: {target}: {runs[-1] if runs else 0} inputs", end="")
    if not done.returncode:
        print(", the invariant holds", flush=True)
        return True
    print(f", BROKEN: see {kept / 'log'}")
    artifact = re.search(r"Test unit written to (\S+)", text)
    if artifact:
        again = shlex.join(argv(module, artifact[1]))
        print(f"fuzz: hint: PYTHONPATH=tests {again}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
