"""Sound is decoded in processes of its own: what is hostile costs one request, never the server."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.model import read_audio
from m2d_clap.model.errors import AudioError, AudioTooLongError, BadSamplesError, NotAudioError
from m2d_clap.service import decode_pool
from m2d_clap.service.errors import AudioTooCostlyError, BusyError, DecoderDownError
from m2d_clap.service.uploads import DecodeLimits, Decoder

RATE = 16000


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype("f4")


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def encoded(samples: np.ndarray, rate: int, container: str, codec: str, fmt: str = "fltp") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        for start in range(0, len(samples), 500_000):
            block = samples[None, start : start + 500_000]
            frame = av.AudioFrame.from_ndarray(block, format=fmt, layout="mono")
            frame.sample_rate = rate
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


def with_decoder(
    test: Callable[[Decoder], Awaitable[None]], limits: DecodeLimits | None = None
) -> None:
    async def run() -> None:
        decoder = Decoder(limits or DecodeLimits(processes=1))
        try:
            await asyncio.wait_for(test(decoder), 60)
        finally:
            await decoder.close()
        assert decoder.pool.pids == []

    asyncio.run(run())


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def decoder(loop: asyncio.AbstractEventLoop) -> Iterator[Decoder]:
    """One that lives through many hostile files, with one process."""
    decoder = Decoder(DecodeLimits(processes=1))
    loop.run_until_complete(decoder.pool.start())
    yield decoder
    loop.run_until_complete(decoder.close())


def test_a_sound_decodes_to_the_same_samples_as_in_this_process() -> None:
    data = encoded(tone(2.0, 44100), 44100, "mp3", "libmp3lame")

    async def test(decoder: Decoder) -> None:
        heard = await decoder.decode(io.BytesIO(data), RATE)
        assert heard.samples.dtype == np.float32 and heard.samples.flags.writeable
        assert np.array_equal(heard.samples, read_audio(data, RATE).samples)

    with_decoder(test)


def test_the_process_loads_no_torch() -> None:
    code = "import sys, m2d_clap.service.decoding; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def overlong_header() -> bytes:
    header = bytearray(wav((tone(0.5) * 32767).astype(np.int16)))
    header[4:8] = header[40:44] = (0xFFFFFFFF).to_bytes(4, "little")
    return bytes(header)


def header_only() -> bytes:
    return wav((tone(0.5) * 32767).astype(np.int16))[:44]


def with_rate(rate: int) -> bytes:
    header = bytearray(wav(tone(0.5)))
    header[24:28] = rate.to_bytes(4, "little")
    return bytes(header)


def with_nan() -> bytes:
    samples = tone(1.0)
    samples[700] = np.nan
    return wav(samples)


def damaged_webm() -> bytes:
    data = bytearray(encoded(tone(3.0, 48000), 48000, "webm", "libopus"))
    rng = np.random.default_rng(3)
    for place in rng.integers(600, len(data), 400):
        data[place] = rng.integers(256)
    return bytes(data)


def damaged_packets() -> bytes:
    data = bytearray(encoded(tone(4.0), RATE, "mp3", "libmp3lame"))
    for place in range(3000, len(data), 4000):
        data[place : place + 60] = b"\xff" * 60
    return bytes(data)


def changing_format() -> bytes:
    first = encoded(tone(1.0), RATE, "mp3", "libmp3lame")
    return first + encoded(tone(1.0, 44100), 44100, "mp3", "libmp3lame")


def ten_hours() -> bytes:
    return encoded(np.zeros(36_000_000, np.int16), 1000, "flac", "flac", "s16")


def many_channels() -> bytes:
    return wav(np.zeros((800, 200), np.int16))


PLAYLIST = b"ffconcat version 1.0\nfile /etc/passwd\n"
SESSION = b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"

HOSTILE: dict[str, tuple[Callable[[], bytes], type[AudioError] | None]] = {
    "a playlist that names another file": (lambda: PLAYLIST, NotAudioError),
    "a session description that waits on the network": (lambda: SESSION, NotAudioError),
    "ten silent hours in a few bytes": (ten_hours, AudioTooLongError),
    "samples that are no numbers": (with_nan, BadSamplesError),
    "a sample rate of 1 Hz": (lambda: with_rate(1), BadSamplesError),
    "a sample rate of 2^31 - 1 Hz": (lambda: with_rate(2**31 - 1), BadSamplesError),
    "far too loud samples out of a damaged webm": (damaged_webm, None),
    "a header without samples": (header_only, NotAudioError),
    "a format that changes in mid-stream": (changing_format, None),
    "damaged packets in a good file": (damaged_packets, None),
    "two hundred channels": (many_channels, BadSamplesError),
    "a header that promises four gigabytes": (overlong_header, None),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_heard_or_refused_and_the_process_goes_on(
    decoder: Decoder, loop: asyncio.AbstractEventLoop, kind: str
) -> None:
    content, error = HOSTILE[kind]
    before = decoder.pool.pids
    start = time.monotonic()
    if error is None:
        heard = loop.run_until_complete(decoder.decode(io.BytesIO(content()), RATE))
        assert np.isfinite(heard.samples).all() and np.abs(heard.samples).max() <= 4.0
    else:
        with pytest.raises(error):
            loop.run_until_complete(decoder.decode(io.BytesIO(content()), RATE))
    assert time.monotonic() - start < 10
    assert decoder.pool.pids == before
    good = loop.run_until_complete(decoder.decode(io.BytesIO(wav(tone(0.5))), RATE))
    assert good.seconds == pytest.approx(0.5)


def test_while_it_decodes_the_process_can_open_no_file() -> None:
    code = (
        "from m2d_clap.service.decoding import Job, _limited\n"
        "with _limited(Job(16000, 1.0, False, 2, 5, 1 << 29)):\n"
        "    try: open('/etc/hostname')\n"
        "    except OSError as error: print(error.strerror)\n"
        "open('/etc/passwd').close()\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "Too many open files"


def test_memory_beyond_the_limit_fails_that_file_alone() -> None:
    async def test(decoder: Decoder) -> None:
        big = io.BytesIO(wav(np.zeros((2_000_000, 1), np.float32), 96000))
        with pytest.raises(AudioError):
            await decoder.decode(big, RATE)
        assert (await decoder.decode(io.BytesIO(wav(tone(0.5))), RATE)).seconds == pytest.approx(
            0.5
        )

    with_decoder(test, DecodeLimits(processes=1, memory=300_000))


def test_a_process_that_hangs_is_ended_and_replaced() -> None:
    async def test(decoder: Decoder) -> None:
        await decoder.pool.start()
        (first,) = decoder.pool.pids
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(AudioTooCostlyError, match="longer than"):
            await decoder.decode(io.BytesIO(wav(tone(0.5))), RATE)
        decoder.pool._patience = 30.0
        assert (await decoder.decode(io.BytesIO(wav(tone(0.5))), RATE)).seconds == pytest.approx(
            0.5
        )
        assert decoder.pool.pids != [first] and decoder.pool.deaths == 1

    with_decoder(test, DecodeLimits(processes=1, patience=0.3))


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (signal.SIGSEGV, NotAudioError),
        (signal.SIGXCPU, AudioTooCostlyError),
        (signal.SIGKILL, DecoderDownError),
    ],
)
def test_the_death_of_a_process_costs_the_one_file_it_held(
    ending: signal.Signals, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, takes = asyncio.Event(), decode_pool._Child.takes

    async def told(*job: Any) -> bool:
        taken = await takes(*job)
        begun.set()
        return taken

    monkeypatch.setattr(decode_pool._Child, "takes", told)
    long = encoded(np.zeros(3_600_000, np.int16), 1000, "flac", "flac", "s16")  # seconds of work

    async def test(decoder: Decoder) -> None:
        await decoder.pool.start()
        (first,) = decoder.pool.pids
        held = asyncio.create_task(decoder.decode(io.BytesIO(long), RATE))
        waiting = asyncio.create_task(decoder.decode(io.BytesIO(wav(tone(0.7))), RATE))
        await asyncio.wait_for(begun.wait(), 30)
        os.kill(first, ending)
        with pytest.raises(error):
            await held
        assert (await waiting).seconds == pytest.approx(0.7)

    with_decoder(test, DecodeLimits(seconds=1e5, processes=1))


def test_a_process_that_dies_idle_is_replaced_unnoticed() -> None:
    async def test(decoder: Decoder) -> None:
        await decoder.pool.start()
        os.kill(decoder.pool.pids[0], signal.SIGKILL)
        assert (await decoder.decode(io.BytesIO(wav(tone(0.5))), RATE)).seconds == pytest.approx(
            0.5
        )

    with_decoder(test)


def test_processor_time_beyond_the_limit_ends_the_process() -> None:
    code = (
        "from m2d_clap.service.decoding import Job, _limited\n"
        "with _limited(Job(16000, 1.0, False, 2, 0, 1 << 29)):\n"
        "    while True: pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_more_than_may_wait_is_refused_at_once() -> None:
    async def test(decoder: Decoder) -> None:
        await decoder.pool.start()
        os.kill(decoder.pool.pids[0], signal.SIGSTOP)
        tasks = [
            asyncio.create_task(decoder.decode(io.BytesIO(wav(tone(0.5))), RATE)) for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        assert decoder.waiting == 3
        with pytest.raises(BusyError):
            await asyncio.wait_for(decoder.decode(io.BytesIO(b""), RATE), 0.1)
        tasks[1].cancel()  # one that waits leaves its place
        await asyncio.sleep(0.01)
        assert decoder.waiting == 2
        os.kill(decoder.pool.pids[0], signal.SIGCONT)
        assert (await tasks[2]).seconds == (await tasks[0]).seconds

    with_decoder(test, DecodeLimits(processes=1, waiting=2))


def test_who_goes_away_in_the_middle_takes_no_process_with_him() -> None:
    async def test(decoder: Decoder) -> None:
        await decoder.pool.start()
        before = decoder.pool.pids
        os.kill(before[0], signal.SIGSTOP)
        gone = asyncio.create_task(decoder.decode(io.BytesIO(wav(tone(0.5))), RATE))
        await asyncio.sleep(0.1)
        gone.cancel()
        os.kill(before[0], signal.SIGCONT)
        assert (await decoder.decode(io.BytesIO(wav(tone(0.7))), RATE)).seconds == pytest.approx(
            0.7
        )
        assert decoder.pool.pids == before

    with_decoder(test)


def test_an_upload_whose_request_has_ended_leaves_no_file_open() -> None:
    async def test(decoder: Decoder) -> None:
        await decoder.pool.start()
        before = len([*Path("/proc/self/fd").iterdir()])
        for _ in range(20):
            ended = io.BytesIO(wav(tone(0.5)))
            ended.close()
            with pytest.raises(ValueError, match="closed"):
                await decoder.decode(ended, RATE)
        assert len([*Path("/proc/self/fd").iterdir()]) == before

    with_decoder(test)


def test_a_library_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "long.wav", RATE, tone(3.0))

    async def test(decoder: Decoder) -> None:
        assert (await decoder.read(tmp_path / "long.wav", RATE)).seconds == pytest.approx(2.0)
        assert (await decoder.read(tmp_path / "long.wav", 8000)).sample_rate == 8000
        with pytest.raises(NotAudioError, match=r"cannot read none\.wav"):
            await decoder.read(tmp_path / "none.wav", RATE)

    with_decoder(test, DecodeLimits(seconds=2.0, processes=1))


def test_a_file_in_memory_and_one_on_disk_are_handed_over_alike(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"some bytes")
    files: list[BinaryIO] = [io.BytesIO(b"some bytes"), (tmp_path / "x").open("rb")]
    for file in files:
        with file, os.fdopen(decode_pool._descriptor(file), "rb") as handed:
            handed.seek(0)
            assert handed.read() == b"some bytes"
