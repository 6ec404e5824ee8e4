"""What follows a gap in a recording is heard at its time, and nothing is added where there is none."""

import io
import re

import av
import numpy as np
import pytest

from m2d_clap.model import decode, read_audio

RATE = 48_000


def recorded(
    container: str, codec: str, gap: float = 0.0, seconds: float = 2.0, file: object = None
) -> bytes:
    """A tone; its second half comes so many seconds late."""
    written = io.BytesIO() if file is None else file
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)
    with av.open(written, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        for part in (frame, None):
            for packet in stream.encode(part):
                if packet.pts >= seconds / 2 * RATE:
                    packet.pts += int(gap * RATE)
                    packet.dts += int(gap * RATE)
                out.mux(packet)
    return written.getvalue() if isinstance(written, io.BytesIO) else b""


def loudest(samples: np.ndarray, start: float, end: float) -> float:
    return float(np.abs(samples[int(start * 16000) : int(end * 16000)]).max())


KEEPS_TIMES = [
    ("matroska", "libopus"),
    ("matroska", "flac"),
    ("webm", "libopus"),
    ("mp4", "aac"),
    ("mpegts", "mp2"),
]


@pytest.mark.parametrize(("container", "codec"), KEEPS_TIMES)
def test_what_follows_a_gap_is_heard_at_its_time(container: str, codec: str) -> None:
    said: list[str] = []
    data = recorded(container, codec, gap=5.0)
    samples = np.concatenate([*decode(data, 16000, told=said.append)])
    assert len(samples) / 16000 == pytest.approx(7.0, abs=0.1)
    assert loudest(samples, 0.2, 0.8) > 0.3
    assert loudest(samples, 1.2, 5.8) < 1e-3
    assert loudest(samples, 6.2, 6.8) > 0.3
    assert said == ["5 of its 7 s are missing"]


@pytest.mark.parametrize(
    ("container", "codec"),
    [*KEEPS_TIMES, ("mp3", "libmp3lame"), ("adts", "aac"), ("ogg", "libopus"), ("asf", "wmav2")],
)
def test_nothing_is_added_to_a_recording_without_gaps(container: str, codec: str) -> None:
    data = recorded(container, codec)
    with av.open(io.BytesIO(data)) as plain:
        samples = sum(frame.samples for frame in plain.decode(audio=0))
    assert len(read_audio(data, RATE).samples) == samples


def test_silence_stands_for_damaged_packets() -> None:
    data = bytearray(recorded("matroska", "flac", seconds=4.0))
    frames = [found.start() for found in re.finditer(b"\xff\xf8", data)]
    for place in frames[10:20]:
        data[place + 1] = 0xFF
    said: list[str] = []
    samples = np.concatenate([*decode(bytes(data), 16000, told=said.append)])
    assert len(samples) / 16000 == pytest.approx(4.0, abs=0.15)
    assert "damaged packets are missing" in said[0]


def test_a_gap_counts_where_the_length_is_not_known() -> None:
    class Live:
        """As a browser records: nothing is written twice."""

        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    live = Live()
    recorded("webm", "libopus", gap=5.0, file=live)
    assert read_audio(live.data, 16000).seconds == pytest.approx(7.0, abs=0.1)


def test_a_gap_longer_than_a_day_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = recorded("matroska", "flac", gap=5.0)
    monkeypatch.setattr("m2d_clap.model.audio._MOST_SILENCE", 4.0)
    assert read_audio(data, 16000).seconds == pytest.approx(2.0, abs=0.1)


def test_a_video_whose_sound_is_shorter_than_its_picture_is_whole() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=RATE, layout="mono")
        picture = out.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * RATE), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        out.mux([*sound.encode(frame), *sound.encode(None)])
        for number in range(100):
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            image.pts = number
            out.mux(picture.encode(image))
        out.mux(picture.encode(None))
    said: list[str] = []
    heard = sum(map(len, decode(file.getvalue(), 16000, told=said.append)))
    assert heard / 16000 == pytest.approx(2.0, abs=0.1)
    assert said == []
