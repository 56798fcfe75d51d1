"""`ssh host true` in every way, in turn: plain, through spassh, by fwknop's recipe."""

import json
import math

import fwknop
from figures import Figures
from lab.network import SERVER4
from stage import Stage

_TRIES = 20
"""Knocks from which the sleep of fwknop's recipe is found."""

_PLAIN = "plain ssh"
_NO_SLOWER = "ratio at most 1.00"
_A_LITTLE_SLOWER = "median at most 25 ms over plain ssh"
_FIVE_TIMES_LESS = "ratio at most 0.20"


def measure(stage: Stage, runs: int) -> list[Figures]:
    """Time the logins, and what each way adds to plain ssh in the same round."""
    opening = _opening_by_fwknop(stage)
    sleep = math.ceil(100 * max(opening) / 1000) / 100
    ways = {
        _PLAIN: stage.plain(),
        "spassh, pypi, socket passed": stage.spassh("pypi", fdpass=True),
        "spassh, pypi, relay": stage.spassh("pypi", fdpass=False),
        "spassh, debian, socket passed": stage.spassh("debian", fdpass=True),
        "spassh, debian, relay": stage.spassh("debian", fdpass=False),
        f"fwknop; sleep {sleep:.2f}; nc": stage.fwknop(sleep),
    }
    commands = json.dumps({name: [*argv, "true"] for name, argv in ways.items()})
    times: dict[str, list[float]] = json.loads(
        stage.run("interleave.py", str(runs), text=commands)
    )
    plain = times.pop(_PLAIN)
    *ours, recipe = times
    added = {
        name: [one - other for one, other in zip(found, plain, strict=True)]
        for name, found in times.items()
    }
    figures = [
        Figures("ssh host true, plain", plain, [], ""),
        Figures("packet to SYN answered, fwknopd", opening, [], ""),
    ]
    for name in ours:
        target = _NO_SLOWER if "pypi" in name else _A_LITTLE_SLOWER
        figures.append(
            Figures(f"ssh host true, {name}", times[name], plain, target, beside=_PLAIN)
        )
    figures.append(
        Figures(f"ssh host true, {recipe}", times[recipe], plain, "", beside=_PLAIN)
    )
    return figures + [
        Figures(
            f"added time / fwknop's, {name}",
            added[name],
            added[recipe],
            _FIVE_TIMES_LESS,
        )
        for name in ours
    ]


def _opening_by_fwknop(stage: Stage) -> list[float]:
    """Return the ms from a knock to the first SYN that is answered, for some knocks.

    The longest of them is what the recipe has to sleep, lest a SYN be repeated after a
    whole second.
    """
    for number in range(_TRIES):
        address = f"192.0.2.{100 + number}/24"
        stage.network.client.run(["ip", "address", "add", address, "dev", "eth0"])
    words = (SERVER4, str(fwknop.PORT), str(_TRIES), *stage.fwknopd.knock("SOURCE"))
    return [float(word) for word in stage.run("knock_and_race.py", *words).split()]
