"""scripts/bench: run every benchmark and print one table, ratios first."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(_ROOT, "tests"), os.path.join(_ROOT, "scripts")]

import at_rest
import first_syn
import flooded
import grants
import junk
import junk_flood
import logins
import opening
import population
import refusing
import relaying
import report
import startup
import throughput
from figures import HEADER, Figures
from lab.network import Network
from stage import Stage


class Bench:
    """Where the programs are, and where their files go."""

    def __init__(self, directory: str, share: float) -> None:
        """Use a `share` of the usual number of runs."""
        self.bin_dirs = {
            "pypi": os.path.dirname(sys.executable),
            "debian": os.path.join(_ROOT, ".venv-debian", "bin"),
        }
        self._directory = directory
        self._share = share
        self._made = 0

    def runs(self, usual: int) -> int:
        return max(2, int(usual * self._share))

    def path(self, name: str) -> str:
        """Return a name that is in use for nothing else."""
        self._made += 1
        return os.path.join(self._directory, f"{self._made}-{name}")

    @contextmanager
    def network(self) -> Iterator[Network]:
        network = Network(self.bin_dirs["pypi"])
        try:
            yield network
        finally:
            network.close()

    def measure(self) -> Iterator[list[Figures]]:
        """Run all benchmarks, one after the other."""
        yield startup.measure(self.bin_dirs, self.runs(40))
        with self.network() as network:
            stage = Stage(network, self.bin_dirs, self.path)
            yield logins.measure(stage, self.runs(25))
            stage.fwknopd.stop()
            yield throughput.measure(stage, self.runs(13))
        with self.network() as network:
            yield first_syn.measure(network, self.path, self.runs(100))
        with self.network() as network:
            yield opening.measure(network, self.path, self.runs(80))
        with self.network() as network:
            yield flooded.measure(network, self.path, self.runs(3))
        with self.network() as network:
            yield population.measure(network, self.path, self.runs(5))
        with self.network() as network:
            yield grants.measure(network, self.path)
        with self.network() as network:
            yield at_rest.measure(network, self.path)
        yield refusing.measure(self.path("frames"), self.runs(20))
        yield junk.measure(self.runs(20))
        with self.network() as network:
            yield junk_flood.measure(network, self.path, self.runs(5))
        yield relaying.measure(self.bin_dirs["pypi"], self.runs(7))


def main() -> None:
    """Print the table, and write it as JSON if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument(
        "--record",
        action="store_true",
        help="write them to docs/speed.json, and what the README shows of them",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a quarter of the runs: for a first look"
    )
    options = parser.parse_args()
    print(opening.environment())
    print("ratio: beside the other program in the same run")
    print(HEADER, flush=True)
    figures = []
    with tempfile.TemporaryDirectory(prefix="spassh-bench-") as directory:
        for found in Bench(directory, 0.25 if options.quick else 1).measure():
            figures += found
            for one in found:
                print(one.row(), flush=True)
    made = {
        "command": "sudo scripts/bench" + (" --quick" if options.quick else ""),
        "environment": opening.environment(),
        "date": time.strftime("%Y-%m-%d"),
        "figures": [one.as_dict() for one in figures],
    }
    if options.json:
        _write(options.json, json.dumps(made, indent=2) + "\n")
    if options.record:
        _record(made)


def _record(made: dict[str, Any]) -> None:
    docs = os.path.join(_ROOT, "docs")
    _write(os.path.join(docs, "speed.json"), json.dumps(made, indent=2) + "\n")
    _write(os.path.join(docs, "pictures", "speed.svg"), report.picture(made))
    readme = os.path.join(_ROOT, "README.md")
    with open(readme, encoding="utf-8") as file:
        text = file.read()
    _write(readme, report.in_readme(text, made))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
