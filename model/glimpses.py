"""A long sound by short stretches of it, found by seeking: what a picture of hours needs."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import BinaryIO

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from m2d_clap.model.audio import NO_LIMIT, AudioLimits, Samples, mono, opened
from m2d_clap.model.errors import NotAudioError


@dataclass(frozen=True)
class Glimpses:
    """stretches: (count, length) float32 mono, evenly over a sound; sample_rate in Hz."""

    stretches: NDArray[np.float32]
    sample_rate: int


_BEFORE = 0.2
"""Seconds that are decoded before a stretch: decoders of MP3 and AAC need something to begin with."""
_MOST_PACKETS = 128
"""Read for one stretch: where seeking lands far before it, it is left empty."""


def glimpses(
    file: BinaryIO,
    sample_rate: int,
    seconds: float,
    count: int,
    length: int,
    limits: AudioLimits = NO_LIMIT,
) -> NDArray[np.float32]:
    """(count, length): mono stretches of so many samples, evenly over the `seconds` of a sound; zeros
    for what is not found. Raises NotAudioError where nothing is, and BadSamplesError as `decode`."""
    found = np.zeros((count, length), np.float32)
    there = False
    with opened(file, limits) as (container, stream):
        base = stream.time_base or Fraction(1, stream.rate or sample_rate)
        begin = float((stream.start_time or 0) * base)
        for number in range(count):
            at = begin + (number + 0.5) * seconds / count
            try:
                container.seek(max(0, int((at - _BEFORE) / base)), stream=stream)
                stretch = _stretch(container, stream, at, sample_rate, length)
            except av.error.FFmpegError:
                continue
            found[number, : len(stretch)] = stretch
            there = there or len(stretch) > 0
    if not there:
        raise NotAudioError("no part of it can be found by seeking")
    return np.nan_to_num(np.clip(found, -1.0, 1.0))


def _stretch(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    at: float,
    sample_rate: int,
    length: int,
) -> Samples:
    """At most `length` samples from `at` seconds, of the stream's clock, on."""
    held: list[Samples] = []
    samples = rate = 0
    for packet in islice(container.demux(stream), _MOST_PACKETS):
        for frame in _decoded(packet):
            if frame.time is None or frame.time + frame.samples / frame.sample_rate <= at:
                continue
            rate = frame.sample_rate
            skipped = 0 if held else max(0, int((at - frame.time) * rate))
            held.append(mono(frame)[skipped:])
            samples += len(held[-1])
        if samples and samples * sample_rate >= length * rate:
            break
    if not held:
        return np.zeros(0, np.float32)
    whole: Samples = soxr.resample(np.concatenate(held), rate, sample_rate, quality="HQ")
    return whole[:length]


def _decoded(packet: "av.Packet[av.AudioStream]") -> list[av.AudioFrame]:
    try:
        return packet.decode()
    except av.error.FFmpegError:  # the first ones behind a jump may lack what came before
        return []
