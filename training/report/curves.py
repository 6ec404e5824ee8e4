"""curves.csv → one series a measure."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.model.errors import ClapError

VALID = "valid_"
CHOOSERS = ("valid_accuracy", "valid_label_mean_ap", "valid_mean_ap", "valid_cider_d")
"""What may have chosen the best checkpoint, in the order in which they are looked for."""


@dataclass(frozen=True)
class Point:
    """A measured value; a thinned one stands for several, between low and high."""

    epoch: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """The values of one measure in the order of the epochs; at least one."""

    name: str
    points: tuple[Point, ...]

    @property
    def last(self) -> Point:
        return self.points[-1]

    def thinned(self, most: int) -> "Curve":
        """At most so many points, each the mean of equally many neighbours."""
        if len(self.points) <= most:
            return self
        size = math.ceil(len(self.points) / most)
        parts = [self.points[i : i + size] for i in range(0, len(self.points), size)]
        return Curve(self.name, tuple(_mean(part) for part in parts))


@dataclass(frozen=True)
class Curves:
    """All measures of a run; steps and epoch: how far it is known to have come."""

    curves: tuple[Curve, ...] = ()
    step: int = 0
    epoch: float = 0.0

    def __getitem__(self, name: str) -> Curve:
        return next(curve for curve in self.curves if curve.name == name)

    def __contains__(self, name: str) -> bool:
        return any(curve.name == name for curve in self.curves)

    @property
    def best_epoch(self) -> float | None:
        """Of the first of the best scores on the valid split; None where nothing was scored."""
        for name in CHOOSERS:
            if name in self:
                return max(self[name].points, key=lambda point: point.value).epoch
        return None


def read_curves(file: Path) -> Curves:
    """No curves where there is no file. Raises ClapError for one that is no table of numbers."""
    if not file.is_file():
        return Curves()
    found: dict[str, list[Point]] = {}
    step, epoch = 0, 0.0
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                step, epoch = int(row.pop("step")), float(row.pop("epoch"))
                for name, cell in row.items():
                    if cell and math.isfinite(value := float(cell)):
                        found.setdefault(name, []).append(Point(epoch, value, value, value))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ClapError(
            f"{file} is no table of a run's curves ({error!r}): move it away"
        ) from error
    return Curves(tuple(Curve(n, tuple(points)) for n, points in found.items()), step, epoch)


def _mean(points: tuple[Point, ...]) -> Point:
    return Point(
        epoch=sum(p.epoch for p in points) / len(points),
        value=sum(p.value for p in points) / len(points),
        low=min(p.low for p in points),
        high=max(p.high for p in points),
    )
