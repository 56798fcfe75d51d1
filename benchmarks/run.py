"""scripts/bench: run every benchmark and print one table, ratios first."""

import argparse
import json
import os
import sys
import tempfile

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_ROOT, "tests"))

import opening
import relaying
import startup
from figures import HEADER, Figures
from lab.network import Network


def measure() -> list[Figures]:
    """Run all of them."""
    bin_dirs = {
        "pypi": os.path.dirname(sys.executable),
        "debian": os.path.join(_ROOT, ".venv-debian", "bin"),
    }
    figures = startup.measure(bin_dirs) + relaying.measure(bin_dirs["pypi"])
    made = 0

    with tempfile.TemporaryDirectory(prefix="spassh-bench-") as directory:

        def path(name: str) -> str:
            nonlocal made
            made += 1
            return os.path.join(directory, f"{made}-{name}")

        for benchmark in (opening.measure, opening.ssh_true):
            network = Network(bin_dirs["pypi"])
            try:
                found = benchmark(network, path)
                figures += [found] if isinstance(found, Figures) else found
            finally:
                network.close()
    return figures


def main() -> None:
    """Print the table, and write it as JSON if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    print(opening.environment())
    print("times in ms; ratio: beside the plain program in the same run")
    figures = measure()
    print(HEADER)
    for one in figures:
        print(one.row())
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([one.as_dict() for one in figures], file, indent=2)


if __name__ == "__main__":
    main()
