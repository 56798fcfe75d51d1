"""Bytes through ssh: by the socket itself, by our relay, by nc, and plainly."""

import json

from figures import Figures
from stage import Stage

_SIZE = 150 * 10**6

_TARGETS = {
    ("socket passed", "plain ssh", "down"): "ratio at least 0.98",
    ("socket passed", "plain ssh", "up"): "ratio at least 0.98",
    ("relay", "plain ssh", "down"): "ratio at least 0.96",
    ("relay", "plain ssh", "up"): "ratio at least 0.63",
    ("relay", "nc", "down"): "ratio at least 1.00",
    ("relay", "nc", "up"): "ratio at least 1.00",
    # What is between two measurements of the same.
    ("plain ssh again", "plain ssh", "down"): "",
    ("plain ssh again", "plain ssh", "up"): "",
    ("nc", "plain ssh", "down"): "",
    ("nc", "plain ssh", "up"): "",
}
"""What is held against what, and the ratio to reach."""


def measure(stage: Stage, runs: int) -> list[Figures]:
    """Transfer in each way in turn."""
    ways = {
        "plain ssh": stage.plain(),
        "plain ssh again": stage.plain(),
        "socket passed": stage.spassh("pypi", fdpass=True),
        "relay": stage.spassh("pypi", fdpass=False),
        "nc": stage.netcat(),
    }
    text = json.dumps(ways)
    rates = json.loads(stage.run("transfer.py", str(runs), str(_SIZE), text=text))
    return [
        Figures(
            f"through ssh, {way} / {other}, {direction}",
            rates[way][direction],
            rates[other][direction],
            target,
            "MB/s",
            other,
            more=True,
        )
        for (way, other, direction), target in _TARGETS.items()
    ]
