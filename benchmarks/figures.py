"""Medians, 95th percentiles and ratios."""

from statistics import median, quantiles
from typing import NamedTuple


class Figures(NamedTuple):
    """What was measured, in milliseconds, and what to hold it against."""

    name: str
    milliseconds: list[float]
    baseline: list[float]
    """The same moments with the plain program; empty if there is none."""
    target: str

    @property
    def median(self) -> float:
        return median(self.milliseconds)

    @property
    def p95(self) -> float:
        return quantiles(self.milliseconds, n=20)[18]

    @property
    def ratio(self) -> float | None:
        return self.median / median(self.baseline) if self.baseline else None

    def row(self) -> str:
        ratio = f"{self.ratio:5.2f}" if self.ratio else "    -"
        return (
            f"{self.name:<52} {ratio}  {self.median:8.2f} {self.p95:8.2f}"
            f" {len(self.milliseconds):5}   {self.target}"
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "ratio": self.ratio,
            "median_ms": self.median,
            "p95_ms": self.p95,
            "runs": len(self.milliseconds),
            "target": self.target,
        }


HEADER = f"{'measure':<52} ratio    median      p95  runs   to reach"
