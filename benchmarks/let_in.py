"""Run as `let_in.py SERVER PORT TRIES` on the client: logins as spassh makes them.

Prints the milliseconds of each `spassh proxy` from its start until it is connected and
has ended, as the server ends each connection; or `inf` if two seconds were not enough.
"""

import math
import subprocess
import sys
import time

_GIVE_UP = 2.0


def let_in(argv: list[str]) -> float:
    """Return how long `argv` took, if it was no longer than that."""
    before = time.monotonic()
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_GIVE_UP,
        )
    except subprocess.TimeoutExpired:
        return math.inf
    took = time.monotonic() - before
    return took * 1000 if not done.returncode else math.inf


def main() -> None:
    """Log in so often, one login after the other."""
    server, port, tries = sys.argv[1:4]
    argv = ["spassh", "proxy", "--", server, port]
    print(*(let_in(argv) for _ in range(int(tries))))


if __name__ == "__main__":
    main()
