"""What a verb was asked for, on standard output, line by line as it happens."""

import sys

from ..ui import printable


def say(text: str) -> None:
    """Write one line at once: ssh and sudo may write to the same terminal next."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()
