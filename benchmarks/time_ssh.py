"""Run as `time_ssh.py SERVER OPTION...` on the client: ms, a line ours, one plain."""

import subprocess
import sys
import time

_RUNS = 20


def timed(argv: list[str]) -> float:
    """Run `argv` and return how long it took, in ms."""
    before = time.monotonic()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return (time.monotonic() - before) * 1000


def main() -> None:
    """Run both in turn, so that a slow moment of the machine meets both."""
    server, options = sys.argv[1], sys.argv[2:]
    ours, plain = [], []
    for _ in range(_RUNS):
        ours.append(timed(["ssh", *options, "server.test", "true"]))
        direct = ["-o", "ProxyCommand=none", "-p", "2200", server, "true"]
        plain.append(timed(["ssh", *options, *direct]))
    print(*ours[1:])
    print(*plain[1:])


if __name__ == "__main__":
    main()
