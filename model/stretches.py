"""A sound in stretches, of which something is told along time."""

from m2d_clap.model.audio import Waveform


def stretches(seconds: float, each: float) -> list[tuple[float, float]]:
    """(start, end) of consecutive stretches of `each` seconds; a short rest belongs to the last one."""
    count = max(1, int(seconds / each + 0.5))
    starts = [number * each for number in range(count)]
    return list(zip(starts, [*starts[1:], seconds], strict=True))


def piece(sound: Waveform, start: float, end: float) -> Waveform:
    """What lies between two seconds of a sound."""
    rate = sound.sample_rate
    return Waveform(sound.samples[int(start * rate) : int(end * rate + 0.5)], rate)
