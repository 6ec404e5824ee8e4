"""Stretches of a sound, of which tags along time are told."""

from m2d_clap.model.stretches import stretches

SPAN_SECONDS = 2.0


def spans(seconds: float) -> list[tuple[float, float]]:
    """(start, end) of each."""
    return stretches(seconds, SPAN_SECONDS)
