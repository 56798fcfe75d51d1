"""Medians, 95th percentiles and ratios."""

from statistics import median, quantiles
from typing import NamedTuple


class Figures(NamedTuple):
    """What was measured, and what to hold it against."""

    name: str
    values: list[float]
    baseline: list[float]
    """The same moments with the other program; empty if there is none."""
    target: str
    unit: str = "ms"
    beside: str = "fwknopd"
    """What the baseline is of."""
    more: bool = False
    """Whether more is better."""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def p95(self) -> float | None:
        """The 95th percentile, of enough runs to have one."""
        enough = len(self.values) >= 20
        return quantiles(self.values, n=20)[18] if enough else None

    @property
    def ratio(self) -> float | None:
        """How often the baseline's median this one is; none of nothing."""
        base = median(self.baseline) if self.baseline else 0.0
        return self.median / base if base else None

    def row(self) -> str:
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        p95 = "-" if self.p95 is None else f"{self.p95:.2f}"
        return (
            f"{self.name:<52} {ratio:>5}  {self.median:8.2f} {p95:>8} {self.unit:<5}"
            f"{len(self.values):4}   {self.target}"
        )

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "ratio": self.ratio,
            "median": self.median,
            "p95": self.p95,
            "unit": self.unit,
            "baseline": median(self.baseline) if self.baseline else None,
            "beside": self.beside if self.baseline else None,
            "more": self.more,
            "runs": len(self.values),
            "target": self.target,
        }


HEADER = f"{'measure':<52} ratio    median      p95 unit runs   to reach"
