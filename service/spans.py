"""Stretches of a sound, of which tags along time are told."""

SPAN_SECONDS = 2.0


def spans(seconds: float) -> list[tuple[float, float]]:
    """(start, end) of consecutive stretches of a sound; a short rest belongs to the last one."""
    count = max(1, int(seconds / SPAN_SECONDS + 0.5))
    starts = [number * SPAN_SECONDS for number in range(count)]
    return list(zip(starts, [*starts[1:], seconds], strict=True))
