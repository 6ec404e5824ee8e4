"""Sounds of every kind are decoded safely, and bad ones are refused with a typed error."""

import io
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import av
import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.model import AudioLimits, decode, read_audio
from m2d_clap.model.errors import AudioTooLongError, BadSamplesError, NotAudioError


def tone(seconds: float, rate: int, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def wav(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def encoded(samples: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 96_000  # what the WMA encoder asks for and the others can do
        wanted = stream.codec_context.codec.audio_formats[0].name
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        converter = av.AudioResampler(format=wanted, layout="mono", rate=rate)
        for part in [*converter.resample(frame), *converter.resample(None)]:
            for packet in stream.encode(part):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_every_sample_format_decodes_to_the_same_sound(dtype: str) -> None:
    samples = tone(0.5, 16000)
    scale = {"uint8": 127.0, "int16": 32767.0, "int32": 2147483647.0}.get(dtype, 1.0)
    stored = (samples.astype(np.float64) * scale + (128 if dtype == "uint8" else 0)).astype(dtype)
    heard = read_audio(wav(stored, 16000), 16000).samples
    assert np.abs(heard - samples).max() < (0.02 if dtype == "uint8" else 1e-4)


def test_a_stereo_44100_hz_tone_keeps_its_length_and_level() -> None:
    samples = tone(1.0, 44100)
    heard = read_audio(wav(np.stack([samples, samples], axis=1), 44100), 16000)
    assert abs(heard.seconds - 1.0) < 0.001
    assert abs(np.abs(heard.samples[1000:-1000]).max() - 0.5) < 0.01


def test_what_lies_above_the_new_nyquist_does_not_alias() -> None:
    heard = read_audio(wav(tone(1.0, 44100, hz=9000.0), 44100), 16000)
    assert np.abs(heard.samples[1000:-1000]).max() < 1e-3


COMPRESSED = (
    *(("adts", "aac"), ("mp3", "libmp3lame"), ("matroska", "aac"), ("mp4", "aac"), ("3gp", "aac")),
    *(("ogg", "libopus"), ("webm", "libopus"), ("asf", "wmav2"), ("ipod", "alac"), ("ac3", "ac3")),
    *(("flac", "flac"), ("wv", "wavpack"), ("mpegts", "mp2"), ("wav", "adpcm_ima_wav")),
    *(("aiff", "pcm_s16be"), ("au", "pcm_s16be"), ("caf", "pcm_s24le"), ("w64", "pcm_s16le")),
    *(("tta", "tta"), ("flv", "aac"), ("mpeg", "mp2"), ("eac3", "eac3")),
)


@pytest.mark.parametrize(("container", "codec"), COMPRESSED)
def test_every_common_format_decodes_to_the_same_tone(container: str, codec: str) -> None:
    heard = read_audio(encoded(tone(1.0, 48000), 48000, container, codec), 16000)
    assert abs(heard.seconds - 1.0) < 0.1
    loudest = np.abs(np.fft.rfft(heard.samples)).argmax() / heard.seconds
    assert loudest == pytest.approx(440, abs=2)


def test_damaged_packets_are_skipped() -> None:
    data = bytearray(encoded(tone(4.0, 16000), 16000, "mp3", "libmp3lame"))
    for place in range(3000, len(data), 4000):
        data[place : place + 60] = b"\xff" * 60
    assert read_audio(bytes(data), 16000).seconds > 2.0


@pytest.mark.parametrize(
    "data",
    [b"", b"just some text", b"ffconcat version 1.0\nfile /etc/passwd\n", b"\x00" * 4096],
    ids=["empty", "text", "playlist", "zeros"],
)
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(NotAudioError):
        read_audio(data, 16000)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    inner = tmp_path / "inner.wav"
    inner.write_bytes(wav(tone(1.0, 16000), 16000))
    playlist = tmp_path / "list.wav"
    playlist.write_text(f"ffconcat version 1.0\nfile {inner}\n")
    for content in (
        playlist.read_text(),
        f"#EXTM3U\n#EXTINF:1,\n{inner}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\n",
    ):
        playlist.write_text(content)
        with pytest.raises(NotAudioError):
            read_audio(playlist, 16000)


def test_nan_samples_and_absurd_rates_and_long_sounds_are_refused() -> None:
    broken = tone(1.0, 16000)
    broken[500] = np.nan
    with pytest.raises(BadSamplesError, match="NaN"):
        read_audio(wav(broken, 16000), 16000)
    for rate in (1, 999, 2**31 - 1):
        header = bytearray(wav(tone(0.1, 16000), 16000))
        header[24:28] = rate.to_bytes(4, "little")
        with pytest.raises((BadSamplesError, NotAudioError)):
            read_audio(bytes(header), 16000)
    with pytest.raises(AudioTooLongError):
        read_audio(wav(tone(3.0, 16000), 16000), 16000, AudioLimits(seconds=2.0))


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotAudioError, match="cannot read"):
        next(decode(tmp_path / "none.wav", 16000))


def test_a_codec_that_nothing_decodes_is_no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SimpleNamespace(codec_context=None, metadata={})
    container = MagicMock()
    container.streams.audio = [stream]
    monkeypatch.setattr(av, "open", lambda *_, **__: container)
    with pytest.raises(NotAudioError, match="no decoder"):
        list(decode(io.BytesIO(b"x"), 16000))


@pytest.mark.parametrize("container", ["wav", "flac"])
def test_a_sound_that_ends_before_its_header_says_is_told_of(container: str) -> None:
    samples = tone(20.0, 16000)
    whole = wav((samples * 30_000).astype(np.int16), 16000)
    if container == "flac":
        whole = encoded(samples, 16000, "flac", "flac")
    said: list[str] = []
    list(decode(whole, 16000, told=said.append))
    assert said == []
    heard = sum(len(block) for block in decode(whole[: len(whole) // 2], 16000, told=said.append))
    assert 5 < heard / 16000 < 15
    (how,) = said
    assert ("of the 20 s its header says" if container == "flac" else "of the 640,000 bytes") in how


def test_a_wav_file_whose_size_does_not_fit_its_header_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("m2d_clap.model.audio._WRAPPED", 50_000)  # bytes, not gigabytes
    short = wav(np.zeros(1600, np.int16), 16000)
    said: list[str] = []
    blocks = decode(short + 50_000 * b"x", 16000, told=said.append)
    assert sum(map(len, blocks)) == 1600
    assert said == ["50,000 bytes behind what its header says"]
