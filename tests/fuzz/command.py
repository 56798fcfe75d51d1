"""How atheris is started for a target."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
ARTIFACTS = HERE.parents[1] / "artifacts" / "fuzz"
"""What breaks an invariant is kept there."""

MAX_BYTES = 4096
"""Most bytes of an input: more than the largest message, and as much as files need."""


def argv(module: str, *words: str) -> list[str]:
    """Return the command that fuzzes `module`, with `words` for libFuzzer."""
    sizes = (f"-max_len={MAX_BYTES}", "-len_control=0")
    return [sys.executable, "-m", "fuzz.one", module, *sizes, *words]


def environment(*more: str) -> dict[str, str]:
    """Return ours, in which the tests and the directories `more` can be imported.

    Sets and dictionaries have the same order in every run, and so has what libFuzzer
    makes of them.
    """
    paths = [str(HERE.parent), *more, os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    return os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
