"""Bytes → Waveform: safe streaming decoding (PyAV) and resampling (soxr).

FFmpeg's own resampler aliases, so sound is decoded at its native rate and resampled by soxr. Only
plain media containers are opened: a playlist or a session description inside the bytes could
otherwise make FFmpeg open other files or wait on the network.
"""

import contextlib
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import numpy as np
import soxr
from numpy.typing import NDArray

from m2d_clap.model.errors import AudioTooLongError, BadSamplesError, NotAudioError

FORMATS = (
    "wav,w64,aiff,au,caf,flac,wv,mp3,ogg,aac,ac3,asf,amr,matroska,webm,mov,mp4,m4a,3gp,avi,mpegts,"
    "ape,tta,mpc,mpc8,dsf,flv,mpeg,dts,eac3,mxf"
)
"""FFmpeg demuxers that may be used; anything else is refused before it can act. A name that this
FFmpeg lacks allows nothing."""

Samples = NDArray[np.float32]

_GUESSED = {"mp3", "aac", "dts", "eac3"}  # whose length FFmpeg only estimates
_TIMED = {"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mpegts"}  # that keep when a packet is heard
_JITTER = 0.1  # seconds
_MOST_SILENCE = 86_400.0  # seconds that gaps may add: times can be damaged, too
_NEARLY = 0.98
_MOST_CHUNKS = 1000  # before a WAV's samples
_WRAPPED = 1 << 31  # bytes; beyond 4 GiB the number in a WAV's header begins anew
_GATHERED = 1 << 15
_LOUDEST = 4.0  # 12 dB over full scale: beyond it are only damaged frames


@dataclass(frozen=True)
class Waveform:
    """Mono sound. samples: (n,) float32, nominally in −1 … 1; sample_rate in Hz."""

    samples: Samples
    sample_rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class AudioLimits:
    """What is refused. Rates in Hz; `seconds` None means as long as it lasts."""

    seconds: float | None = None
    channels: int = 64
    min_rate: int = 1_000
    max_rate: int = 768_000


NO_LIMIT = AudioLimits()


def read_audio(
    source: Path | BinaryIO | bytes, sample_rate: int, limits: AudioLimits = NO_LIMIT
) -> Waveform:
    """Decodes a whole sound to mono at `sample_rate`.

    Raises NotAudioError (nothing decodable), AudioTooLongError (more than `limits.seconds`) or
    BadSamplesError (NaN samples, a rate or channel count outside the limits).
    """
    blocks = list(decode(source, sample_rate, limits))
    return Waveform(np.concatenate(blocks), sample_rate)


def decode(
    source: Path | BinaryIO | bytes,
    sample_rate: int,
    limits: AudioLimits = NO_LIMIT,
    told: Callable[[str], None] = lambda _: None,
) -> Iterator[Samples]:
    """The same as a stream of mono float32 blocks, in bounded memory whatever the length.

    Silence stands for damaged packets and for gaps in a recording, so that what follows comes at its
    time; told: at the end, what of the sound could not be heard. Raises as `read_audio` does,
    NotAudioError also at the end when not one sample could be decoded.
    """
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    if isinstance(source, Path):
        try:
            opened = source.open("rb")
        except OSError as error:
            raise NotAudioError(f"cannot read {source}: {error.strerror}") from error
        with opened:
            yield from _decode(opened, sample_rate, limits, told)
    else:
        yield from _decode(source, sample_rate, limits, told)


def _decode(
    file: BinaryIO, sample_rate: int, limits: AudioLimits, told: Callable[[str], None]
) -> Iterator[Samples]:
    samples = 0
    most = None if limits.seconds is None else int(limits.seconds * sample_rate)
    for block in _resampled(_gathered(_mono_blocks(file, limits, told)), sample_rate):
        if not np.isfinite(block).all():
            raise BadSamplesError("the sound holds samples that are not numbers (NaN or infinite)")
        samples += len(block)
        if most is not None and samples > most:
            raise AudioTooLongError(f"the sound is longer than {limits.seconds:g} seconds")
        if len(block):
            yield np.clip(block, -_LOUDEST, _LOUDEST)
    if samples == 0:
        raise NotAudioError("nothing in it can be decoded as sound")


@contextlib.contextmanager
def opened(
    file: BinaryIO, limits: AudioLimits = NO_LIMIT
) -> Iterator[tuple[av.container.InputContainer, av.AudioStream]]:
    """A sound file and its first audio stream. Raises NotAudioError and BadSamplesError."""
    try:
        # Tags in an old encoding are no reason to refuse a sound.
        container = av.open(
            file, mode="r", options={"format_whitelist": FORMATS}, metadata_errors="replace"
        )
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise NotAudioError("it is not a sound file of a known format, or is damaged") from error
    with container:
        if not container.streams.audio:
            raise NotAudioError("it holds no audio stream")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise NotAudioError("FFmpeg has no decoder for its codec; it may be protected")
        _check(stream.rate or limits.min_rate, stream.channels or 1, limits)
        yield container, stream


