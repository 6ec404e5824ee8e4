"""What a run shows while it lasts: a picture in place on a terminal, else a line now and then."""

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from m2d_clap.training.course import Course
from m2d_clap.training.run import Status

LINE_SECONDS = 30.0
"""Between two lines where there is no terminal."""
BLOCKS = "▁▂▃▄▅▆▇█"


class View:
    """Shows preparations (`counting`), then a run (`begin`, `show`), on stderr.

    shown: False keeps silent, as all processes but the first should.
    """

    def __init__(
        self,
        console: Console | None = None,
        shown: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._shown = shown
        self._clock = clock
        self._counted: tuple[str, int, int] | None = None
        self._course: Course | None = None
        self._next_line = 0.0
        self._live: Live | None = None
        if shown and self._console.is_terminal:
            self._live = Live(
                get_renderable=self.picture, console=self._console, refresh_per_second=4
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def counting(self, what: str, total: int) -> Callable[[int], None]:
        """A function to be told how many of `total` are done."""

        def count(done: int) -> None:
            self._counted = (what, done, total) if done < total else None
            self._say(lambda: f"{what}: {done} of {total}", now=done == total)

        return count

    def tell(self, text: str) -> None:
        """A line that stays."""
        if self._shown:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin(self, stage: str, epochs: int, sounds_a_step: float) -> None:
        """From here on `show` is told of every step."""
        self._course = Course(stage, epochs, sounds_a_step)

    def show(self, status: Status) -> None:
        """Takes in one step; cheap."""
        course = self._course
        assert course is not None, "begin comes first"
        scored = course.add(status, self._clock())
        self._say(lambda: line(course), now=scored or status.step == status.steps)

    def picture(self) -> RenderableType:
        """All there is to see at this moment."""
        parts: list[RenderableType] = []
        if self._course is not None and self._course.status is not None:
            parts.append(table(self._course, self._course.status))
        if (counted := self._counted) is not None:
            what, done, total = counted
            row = Table.grid(padding=(0, 2))
            row.add_row(what, ProgressBar(total, done, width=30), f"{done} of {total}")
            parts.append(row)
        return Group(*parts)

    def _say(self, text: Callable[[], str], now: bool) -> None:
        """Prints a line where no picture is drawn, now or if it is time for one."""
        if not self._shown or self._live is not None:
            return
        if now or self._clock() >= self._next_line:
            self._next_line = self._clock() + LINE_SECONDS
            self._console.print(text(), highlight=False, markup=False, soft_wrap=True)


def line(course: Course) -> str:
    """Where a run stands, on one line."""
    s = course.status
    assert s is not None
    terms = ", ".join(f"{name} {value:.3f}" for name, value in _terms(s))
    said = [
        f"stage {course.stage}",
        f"epoch {s.epoch:.1f} of {course.epochs}",
        f"step {s.step} of {s.steps}",
        f"loss {s.measured['loss']:.3f}" + (f" ({terms})" if terms else ""),
        f"rate {s.measured.get('rate', 0.0):.2e}",
        f"{_number(course.sounds_a_second)} sounds/s",
        f"left {_duration(course.left)}",
        *_scores(s),
    ]
    return "  ".join(said)


def table(course: Course, s: Status) -> Table:
    """The same as a picture of a few lines, with the loss's course."""
    done = Table.grid(padding=(0, 3))
    done.add_row(
        ProgressBar(max(1, s.steps), s.step, width=30),
        f"epoch {s.epoch:.1f} of {course.epochs}",
        f"step {s.step} of {s.steps}",
    )
    loss = Text(f"{s.measured['loss']:.3f}", style="bold")
    loss.append("".join(f"   {name} {value:.3f}" for name, value in _terms(s)), "not bold")
    others = [
        f"{name.replace('_', ' ')} {value:.3g}"
        for name, value in s.measured.items()
        if not name.startswith("loss") and name != "rate"
    ]
    speed = f"{_number(course.sounds_a_second)} sounds a second"
    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column()
    drawn.add_row("stage", Text(course.stage, style="bold"))
    drawn.add_row("done", done)
    drawn.add_row(
        "time", f"{_duration(course.gone)} gone   {_duration(course.left)} left   {speed}"
    )
    drawn.add_row("loss", loss)
    drawn.add_row("", Text(_blocks(course.trend.means), style="cyan"))
    drawn.add_row("rate", "   ".join([f"{s.measured.get('rate', 0.0):.2e}", *others]))
    drawn.add_row("valid", "   ".join(_scores(s)) or "not scored yet")
    return drawn


def _terms(status: Status) -> list[tuple[str, float]]:
    start = "loss_"
    return [(n.removeprefix(start), v) for n, v in status.measured.items() if n.startswith(start)]


def _scores(status: Status) -> list[str]:
    named = (("now", status.valid), ("best", status.best))
    return [f"{when} {score.name} {score.chooses:.3f}" for when, score in named if score]


def _blocks(means: list[float]) -> str:
    """One block a mean, from the lowest to the highest."""
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((mean - low) * scale)] for mean in means)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else str(timedelta(seconds=round(seconds)))
