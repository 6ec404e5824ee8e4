"""What a run shows: everything at once on a terminal, few lines elsewhere, nothing twice."""

import io

import pytest
from rich.console import Console

from m2d_clap.training.course import Course, Trend
from m2d_clap.training.run import Status
from m2d_clap.training.validation import Score
from m2d_clap.training.view import LINE_SECONDS, View

MEASURED = {"loss": 3.21, "loss_m2d": 1.11, "loss_clap": 2.1, "rate": 6e-4, "gradient_norm": 1.3}


class Clock:
    """Goes on when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def status(step: int, best: Score | None = None, valid: Score | None = None) -> Status:
    return Status(step, 1000, step / 10, MEASURED, best, valid)


def run_for(view: View, clock: Clock, steps: int) -> None:
    """Two seconds a step; scored at every twentieth."""
    view.begin("1-mini", 100, 64.0)
    best = valid = None
    for step in range(1, steps + 1):
        clock.now += 2
        if step % 20 == 0:
            valid = Score("mAP", 0.5 - step / 1000, {})
            best = best or valid
        view.show(status(step, best, valid))


def test_a_terminal_shows_every_term_the_pace_the_rest_and_the_best_score() -> None:
    clock = Clock()
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=110)
    with View(console, clock=clock) as view:
        view.counting("log-mels", 10)(3)
        console.print(view.picture())
        run_for(view, clock, 40)
    shown = out.getvalue()
    assert "3 of 10" in shown
    for said in ("1-mini", "epoch 4.0 of 100", "step 40 of 1000", "m2d 1.110", "clap 2.100"):
        assert said in shown
    # 960 steps at two seconds; 64 sounds in two seconds.
    for said in ("0:32:00 left", "32 sounds a second", "6.00e-04", "gradient norm 1.3"):
        assert said in shown
    assert "now mAP 0.460   best mAP 0.480" in shown


def test_without_a_terminal_there_is_a_line_now_and_then_and_at_every_score() -> None:
    clock, out = Clock(), io.StringIO()
    with View(Console(file=out, width=40), clock=clock) as view:
        run_for(view, clock, 60)
    lines = out.getvalue().splitlines()
    assert len(lines) == pytest.approx(60 * 2 / LINE_SECONDS + 3, abs=3)
    assert "\x1b" not in out.getvalue()
    assert [line for line in lines if "step 20 of" in line and "best mAP 0.480" in line]
    assert "loss 3.210 (m2d 1.110, clap 2.100)" in lines[-1]
    assert "32 sounds/s" in lines[-1]


def test_the_last_step_is_always_told() -> None:
    clock, out = Clock(), io.StringIO()
    with View(Console(file=out), clock=clock) as view:
        run_for(view, clock, 1000)
    assert "step 1000 of 1000" in out.getvalue().splitlines()[-1]


def test_other_processes_keep_silent() -> None:
    for terminal in (True, False):
        clock, out = Clock(), io.StringIO()
        console = Console(file=out, force_terminal=terminal)
        with View(console, shown=False, clock=clock) as view:
            view.counting("log-mels", 10)(10)
            run_for(view, clock, 40)
        assert not out.getvalue()


def test_what_is_left_counts_the_pauses_and_the_pace_only_the_last_steps() -> None:
    course = Course("x", 1, 10.0)
    assert course.left is None and course.sounds_a_second is None
    course.add(status(501), 0.0)
    assert course.left is None
    course.add(status(502), 1.0)
    assert course.left == pytest.approx(498)
    course.add(status(503), 101.0)  # a long time scoring
    course.add(status(504), 101.5)
    assert course.sounds_a_second == pytest.approx(20)
    assert course.left == pytest.approx(496 * 101.5 / 3)
    course.add(status(505), 151.5)  # one slow step
    assert course.sounds_a_second == pytest.approx(0.2)


def test_a_trend_stays_short_and_keeps_the_mean() -> None:
    trend = Trend(8)
    for number in range(64):
        trend.add(float(number))
    assert len(trend.means) <= 8
    assert sum(trend.means) / len(trend.means) == pytest.approx(31.5)
    assert trend.means == sorted(trend.means)
