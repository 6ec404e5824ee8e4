"""Every stage starts from its parent, moves what it should and nothing else, and can be stopped."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap
from m2d_clap.model.config import (
    ClapConfig,
    EncoderConfig,
    FrontEndConfig,
    ProjectorConfig,
    TextConfig,
)
from m2d_clap.model.errors import CheckpointError
from m2d_clap.model.labels import audioset
from m2d_clap.model.text_encoder import Tokens
from m2d_clap.service.cli import build
from m2d_clap.training.augment import NO_AUGMENTATION
from m2d_clap.training.batches import Batches, TrainingSet
from m2d_clap.training.captions import CaptionBank, caption_bank
from m2d_clap.training.classes import LabelError, class_names, class_table
from m2d_clap.training.inherit import following
from m2d_clap.training.lars import Lars
from m2d_clap.training.loop import Trainer
from m2d_clap.training.m2d import PredictorConfig
from m2d_clap.training.manifest import Row
from m2d_clap.training.masking import structured_mask
from m2d_clap.training.run import RunError, run
from m2d_clap.training.stages import STAGES, Stage

CHAIN = ("1", "1.1", "2", "2.1")
BERT = {
    "vocab_size": 30522,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


def sounds(frames: int = 40) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(-8, 3, (80, frames))).half() for _ in range(4)]


def data(width: int, classes: tuple[str, ...] = ("rain", "dog"), frames: int = 40) -> TrainingSet:
    texts = ("rain falls", "a dog barks")
    wordings = (torch.randn(2, width, generator=torch.Generator().manual_seed(0)),)
    bank = CaptionBank((texts,), wordings, (torch.arange(2),), tuple((n % 2,) for n in range(4)))
    labels = torch.zeros(4, len(classes))
    labels[range(4), [0, 1, 0, 1]] = 1
    return TrainingSet(sounds(frames), bank, (), labels, classes)


def small(name: str) -> Stage:
    """The stage with a model of a few thousand weights and two steps an epoch."""
    stage = STAGES[name]
    text = stage.model.text
    if text.included:
        text = TextConfig("minilm", included=True, max_tokens=64, architecture=BERT)
    else:
        text = TextConfig("minilm", projection="linear", projection_in=8)
    projector = ProjectorConfig("semantic", dim=16)
    head = 16 if stage.losses.labels else 0
    frames = 48 if name == "1" else 64  # the window grows between stages, as in the paper
    encoder = EncoderConfig(frames=frames, width=16, depth=1, heads=2)
    model = ClapConfig(stage.name, "", stage.model.front_end, encoder, projector, text, (), head)
    return dataclasses.replace(
        stage,
        model=model,
        predictor=PredictorConfig(16, 1, 2),
        frames=frames,
        epochs=2,
        warm_up=1,
        batch=2,
        visits=0,
    )


def chain(folder: Path, stage_of: Callable[[str], Stage], **more: Any) -> dict[str, Checkpoint]:
    """Trains the four stages one after another, each from the one before."""
    made: dict[str, Checkpoint] = {}
    for name in CHAIN:
        stage = stage_of(name)
        parent = made.get(stage.parent or "")
        trainer = Trainer(
            stage, data(stage.model.text.projection_in or 8, **more), 0, "cpu", parent
        )
        made[name] = Checkpoint.load(run(folder / name, trainer, {}, None, every_epochs=1))
    return made


def moved(before: Checkpoint, after: Checkpoint, beginning: str) -> set[str]:
    shared = [n for n in after.weights if n.startswith(beginning) and n in before.weights]
    assert shared
    same = [
        n
        for n in shared
        if before.weights[n].shape == after.weights[n].shape
        and torch.equal(before.weights[n], after.weights[n])
    ]
    return {name for name in shared if name not in same and not name.endswith("pos_embed")}


def test_the_four_stages_follow_one_another_and_freeze_what_they_should(tmp_path: Path) -> None:
    made = chain(tmp_path, small)
    assert moved(made["1"], made["1.1"], "audio.backbone.")
    assert not moved(made["1"], made["1.1"], "audio.audio_proj.")
    assert made["1.1"].config.labels == ("rain", "dog")
    assert not moved(made["1.1"], made["2"], "audio.backbone.")
    assert moved(made["1.1"], made["2"], "audio.audio_proj.")  # a new one
    assert not made["2"].config.labels
    assert not moved(made["2"], made["2.1"], "audio.backbone.")
    assert moved(made["2"], made["2.1"], "text.")
    assert float(made["2.1"].weights["logit_scale"].float().exp()) <= 100.1
    clap = made["2.1"].clap()
    assert clap.embed_text(["rain"]).shape == (1, 16)


@pytest.mark.parametrize("name", CHAIN)
def test_every_stage_goes_on_bit_for_bit_after_a_kill(name: str, tmp_path: Path) -> None:
    stage = small(name)
    parent = None
    if stage.parent is not None:
        labelled = dataclasses.replace(stage.model, labels=())
        parent = Checkpoint.of(Clap(labelled))
    width = stage.model.text.projection_in or 8

    def trainer() -> Trainer:
        return Trainer(stage, data(width), 0, "cpu", parent)

    def stop(status: Any) -> None:
        if status.step == 3:
            raise KeyboardInterrupt

    whole, again = trainer(), trainer()
    run(tmp_path / "whole", whole, {}, None, every_epochs=1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", trainer(), {}, None, stop, every_epochs=1)
    run(tmp_path / "stopped", again, {}, None, every_epochs=1)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


def test_a_stage_without_its_parent_or_with_a_strange_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--parent"):
        Trainer(small("2"), data(8), 0)
    other = dataclasses.replace(small("1").model, encoder=EncoderConfig(64, 16, 16, 32, 1, 2))
    with pytest.raises(CheckpointError, match="no parent for stage"):
        Trainer(small("2"), data(8), 0, "cpu", Checkpoint.of(Clap(other)))


def test_a_stage_hears_as_its_parent_and_keeps_its_licence_and_what_it_does_not_train() -> None:
    heard = FrontEndConfig(mean=-7.26178, std=4.35115)
    published = dataclasses.replace(small("2.1").model, front_end=heard, licence="non-commercial")
    again = following(small("2.1"), published)
    assert (again.model.front_end, again.model.licence) == (heard, "non-commercial")
    with pytest.raises(CheckpointError, match=r"no parent for stage 2\.1: it lacks text\."):
        outside = dataclasses.replace(published, text=TextConfig("minilm"))
        Trainer(following(small("2.1"), outside), data(8), 0, "cpu", Checkpoint.of(Clap(outside)))
    tagger = following(small("1.1"), published)
    assert (tagger.model.text, tagger.model.projector) == (published.text, published.projector)
    assert following(small("1"), published) == small("1")
    parent = Checkpoint.of(Clap(published))
    trainer = Trainer(tagger, data(8), 0, "cpu", parent)
    for _ in range(2):  # the first step of a warm-up has rate 0
        trainer.advance()
    made = Checkpoint.of(trainer.polyak)
    assert torch.equal(made.weights["logit_scale"], parent.weights["logit_scale"])
    assert not moved(parent, made, "text.") and moved(parent, made, "audio.backbone.")
    assert made.config.front_end == heard


def test_captions_embedded_outside_are_refused_to_a_parent_with_a_text_encoder_inside() -> None:
    gentle = STAGES["1-gentle-mini"]
    with pytest.raises(CheckpointError, match=r"2\.1 has one of its own inside.*: 1\.1, 2, 2\.1"):
        following(gentle, small("2.1").model)
    outside = dataclasses.replace(small("2.1").model, text=TextConfig("minilm"))
    assert following(gentle, outside).model.text == outside.text
    assert following(STAGES["2.1-mini"], small("2.1").model).learns_text


@pytest.mark.parametrize("name", ["2.1", "1.1"])
def test_published_weights_go_on_in_the_papers_later_stages(
    name: str, golden_claps: dict[str, Clap], monkeypatch: pytest.MonkeyPatch
) -> None:
    def few_words(self: Batches, texts: list[str]) -> Tokens:  # the golden vocabulary is small
        ids = torch.arange(4 * len(texts)).view(len(texts), 4)
        return Tokens(ids, torch.ones_like(ids))

    monkeypatch.setattr(Batches, "_tokens", few_words)
    parent = Checkpoint.of(golden_claps["a"])
    stage = following(
        dataclasses.replace(STAGES[name], epochs=2, warm_up=1, batch=2), parent.config
    )
    stage = dataclasses.replace(stage, visits=4)
    trainer = Trainer(stage, data(8), 0, "cpu", parent)
    for _ in range(2):
        assert np.isfinite(trainer.advance()["loss"])
    made = Checkpoint.of(trainer.polyak)
    assert (made.config.encoder, made.config.text) == (parent.config.encoder, parent.config.text)
    assert made.config.front_end.mean == pytest.approx(-7.26178, abs=1e-5)
    learned, kept = ("text.", "audio.backbone.") if name == "2.1" else ("audio.backbone.", "text.")
    assert moved(parent, made, learned) and not moved(parent, made, kept)


def test_pairs_embed_the_captions_and_a_bank_all_its_wordings(tmp_path: Path) -> None:
    rows = [Row(Path("x.wav"), ("rain falls",), "rain", "train", {})]
    for name, count in (("1", 1), ("1-mini", 3)):
        stage = STAGES[name]
        bank = caption_bank(rows, TextConfig("minilm"), tmp_path, wordings_embedded=stage.wordings)
        assert len(bank.wordings) == count


def test_a_full_disk_stops_the_run_with_what_was_saved_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(status: Any) -> None:
        if status.step == 3:

            def full(*_: Any) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(torch, "save", full)

    with pytest.raises(RunError, match="No space left"):
        run(tmp_path, Trainer(small("1"), data(8), 0), {}, None, fill, every_epochs=1)
    monkeypatch.undo()
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2


@pytest.mark.parametrize(("kind", "name"), [("one", "1.1-mini"), ("many", "1.1")])
def test_fine_tuning_learns_one_or_many_labels(kind: str, name: str) -> None:
    stage = dataclasses.replace(small("1.1"), labels=kind, parent=None, optimiser="adamw")
    stage = dataclasses.replace(
        stage, epochs=60, batch=4, base_rate=1.0, augmentation=NO_AUGMENTATION
    )
    assert STAGES[name].labels == kind
    learning = data(8)
    for number in (0, 2):
        learning.sounds[number][:40] += 8
    trainer = Trainer(stage, learning, 0)
    losses = [trainer.advance()["loss_labels"] for _ in range(trainer.steps)]
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 62), st.floats(0, 0.9), st.integers(0, 99))
def test_a_structured_mask_hides_whole_rows_and_columns(
    rows: int, columns: int, ratio: float, seed: int
) -> None:
    mask = structured_mask(3, rows, columns, ratio, torch.Generator().manual_seed(seed))
    seen = torch.zeros(3, rows * columns).scatter_(1, mask.visible, 1.0).view(3, rows, columns)
    for grid in seen:
        row, column = grid.any(dim=1), grid.any(dim=0)
        assert torch.equal(grid.bool(), row[:, None] & column[None, :])
    assert mask.keep >= 1
    restored = mask.shuffle.gather(1, mask.restore)
    assert torch.equal(restored, torch.arange(rows * columns).expand(3, -1))
    if rows == 5 and columns > 20:
        assert abs(mask.keep / (rows * columns) - (1 - ratio)) < 0.15


def test_lars_moves_each_matrix_by_its_own_size_and_biases_plainly() -> None:
    big, little, bias = (
        torch.nn.Parameter(x) for x in (100 * torch.eye(3), torch.eye(3), torch.ones(3))
    )
    optimiser = Lars([big, little, bias], lr=1.0, momentum=0.0, trust=0.01)
    for parameter in (big, little, bias):
        parameter.grad = torch.ones_like(parameter)
    before = big.detach().clone(), little.detach().clone()
    optimiser.step()
    steps = [(a - b.detach()).norm() for a, b in zip(before, (big, little), strict=True)]
    assert float(steps[0]) == pytest.approx(0.01 * float(before[0].norm()), rel=1e-5)
    assert float(steps[1]) == pytest.approx(0.01 * float(before[1].norm()), rel=1e-5)
    assert torch.equal(bias.detach(), torch.zeros(3))


def row(*labels: str) -> Row:
    return Row(Path("x.wav"), ("x",), "", "train", {}, labels=labels, line=7)


def test_labels_become_classes_and_audiosets_keep_their_order() -> None:
    assert class_names([row("b"), row("a", "b")]) == ("a", "b")
    assert class_names([row("Speech"), row("Bark")]) == ("Bark", "Speech")
    names = tuple(name for _, name in audioset())
    assert class_names([row(*names[100:400])]) == names
    assert class_names([row(*names[100:400], "a")]) == tuple(sorted([*names[100:400], "a"]))
    assert class_table([row("a", "b"), row()], ("a", "b")).tolist() == [[1, 1], [0, 0]]
    with pytest.raises(LabelError, match="line 7"):
        class_table([row("c")], ("a", "b"))
    with pytest.raises(LabelError, match="exactly one"):
        class_table([row("a", "b")], ("a", "b"), one=True)
    with pytest.raises(LabelError, match="no row has a label"):
        class_names([row()])


def test_full_size_stages_train_save_resume_and_export_with_the_published_tensors(
    tmp_path: Path,
) -> None:
    def full(name: str) -> Stage:
        stage = dataclasses.replace(STAGES[name], epochs=1, warm_up=0, batch=2, visits=0)
        return dataclasses.replace(stage, frames=160)  # the sizes are the weights', not the sounds'

    made: dict[str, Checkpoint] = {}
    for name in CHAIN:
        stage = full(name)
        width = stage.model.text.projection_in or 8
        parent = made.get(stage.parent or "")
        trainer = Trainer(stage, data(width), 0, "cpu", parent)
        trainer.advance()
        torch.save(trainer.snapshot(), tmp_path / "state.pt")
        second = trainer.advance()
        assert np.isfinite(second["loss"])
        # From the disk, with the second step undone and none of its memory left.
        trainer.restore(torch.load(tmp_path / "state.pt", weights_only=True, mmap=True))
        assert trainer.step == 1 and trainer.advance() == second
        trainer.close()
        made = {name: Checkpoint.of(trainer.polyak, torch.float16)}
        del trainer
        if name in ("1", "2.1"):  # with an encoder of sound alone, and with both
            made[name].save(tmp_path / "export")
            made = {name: Checkpoint.load(tmp_path / "export")}
    weights = made["2.1"].weights
    audio = [n for n in weights if n.startswith("audio.")]
    text = [n for n in weights if n.startswith("text.")]
    assert len(audio) == 166 - 1  # the published norm_stats stand in our settings
    assert len(text) == 199 - 2  # the published pooler is not used, and not kept


def test_the_command_goes_through_the_stages_of_a_small_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["file,caption,label,split"]
    for number in range(6):
        tone = 8000 * np.sin(2 * np.pi * (300, 3000)[number % 2] * np.arange(9000) / 16000)
        noise = np.random.default_rng(number).normal(0, 50, 9000)
        wavfile.write(tmp_path / f"{number}.wav", 16000, (tone + noise).astype(np.int16))
        label, split = ("low", "high")[number % 2], ("train", "valid")[number > 3]
        lines.append(f"{number}.wav,a {label} tone,{label},{split}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    first = dataclasses.replace(small("1"), batch=4)
    first = dataclasses.replace(
        first,
        model=dataclasses.replace(
            first.model, text=TextConfig("minilm", projection="linear", projection_in=384)
        ),
    )
    second = dataclasses.replace(
        small("1.1"), model=dataclasses.replace(small("1.1").model, text=first.model.text)
    )
    monkeypatch.setitem(STAGES, "first", first)
    monkeypatch.setitem(STAGES, "second", second)

    def train(*words: str) -> Any:
        common = ["--cache", str(tmp_path / "cache"), "--json"]
        return CliRunner().invoke(build(), ["train", str(tmp_path / "m.csv"), *words, *common])

    result = train("--stage", "first", "--out", str(tmp_path / "one"))
    assert result.exit_code == 0, result.exception
    parent = json.loads(result.stdout)["checkpoint"]
    result = train("--stage", "second", "--parent", parent, "--out", str(tmp_path / "two"))
    assert result.exit_code == 0, result.exception
    assert Checkpoint.load(tmp_path / "two" / "best").config.labels == ("high", "low")
    assert "valid_label_mean_ap" in (tmp_path / "two" / "curves.csv").read_text()