def _mono_blocks(
    file: BinaryIO, limits: AudioLimits, told: Callable[[str], None]
) -> Iterator[tuple[int, Samples]]:
    """(native rate, mono samples) of every frame that decodes, and of the gaps between them."""
    with opened(file, limits) as (container, stream):
        whole = (container.duration or 0) / av.time_base
        if stream.duration and stream.time_base:
            said = float(stream.duration * stream.time_base)
        else:  # the container's length is that of its longest stream, a picture's perhaps
            said = whole if len(container.streams) == 1 else 0.0
        name = container.format.name
        clock = _Clock(whole if whole and name not in _GUESSED else math.inf)
        packets = container.demux(stream)
        lost = 0
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                break  # the end, or a file cut off in the middle: keep what was there
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                lost += 1  # one damaged packet
                continue
            for frame in frames:
                rate = frame.sample_rate
                _check(rate, frame.layout.nb_channels, limits)
                gap = clock.gap(frame.time)
                if name in _TIMED or lost:  # elsewhere times are counted, not kept
                    yield from _silence(rate, gap)
                    clock.silent += gap
                clock.heard += frame.samples / rate
                yield rate, mono(frame)
        missing = [f"{lost} damaged packets are missing in it"] if lost else []
        least = 0.0 if name in _GUESSED else said * _NEARLY - 1
        if clock.now < least:
            missing.append(f"it ends after {clock.now:.0f} s of the {said:.0f} s its header says")
        elif clock.heard < least:
            missing.append(f"{clock.silent:.0f} of its {said:.0f} s are missing")
        read = file.tell()
        missing += _wav_data(file)
        file.seek(read)
        if missing:
            told("; ".join(missing))


class _Clock:
    """How much of a sound was heard, and how much silence stood for the rest. Seconds."""

    def __init__(self, end: float) -> None:
        self.heard = self.silent = 0.0
        self._end = end
        self._origin: float | None = None

    @property
    def now(self) -> float:
        return self.heard + self.silent

    def gap(self, time: float | None) -> float:
        """What is missing before a frame of this time; 0 where the time is not to be believed."""
        if time is None:
            return 0.0
        if self._origin is None:  # a decoder's priming, or what an edit cuts off, lies before it
            self._origin = time - self.now
        time -= self._origin
        gap = min(time, self._end) - self.now
        believed = time <= self._end + 1 and self.silent + gap <= _MOST_SILENCE
        return gap if gap > _JITTER and believed else 0.0


def _silence(rate: int, seconds: float) -> Iterator[tuple[int, Samples]]:
    samples = round(seconds * rate)
    for start in range(0, samples, _GATHERED):
        yield rate, np.zeros(min(_GATHERED, samples - start), np.float32)


def _wav_data(file: BinaryIO) -> list[str]:
    """What is wrong with the length that a WAV file's header gives, of which FFmpeg tells nothing."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return []
    for _ in range(_MOST_CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            return []
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"data":
            behind = size - file.tell() - length
            if length in (0, 0xFFFFFFFF):  # written as a stream: not known
                return []
            if behind < 0:
                return [f"{-behind:,} of the {length:,} bytes its header says are not there"]
            return [f"{behind:,} bytes behind what its header says"] if behind >= _WRAPPED else []
        file.seek(length + length % 2, io.SEEK_CUR)
    return []


def _gathered(blocks: Iterator[tuple[int, Samples]]) -> Iterator[tuple[int, Samples]]:
    """Joins small frames of one rate, as what follows costs much the same for any length."""
    held: list[Samples] = []
    rate = samples = 0
    for native, block in blocks:
        if held and (native != rate or samples >= _GATHERED):
            yield rate, np.concatenate(held)
            held, samples = [], 0
        rate = native
        held.append(block)
        samples += len(block)
    if held:
        yield rate, np.concatenate(held)


def _check(rate: int, channels: int, limits: AudioLimits) -> None:
    if not limits.min_rate <= rate <= limits.max_rate:
        raise BadSamplesError(
            f"a sample rate of {rate} Hz is outside {limits.min_rate} … {limits.max_rate} Hz"
        )
    if channels > limits.channels:
        raise BadSamplesError(f"{channels} channels are more than {limits.channels}")


def mono(frame: av.AudioFrame) -> Samples:
    """(n,) of a decoded frame, at its own rate: the mean of its channels."""
    if frame.format.name == "fltp" and frame.layout.nb_channels == 1:  # most files, and fastest
        return np.frombuffer(bytes(frame.planes[0]), np.float32, frame.samples)
    data = frame.to_ndarray()  # planar: (channels, n); packed: (1, n · channels)
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype == np.uint8:
        scaled = (data.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(data.dtype, np.integer):
        scaled = data.astype(np.float32) / 2.0 ** (8 * data.dtype.itemsize - 1)
    else:
        scaled = data.astype(np.float32, copy=False)
    # Overflow to infinity is found, and refused, behind the resampler.
    with np.errstate(over="ignore", invalid="ignore"):
        mean: Samples = scaled[0] if len(scaled) == 1 else scaled.mean(axis=0, dtype=np.float32)
    return mean


def _resampled(blocks: Iterator[tuple[int, Samples]], rate: int) -> Iterator[Samples]:
    """Every run of equal native rate through one soxr stream; a change flushes and starts anew."""
    current, resampler = rate, None
    empty = np.zeros(0, np.float32)
    for native, block in blocks:
        if native != current:
            if resampler is not None:
                yield resampler.resample_chunk(empty, last=True)
            current = native
            resampler = None if native == rate else _resampler(native, rate)
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(empty, last=True)


def _resampler(native: int, rate: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(native, rate, num_channels=1, dtype="float32", quality="HQ")
