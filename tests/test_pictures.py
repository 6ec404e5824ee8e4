"""Pictures are drawn at a clip's full length, once for all who ask, and kept up to a size."""

import asyncio
import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from m2d_clap.model import Waveform
from m2d_clap.service.kept import Kept
from m2d_clap.service.pictures import peaks, spectrogram
from m2d_clap.service.spans import SPAN_SECONDS, spans

RATE = 16000


def tone(seconds: float, hz: float = 1000.0, loud: float = 0.5) -> Waveform:
    moments = np.arange(int(seconds * RATE)) / RATE
    return Waveform((loud * np.sin(2 * np.pi * hz * moments)).astype(np.float32), RATE)


@given(st.floats(0.001, 3), st.integers(1, 200))
def test_peaks_are_as_many_as_asked_for_and_the_loudest_is_there(
    seconds: float, points: int
) -> None:
    sound = Waveform(np.linspace(0, 1.5, max(1, int(seconds * RATE)), dtype=np.float32), RATE)
    found = peaks(sound, sound.seconds, points)
    assert len(found) == points and found == sorted(found)
    assert found[-1] == pytest.approx(min(1.0, float(sound.samples[-1])), abs=1e-4)


def test_what_was_not_decoded_stays_empty() -> None:
    found = peaks(tone(1.0), 4.0, 8)
    assert found[:2] == pytest.approx([0.5, 0.5], abs=1e-3) and found[2:] == [0.0] * 6
    picture = Image.open(io.BytesIO(spectrogram(tone(1.0), 4.0, 80, 40)))
    light = np.asarray(picture.convert("L"), np.float32)
    assert light[:, :20].max() > 100 and light[:, 25:].max() == light.min()


@pytest.mark.parametrize("seconds", [0.01, 0.1, 1.0, 60.0])
def test_a_tone_is_a_line_at_its_pitch_however_long_it_is(seconds: float) -> None:
    picture = Image.open(io.BytesIO(spectrogram(tone(seconds), seconds, 50, 100, "dark")))
    assert picture.size == (50, 100)
    rows = np.asarray(picture.convert("L"), np.float32).mean(axis=1)
    mels = [2595 * np.log10(1 + hz / 700) for hz in (50.0, 1000.0, 8000.0)]
    expected = 99 * (1 - (mels[1] - mels[0]) / (mels[2] - mels[0]))
    assert abs(int(rows.argmax()) - expected) <= 2


def test_silence_is_background() -> None:
    silent = Waveform(np.zeros(RATE, np.float32), RATE)
    picture = Image.open(io.BytesIO(spectrogram(silent, 1.0, 20, 20, "light")))
    assert np.asarray(picture.convert("L")).min() == 255
    assert peaks(silent, 1.0, 3) == [0, 0, 0]


@given(st.floats(0.01, 700))
def test_spans_cover_a_sound_without_gap_and_none_is_short(seconds: float) -> None:
    found = spans(seconds)
    assert found[0][0] == 0 and found[-1][1] == seconds
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    if seconds >= SPAN_SECONDS / 2:
        assert all(end - start >= SPAN_SECONDS / 2 for start, end in found)
    assert all(end - start <= 1.5 * SPAN_SECONDS for start, end in found)


def test_what_many_ask_for_is_made_once_and_kept_up_to_a_size() -> None:
    made: list[str] = []

    async def run() -> None:
        kept = Kept(most=10)

        async def make(name: str, size: int) -> bytes:
            made.append(name)
            await asyncio.sleep(0)
            return b"x" * size

        def ask(name: str, size: int = 4) -> "asyncio.Future[bytes]":
            return asyncio.ensure_future(kept.get(name, lambda: make(name, size)))

        assert await asyncio.gather(*(ask("a") for _ in range(5))) == [b"xxxx"] * 5
        gone, stays = ask("b"), ask("b")
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == b"xxxx"
        await ask("a")  # used again: b is the oldest
        await ask("c")
        await ask("a")
        await ask("b")
        assert made == ["a", "b", "c", "b"]
        await ask("too large", 11)
        await ask("too large", 11)
        assert made[-2:] == ["too large"] * 2

    asyncio.run(run())


def test_a_failure_is_told_to_everybody_and_not_kept() -> None:
    async def run() -> None:
        kept = Kept(most=10)
        failures = 0

        async def fail() -> bytes:
            nonlocal failures
            failures += 1
            raise OSError("no")

        results = await asyncio.gather(
            *(kept.get(1, fail) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(result, OSError) for result in results) and failures == 1
        with pytest.raises(OSError, match="no"):
            await kept.get(1, fail)

    asyncio.run(run())
