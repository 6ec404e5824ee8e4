"""How a run goes: its pace, what is left of it, and the course of its loss."""

from dataclasses import dataclass

from m2d_clap.training.run import Status

RECENT_SECONDS = 20.0
RECENT_STEPS = 200
TREND = 48
"""Means that the course of the loss is kept as, at most."""


@dataclass(frozen=True)
class Mark:
    """A step, and the clock's seconds when it ended."""

    seconds: float
    step: int


class Course:
    """Takes in one status after another."""

    def __init__(self, stage: str, epochs: int, sounds_a_step: float) -> None:
        self.stage, self.epochs = stage, epochs
        self.status: Status | None = None
        self.trend = Trend(TREND)
        self._sounds_a_step = sounds_a_step
        self._marks: list[Mark] = []
        self._first: Mark | None = None

    def add(self, status: Status, seconds: float) -> bool:
        """Returns whether the valid split was scored since the last status."""
        before = self.status.valid if self.status is not None else None
        mark = Mark(seconds, status.step)
        # The first step of a process is a slow one: measuring starts where it ends.
        self._first = self._first or mark
        recent = [m for m in self._marks if seconds - m.seconds <= RECENT_SECONDS]
        # One step may well take longer than that.
        self._marks = [*(recent or self._marks[-1:])[1 - RECENT_STEPS :], mark]
        self.trend.add(status.measured["loss"])
        self.status = status
        return status.valid is not None and status.valid is not before

    @property
    def sounds_a_second(self) -> float | None:
        """Over the last steps; None before there are two."""
        speed = _speed(self._marks[0], self._marks[-1]) if self._marks else None
        return speed and speed * self._sounds_a_step

    @property
    def gone(self) -> float:
        """Seconds since the first step of this process."""
        return self._marks[-1].seconds - self._first.seconds if self._first else 0.0

    @property
    def left(self) -> float | None:
        """Seconds to the end at the pace so far, with all scoring and saving; None: unknown."""
        if self.status is None or self._first is None:
            return None
        speed = _speed(self._first, self._marks[-1])
        return speed and (self.status.steps - self.status.step) / speed


def _speed(start: Mark, end: Mark) -> float | None:
    """Steps a second."""
    seconds, steps = end.seconds - start.seconds, end.step - start.step
    return steps / seconds if seconds > 0 and steps > 0 else None


class Trend:
    """The course of a value as at most `most` (even) means of equally many numbers each."""

    def __init__(self, most: int) -> None:
        self.means: list[float] = []
        self._most = most
        self._each = 1
        self._open: list[float] = []

    def add(self, value: float) -> None:
        self._open.append(value)
        if len(self._open) == self._each:
            self.means = [*self.means, sum(self._open) / self._each]
            self._open = []
        if len(self.means) == self._most:
            pairs = zip(self.means[::2], self.means[1::2], strict=True)
            self.means = [(a + b) / 2 for a, b in pairs]
            self._each *= 2
