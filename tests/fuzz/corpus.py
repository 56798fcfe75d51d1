"""The targets and their corpus. `PYTHONPATH=tests python -m fuzz.corpus` makes it anew.

Each module in `targets` reads bytes from outside by one of our parsers:

    its docstring   the invariant, on the first line
    check(data)     raises if the invariant does not hold for these bytes
    seeds()         yields names and bytes, of which the corpus is made
    RUNS            how many inputs the suite tries, if it is not the usual number
"""

import importlib
import re
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("*.py"))

_RUNS = 5_000


def module_of(target: str) -> Any:
    return importlib.import_module(f"fuzz.targets.{target}")


def runs_of(target: str) -> int:
    return int(getattr(module_of(target), "RUNS", _RUNS))


def made(target: str) -> dict[str, bytes]:
    """Return the files of a target's corpus: name and content."""
    seeds = module_of(target).seeds()
    return {re.sub(r"\W+", "_", name): data for name, data in seeds}


def main() -> None:
    shutil.rmtree(CORPUS, ignore_errors=True)
    for target in TARGETS:
        directory = CORPUS / target
        directory.mkdir(parents=True)
        for name, data in made(target).items():
            (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
