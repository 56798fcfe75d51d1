"""Run as `interleave.py RUNS` on the client, with JSON on standard input.

The JSON has a name for each command. Prints JSON with the milliseconds of each run.
"""

import json
import subprocess
import sys
import time


def timed(argv: list[str]) -> float:
    """Run `argv` and return how long it took, in ms."""
    before = time.monotonic()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return (time.monotonic() - before) * 1000


def main() -> None:
    """Run all in turn, so that a slow moment of the machine meets each of them."""
    commands: dict[str, list[str]] = json.load(sys.stdin)
    names = list(commands)
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        timed(commands[name])
    for run in range(int(sys.argv[1])):
        # Each round begins with another one: who comes after whom is no merit.
        first = run % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(timed(commands[name]))
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
