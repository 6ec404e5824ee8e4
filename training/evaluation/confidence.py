"""Several runs of one measurement as a mean and how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """The mean of some runs; their true mean lies within ± half_width of it (95 %)."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, runs: Sequence[float]) -> "Interval":
        """Student's t with runs − 1 degrees of freedom; needs two runs at least."""
        assert len(runs) > 1, "one run says nothing about its spread"
        values = np.asarray(runs, dtype=np.float64)
        quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
        error = float(values.std(ddof=1)) / len(values) ** 0.5
        return cls(float(values.mean()), quantile * error)
