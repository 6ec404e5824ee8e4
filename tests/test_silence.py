"""Short sounds of stages that learn classes: silence follows them, wherever they are heard."""

import dataclasses
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch import Tensor
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig, read_audio
from m2d_clap.model.config import EncoderConfig, config_from_dict, config_to_dict
from m2d_clap.model.mel import SILENCE, normalise
from m2d_clap.service.cli import build
from m2d_clap.service.hearing import encode_classes
from m2d_clap.training.augment import Augmentation
from m2d_clap.training.evaluation.clips import Listener, Stretch
from m2d_clap.training.loop import Trainer
from m2d_clap.training.report.folder import RunFolder
from m2d_clap.training.silence import filled, shortened
from m2d_clap.training.stages import STAGES, Stage
from m2d_clap.training.validation import head_features, head_logits

TINY = runpy.run_path(str(Path(__file__).with_name("distributed_run.py")))
trainer_of: Callable[..., Trainer] = TINY["trainer"]


def longer(name: str, frames: int, **changes: Any) -> Stage:
    """The tiny stage, whose sounds have 64 to 78 frames, over so many."""
    stage: Stage = TINY["STAGES"][name]
    encoder = dataclasses.replace(stage.model.encoder, frames=frames)
    model = dataclasses.replace(stage.model, encoder=encoder)
    return dataclasses.replace(stage, model=model, frames=frames, **changes)


def sounds(*frames: int) -> list[Tensor]:
    return [torch.zeros(80, each).half() for each in frames]


@pytest.mark.parametrize(("name", "level"), [("1.1", SILENCE), ("1", 0.0)])
def test_silence_follows_what_a_head_learns_and_zeros_what_is_pre_trained_on(
    name: str, level: float
) -> None:
    trainer = trainer_of(longer(name, 128, augmentation=Augmentation(stretch=1.2)))
    images = trainer.batches.at(0).images
    assert images is not None and images.shape[-1] == 128
    front_end = trainer.stage.model.front_end
    behind = images[..., 100:]  # the longest, stretched as far as it may be, ends before
    wanted = torch.full_like(behind, (level - front_end.mean) / front_end.std)
    assert torch.allclose(behind, wanted, atol=1e-3)


def test_no_more_frames_are_learned_than_the_longest_sound_fills() -> None:
    stage = STAGES["1.1"]
    assert stage.filled_frames == 992
    assert shortened(stage, sounds(30, 57)).frames == 64
    assert shortened(stage, sounds(3)).frames == 32
    assert shortened(stage, sounds(57, 3000)) == stage == shortened(stage, [])
    for other in ("1", "2.1", "1-mini", "1.1-mini"):
        assert STAGES[other].filled_frames == 0
        assert shortened(STAGES[other], sounds(57)) == STAGES[other]


def test_a_sound_is_scored_as_long_as_it_is_learned() -> None:
    torch.manual_seed(0)
    sizes = EncoderConfig(frames=64, width=16, depth=1, heads=2)
    config = ClapConfig(encoder=sizes, labels=("a", "b"), head_input=16)
    clap = Clap(dataclasses.replace(config, head_frames=64)).eval()
    short, long = torch.randn(80, 30), torch.randn(80, 100)
    behind = torch.cat([short, torch.full((80, 34), SILENCE)], dim=1)
    assert torch.equal(filled(short, 64), behind) and filled(long, 64) is long
    found = head_features(clap, [short, long])
    assert torch.equal(found, head_features(clap, [behind, long]))
    images = [normalise(sound, config.front_end).unsqueeze(0) for sound in (short, long)]
    assert torch.allclose(clap.logits(images), head_logits(clap, found), atol=1e-6)
    clap.config = config
    assert not torch.allclose(found[0], head_features(clap, [short])[0])


def test_a_head_is_served_and_scored_with_the_silence_it_learned_with(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = EncoderConfig(frames=64, width=16, depth=1, heads=2)
    config = ClapConfig(encoder=sizes, labels=("a", "b"), head_input=16, head_frames=64)
    Checkpoint.of(Clap(config)).save(tmp_path / "model")
    clap = Checkpoint.load(tmp_path / "model").clap()
    assert clap.config == config
    noise = np.random.default_rng(0).normal(0, 3000, 4000).astype(np.int16)  # 26 frames
    wavfile.write(tmp_path / "short.wav", 16000, noise)
    sound = read_audio(tmp_path / "short.wav", 16000)
    log_mel = clap.log_mel(sound)
    silence = (SILENCE - config.front_end.mean) / config.front_end.std
    behind = torch.full((1, 80, 64 - log_mel.shape[-1]), silence)
    grid = clap.grids([torch.cat([log_mel, behind], dim=-1)])[0]
    with torch.inference_mode():
        wanted = clap.audio.logits(grid.clip(stacked=False)[None])
    said = Listener(clap).logits([Stretch(tmp_path / "short.wav", None)])
    assert torch.allclose(said, wanted, atol=1e-5)
    (served,) = encode_classes(clap, [sound])
    assert np.allclose(served[0], wanted.sigmoid().numpy(), atol=1e-6)
    other = dataclasses.replace(config, head_frames=0)
    assert "head_frames" not in config_to_dict(other)
    assert config_from_dict(config_to_dict(other)) == other


def test_a_run_says_how_long_its_sounds_are_and_which_valid_rows_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["file,label,split"]
    for number in range(10):
        noise = np.random.default_rng(number).normal(0, 3000, 9000)  # 57 frames
        wavfile.write(tmp_path / f"{number}.wav", 16000, noise.astype(np.int16))
        label = "odd" if number == 9 else ("low", "high")[number % 2]
        lines.append(f"{number}.wav,{label},{'train' if number < 6 else 'valid'}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    stage = longer("1.1", 160, parent=None, epochs=2, batch=4)
    monkeypatch.setitem(STAGES, "labels", dataclasses.replace(stage, name="labels"))
    words = ["train", tmp_path / "m.csv", "--stage", "labels", "--out", tmp_path / "run"]
    words += ["--cache", tmp_path / "cache", "--json"]
    result = CliRunner().invoke(build(), [str(word) for word in words], catch_exceptions=False)
    assert "log-mels: 1 of 1 shards were made anew" in result.stderr
    assert "1 of 4 valid rows are not scored: no training row has their odd" in result.stderr
    assert json.loads(result.stdout)["report"]
    folder = RunFolder.read(tmp_path / "run")
    assert folder.stage["frames"] == 64
    saved = Checkpoint.load(tmp_path / "run" / "last").config
    assert saved.head_frames == 64 and not folder.stage["model"]["head_frames"]
    assert "valid_label_mean_ap" in folder.curves
