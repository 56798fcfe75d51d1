"""The comments of our rules in a chain of ours: by them we see that it is whole. Pure.

How a packet filter lists the rest of a rule is its own affair. So the first comment has
a checksum of all rules as we gave them: other ports, and it is another chain.
"""

import re
from zlib import crc32

# Each process that looks has another time for what is on trial.
_DATE = re.compile(r"(--date(?:start|stop)) \S+")


def tags(name: str, rules: list[str]) -> list[str]:
    """Return the comment of each of `rules`, which are those of one chain."""
    count = len(rules)
    found = [f"{name} {number}/{count}" for number in range(1, count + 1)]
    if count > 1:
        text = _DATE.sub(r"\1", "\n".join(rules))
        found[0] += f" {crc32(text.encode()):08x}"
    return found
