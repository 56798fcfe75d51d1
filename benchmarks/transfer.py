"""Run as `transfer.py RUNS BYTES` on the client, with JSON on standard input.

The JSON has an ssh for each name. Sends so many bytes from the server and then to it,
and prints JSON with the megabytes per second of each run. The clock starts when the
session is there: what it takes to log in is measured elsewhere.
"""

import json
import os
import subprocess
import sys
import time

_BLOCK = memoryview(bytes(1 << 20))


def down(ssh: list[str], size: int) -> float:
    """Throw away what the server sends; return the seconds from the first byte on."""
    with subprocess.Popen(
        [*ssh, f"echo; head -c {size} /dev/zero"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        source = process.stdout.fileno()
        os.read(source, 1)
        began = time.monotonic()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        left = size
        while left:
            left -= os.splice(source, nowhere, left)
        took = time.monotonic() - began
        os.close(nowhere)
    return took


def up(ssh: list[str], size: int) -> float:
    """Send to the server; return the seconds until it has all."""
    with subprocess.Popen(
        [*ssh, f"echo; head -c {size} >/dev/null; echo"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        sink, answers = process.stdin.fileno(), process.stdout.fileno()
        os.read(answers, 1)
        began = time.monotonic()
        left = size
        while left:
            left -= os.write(sink, _BLOCK[:left])
        os.read(answers, 1)
        return time.monotonic() - began


def main() -> None:
    """Transfer in every way in turn, so that a slow moment meets each of them."""
    runs, size = (int(word) for word in sys.argv[1:])
    ways: dict[str, list[str]] = json.load(sys.stdin)
    names = list(ways)
    rates: dict[str, dict[str, list[float]]] = {
        name: {"down": [], "up": []} for name in names
    }
    for run in range(runs):
        first = run % len(names)
        for name in names[first:] + names[:first]:
            for direction, transfer in (("down", down), ("up", up)):
                rate = size / transfer(ways[name], size) / 1e6
                rates[name][direction].append(rate)
    json.dump(rates, sys.stdout)


if __name__ == "__main__":
    main()
