"""Sounds are prepared once, in parts that a stop cannot hurt and damage cannot hide in."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig, read_audio
from m2d_clap.model.config import EncoderConfig, FrontEndConfig
from m2d_clap.model.errors import AudioError
from m2d_clap.model.mel import log_mel
from m2d_clap.service.cli import build
from m2d_clap.training import shards
from m2d_clap.training.manifest import Row
from m2d_clap.training.shards import LogMels, ShardError, load_log_mels, verify

FRONT_END = FrontEndConfig()
STATUS = Path("/proc/self/status")


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    monkeypatch.setattr(shards, "SHARD_ROWS", 2)
    made = []
    for number in range(5):
        file = tmp_path / f"{number}.wav"
        noise = np.random.default_rng(number).normal(0, 1000, 4000 + 500 * number)
        wavfile.write(file, 16000, noise.astype(np.int16))
        made.append(Row(file, ("noise",), "noise", "train", {}))
    return made


def test_log_mels_come_back_as_they_were_computed(rows: list[Row], tmp_path: Path) -> None:
    seen: list[int] = []
    found = load_log_mels(rows, FRONT_END, tmp_path / "cache", seen.append)
    assert seen[-1] == 5 and seen == sorted(seen)
    for row, sound in zip(rows, found, strict=True):
        samples = torch.from_numpy(read_audio(row.file, 16000).samples)
        assert torch.equal(sound, log_mel(samples[None], FRONT_END)[0, 0].half())
    assert verify(rows, FRONT_END, tmp_path / "cache") == 3


def test_what_is_kept_is_raw_so_that_other_statistics_find_it(
    rows: list[Row], tmp_path: Path
) -> None:
    load_log_mels(rows, FRONT_END, tmp_path / "cache")
    made = {file.name for file in (tmp_path / "cache").iterdir()}
    load_log_mels(rows, FrontEndConfig(mean=-5.0, std=3.0), tmp_path / "cache")
    assert {file.name for file in (tmp_path / "cache").iterdir()} == made


def test_log_mels_are_a_sequence_that_holds_maps_and_not_sounds(
    rows: list[Row], tmp_path: Path
) -> None:
    found = load_log_mels(rows, FRONT_END, tmp_path / "cache")
    assert found.frames.tolist() == [sound.shape[1] for sound in found] == [26, 29, 32, 35, 38]
    assert torch.equal(found[-1], found[4])
    assert [s.shape[1] for s in found[1:4]] == [29, 32, 35]
    with pytest.raises(IndexError):
        found[5]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(found.__getitem__, list(range(5)) * 20))
    assert all(torch.equal(sound, found[i % 5]) for i, sound in enumerate(again))
    assert found[0] is not found[0]


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux says what memory a process has")
def test_sounds_of_a_shard_are_mapped_and_not_read_into_memory(tmp_path: Path) -> None:
    file = tmp_path / "shard.safetensors"
    save_file({f"{n:07d}": torch.ones(80, 5000).half() for n in range(50)}, file)  # 40 MB

    def anonymous() -> int:
        (line,) = [line for line in STATUS.read_text().splitlines() if "RssAnon" in line]
        return int(line.split()[1]) * 1024

    before = anonymous()
    sounds = LogMels([(file, 50)])
    held = list(sounds)
    assert sum(float(sound[0, ::100].sum()) for sound in held) == 2500
    assert anonymous() - before < 10_000_000


def test_a_stopped_preparation_keeps_what_was_done(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_log_mels(rows, FRONT_END, tmp_path / "cache", stop)
    kept = list((tmp_path / "cache").glob("*.safetensors"))
    read: list[Path] = []

    def counted(file: Path, rate: int) -> object:
        read.append(file)
        return read_audio(file, rate)

    monkeypatch.setattr(shards, "read_audio", counted)
    load_log_mels(rows, FRONT_END, tmp_path / "cache")
    assert len(kept) >= 1
    assert rows[0].file not in read and rows[4].file in read


def test_a_changed_file_is_heard_again_and_its_shard_only(rows: list[Row], tmp_path: Path) -> None:
    load_log_mels(rows, FRONT_END, tmp_path / "cache")
    before = set((tmp_path / "cache").glob("*.safetensors"))
    wavfile.write(rows[3].file, 16000, np.zeros(9000, np.int16))
    assert load_log_mels(rows, FRONT_END, tmp_path / "cache")[3].shape == (80, 57)
    assert len(set((tmp_path / "cache").glob("*.safetensors")) - before) == 1


def test_shards_are_found_however_a_path_is_spelled_and_told_where_they_are_not(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_log_mels(rows, FRONT_END, tmp_path / "cache")
    assert (first.made, first.shards) == (3, 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for folder in (Path(), Path("folder/..")):
        spelled = [dataclasses.replace(row, file=folder / row.file.name) for row in rows]
        again = load_log_mels(spelled, FRONT_END, tmp_path / "cache")
        assert (again.made, again.shards) == (0, 3)


def test_damage_is_found_and_named(rows: list[Row], tmp_path: Path) -> None:
    load_log_mels(rows, FRONT_END, tmp_path / "cache")
    shard = min((tmp_path / "cache").glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ShardError, match=shard.name):
        verify(rows, FRONT_END, tmp_path / "cache")
    shard.write_bytes(data[:20])
    with pytest.raises(ShardError, match="damaged"):
        load_log_mels(rows, FRONT_END, tmp_path / "cache")


def test_a_broken_sound_is_named(rows: list[Row], tmp_path: Path) -> None:
    rows[2].file.write_bytes(b"no sound")
    with pytest.raises(AudioError, match=r"2\.wav"):
        load_log_mels(rows, FRONT_END, tmp_path / "cache")


def test_the_command_prepares_and_checks(rows: list[Row], tmp_path: Path) -> None:
    lines = [f"{row.file.name},some noise,noise,train" for row in rows[:4]]
    lines += [f"{rows[4].file.name},more noise,noise,valid"]
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(["file,caption,label,split", *lines]))
    words = ["prepare", str(manifest), str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(build(), words)
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout) == {
        "sounds": 5,
        "shards": 3,
        "made": 3,
        "cache": str(tmp_path / "out"),
    }
    assert list((tmp_path / "out").glob("captions-*"))


def test_the_command_hears_as_the_parent_does_and_repeats_what_it_was_given(
    rows: list[Row], tmp_path: Path
) -> None:
    heard = FrontEndConfig.for_rate(32000)
    sizes = EncoderConfig(frames=64, width=16, depth=1, heads=2)
    Checkpoint.of(Clap(ClapConfig(front_end=heard, encoder=sizes))).save(tmp_path / "a parent")
    lines = [f"{row.file.name},noise,train,CC0" for row in rows]
    (tmp_path / "m.csv").write_text("\n".join(["file,label,split,licence", *lines]))
    parent, out = ["--parent", str(tmp_path / "a parent")], tmp_path / "out"
    words = ["prepare", str(tmp_path / "m.csv"), str(out), "--without-licence", "NC", *parent]
    result = CliRunner().invoke(build(), [*words, "--stage", "1.1"])
    assert result.exit_code == 0, result.exception
    assert verify(rows, heard, out) == 3
    told = f"m2d-clap train {tmp_path / 'm.csv'} --stage 1.1 --parent '{tmp_path / 'a parent'}' "
    assert f"{told}--without-licence NC --cache {out}" in result.stdout
    assert "3 shards, 3 made anew" in result.stdout
    assert CliRunner().invoke(build(), [*words, "--stage", "1-mini"]).exit_code == 2
