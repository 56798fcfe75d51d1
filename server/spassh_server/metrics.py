"""The daemon's state as Prometheus reads it: the text exposition format 0.0.4."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

OUTCOMES: Final = (
    "bug",
    "busy",
    "duplicate",
    "failed",
    "granted",
    "malformed",
    "not-ours",
    "ordered",
    "refused",
    "replayed",
    "stale",
    "unauthentic",
)
"""Counters that are there from the start: a rate needs a zero to begin from."""

_Sample = tuple[Mapping[str, str], float]


def render(status: Mapping[str, Any]) -> str:
    """Return the metrics of what `spasshd status --json` prints.

    What is not known now has no sample: it is not zero.
    """
    families = [_family("spassh_up", "gauge", "Whether spasshd runs.", _up(status))]
    if status.get("running"):
        families += _of_the_daemon(status)
    families += _of_the_firewall(status)
    return "".join(families)


def _up(status: Mapping[str, Any]) -> float:
    return float(bool(status.get("running")))


def _of_the_daemon(status: Mapping[str, Any]) -> list[str]:
    counters = dict.fromkeys(OUTCOMES, 0) | status["counters"]
    frames = counters.pop("frames", 0)
    return [
        _family(
            "spassh_ready",
            "gauge",
            "Whether the drop is in place and the users are read.",
            float(status["ready"]),
        ),
        _family("spassh_users", "gauge", "Users that may knock.", status["users"]),
        _family(
            "spassh_frames_total", "counter", "Frames that the capture passed.", frames
        ),
        _family(
            "spassh_packets_total",
            "counter",
            "Packets by what became of them.",
            *(({"outcome": name}, counters[name]) for name in sorted(counters)),
        ),
        _family(
            "spassh_capture_dropped_total",
            "counter",
            "Frames that the kernel dropped because the daemon was too slow.",
            status["capture_drops"],
        ),
        _family(
            "spassh_remembered_packets",
            "gauge",
            "Accepted packets in the replay memory.",
            status["remembered"],
        ),
        _family(
            "spassh_store_problem",
            "gauge",
            "Whether the replay memory cannot be kept on disk.",
            float(bool(status["store_problem"])),
        ),
    ]


def _of_the_firewall(status: Mapping[str, Any]) -> list[str]:
    in_place = status.get("in_place")
    if in_place is None:
        return []
    live = Counter(dict.fromkeys(status["protect"], 0))
    live.update(one["port"] for one in status["grants"])
    return [
        _family(
            "spassh_in_place", "gauge", "Whether the drop is in place.", float(in_place)
        ),
        _family(
            "spassh_grants",
            "gauge",
            "Live grants by port, as the packet filter has them.",
            *(({"port": port}, live[port]) for port in sorted(live)),
        ),
    ]


def _family(name: str, kind: str, text: str, *samples: float | _Sample) -> str:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for sample in samples:
        labels, value = sample if isinstance(sample, tuple) else ({}, sample)
        lines.append(f"{name}{_labels(labels.items())} {value:.17g}")
    return "\n".join(lines) + "\n"


def _labels(pairs: Iterable[tuple[str, str]]) -> str:
    words = ",".join(f'{name}="{_escape(value)}"' for name, value in pairs)
    return f"{{{words}}}" if words else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
