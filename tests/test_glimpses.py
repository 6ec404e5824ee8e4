"""What hours of sound look like is told by short stretches of them, found by seeking."""

import asyncio
import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from m2d_clap.model.errors import NotAudioError
from m2d_clap.model.glimpses import Glimpses, glimpses
from m2d_clap.service.pictures import WINDOW, peaks, spectrogram
from m2d_clap.service.uploads import DecodeLimits, Decoder

RATE, SECONDS = 16000, 60
FORMATS = [
    ("wav", "pcm_s16le", "s16"), ("flac", "flac", "s16"), ("mp3", "libmp3lame", "fltp"),
    ("ogg", "libvorbis", "fltp"), ("mp4", "aac", "fltp"), ("matroska", "aac", "fltp"),
]  # fmt: skip


def encoded(container: str, codec: str, layout: str) -> io.BytesIO:
    """A minute whose loudness grows with every second, at 44.1 kHz."""
    times = np.arange(SECONDS * 44_100) / 44_100
    loud = (np.floor(times) + 1) / SECONDS
    samples = (0.8 * loud * np.sin(2 * np.pi * 1000 * times)).astype(np.float32)
    if layout == "s16":
        samples = np.round(samples * 32767).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=44_100, layout="mono")
        for start in range(0, len(samples), 441_000):
            block = samples[None, start : start + 441_000]
            frame = av.AudioFrame.from_ndarray(block, format=layout, layout="mono")
            frame.sample_rate = 44_100
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    file.seek(0)
    return file


@pytest.mark.parametrize(("container", "codec", "layout"), FORMATS)
def test_stretches_come_from_where_they_are_said_to(
    container: str, codec: str, layout: str
) -> None:
    try:
        file = encoded(container, codec, layout)
    except (av.error.FFmpegError, ValueError):
        pytest.skip(f"this PyAV cannot write {codec}")
    found = glimpses(file, RATE, SECONDS, 30, WINDOW)
    assert found.shape == (30, WINDOW) and found.dtype == np.float32
    loud = np.abs(found).max(axis=1)
    wanted = 0.8 * (2 * np.arange(30) + 2) / SECONDS  # of the middle of each two seconds
    assert loud == pytest.approx(wanted, abs=0.06)


def test_what_is_no_sound_or_ends_early_is_told_or_left_empty() -> None:
    with pytest.raises(NotAudioError):
        glimpses(io.BytesIO(b"nothing"), RATE, 10, 4, WINDOW)
    file = encoded("wav", "pcm_s16le", "s16")
    found = glimpses(file, RATE, 2 * SECONDS, 8, WINDOW)
    assert found[:4].any(axis=1).all() and not found[4:].any()


def test_pictures_of_glimpses_have_one_column_for_each() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, WINDOW)
    seen = Glimpses(np.stack([noise, np.zeros(WINDOW)] * 20).astype(np.float32), RATE)
    assert peaks(seen, 7200.0, 40) == pytest.approx([1.0, 0.0] * 20, abs=1e-2)
    picture = Image.open(io.BytesIO(spectrogram(seen, 7200.0, 40, 30, "dark")))
    light = np.asarray(picture.convert("L"), np.float32)
    assert light.shape == (30, 40)
    assert light[:, ::2].min() > 90 and light[:, 1::2].max() < 40


def test_a_file_of_any_length_is_glanced_at_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "long.flac"
    file.write_bytes(encoded("flac", "flac", "s16").getvalue())

    async def glance() -> Glimpses:
        decoder = Decoder(DecodeLimits(processes=1, seconds=5.0))
        try:
            return await decoder.glance(file, RATE, SECONDS, 12, WINDOW)
        finally:
            await decoder.close()

    seen = asyncio.run(glance())
    assert seen.stretches.shape == (12, WINDOW)
    assert (np.diff(np.abs(seen.stretches).max(axis=1)) > 0).all()
