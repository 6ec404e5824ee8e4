"""A run learns, can be stopped anywhere, and ends with a checkpoint that scores."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint
from m2d_clap.model.config import ClapConfig, EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.service.cli import build
from m2d_clap.training import captions
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.data import Plan, crop
from m2d_clap.training.evaluate import evaluate, right_answers
from m2d_clap.training.execution import within_memory
from m2d_clap.training.loop import Trainer, TrainingDivergedError
from m2d_clap.training.losses import caption_loss, contrastive_loss
from m2d_clap.training.m2d import PredictorConfig
from m2d_clap.training.manifest import ManifestError, Row, identity, read_manifest
from m2d_clap.training.masking import random_mask
from m2d_clap.training.metrics import retrieval
from m2d_clap.training.optim import average
from m2d_clap.training.run import RunError, Status, run
from m2d_clap.training.settings import differences
from m2d_clap.training.stages import STAGE_1_MINI, STAGES, Stage
from m2d_clap.training.validation import by_retrieval

TINY = dataclasses.replace(
    STAGE_1_MINI,
    model=ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 8, 16),
        text=TextConfig("minilm", max_tokens=64),
    ),
    predictor=PredictorConfig(16, 1, 2),
    frames=64,
    epochs=6,
    warm_up=1,
    batch=4,
)


def training_set() -> TrainingSet:
    """Twelve sounds of three kinds, each kind in its own band."""
    rng = np.random.default_rng(0)
    sounds = []
    for number in range(12):
        log_mel = rng.normal(-10, 1, (80, 20 + 4 * number))
        log_mel[25 * (number % 3) : 25 * (number % 3) + 20] += 8
        sounds.append(torch.from_numpy(log_mel).half())
    generator = torch.Generator().manual_seed(0)
    wordings = tuple(torch.randn(3, 8, generator=generator) for _ in range(2))
    groups = (torch.arange(3), torch.tensor([0, 1, 1]))
    texts = (("low", "middle", "high"), ("low", "up", "up"))
    return TrainingSet(
        sounds, CaptionBank(texts, wordings, groups, tuple((n % 3,) for n in range(12)))
    )


def finished(folder: Path, stage: Stage = TINY, **more: Any) -> Trainer:
    trainer = Trainer(stage, training_set(), seed=0)
    run(folder, trainer, {"a": 1}, None, every_epochs=2, log_steps=1, **more)
    return trainer


def losses(folder: Path) -> list[str]:
    with (folder / "curves.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def test_a_run_learns_and_leaves_its_curves_pictures_and_checkpoint(tmp_path: Path) -> None:
    stage = dataclasses.replace(TINY, epochs=60, base_rate=0.3, polyak=0.0)
    finished(tmp_path, stage)
    found = [float(loss) for loss in losses(tmp_path)]
    assert np.mean(found[-10:]) < 0.8 * np.mean(found[:10])
    assert list((tmp_path / "samples").glob("*.png"))
    assert list((tmp_path / "tensorboard").iterdir())
    assert Checkpoint.load(tmp_path / "last").config == stage.model


@pytest.mark.parametrize("stop_at", [1, 6, 7, 17])
def test_a_run_killed_at_any_step_goes_on_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    whole = finished(tmp_path / "whole")

    def stop(status: Status) -> None:
        if status.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finished(tmp_path / "stopped", show=stop)
    again = finished(tmp_path / "stopped")
    assert losses(tmp_path / "whole") == losses(tmp_path / "stopped")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_papers_batches_hold_any_sounds_at_one_length_filled_up_with_zeros() -> None:
    plan = Plan(tuple(range(1, 13)), batch=4, most_columns=6, seed=0, by_length=False)
    batches = list(plan.epoch(0))
    assert sorted(m for batch in batches for m in batch.members) == list(range(12))
    assert {batch.columns for batch in batches} == {6}
    sound = torch.full((80, 5), -9.0).half()
    filled = crop(sound, 8, np.random.default_rng(0), fill=0.0)
    assert torch.equal(filled[:, :5], sound.float()) and not filled[:, 5:].any()
    stage = dataclasses.replace(TINY, cut="fixed")
    images = Trainer(stage, training_set(), 0).take().images
    assert images is not None and images.shape == (4, 1, 80, 64)


def test_a_run_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    finished(tmp_path)
    with pytest.raises(RunError, match="other settings") as refused:
        run(tmp_path, Trainer(TINY, training_set(), 0), {"a": 2}, None)
    assert str(refused.value).endswith("there → now:\n  a: 1 → 2")


def test_what_differs_between_two_runs_is_listed() -> None:
    old = {"stage": {"rate": 0.1, "learns": ["a"]}, "seed": 0, "more": [1]}
    new = {"stage": {"rate": 0.2, "learns": ["a"]}, "seed": 0, "parent": None}
    found = differences(json.dumps(old), json.dumps(new))
    assert found == [
        "  more: [1] → not there",
        "  parent: not there → null",
        "  stage.rate: 0.1 → 0.2",
    ]
    many = differences("{}", json.dumps({f"s{n}": n for n in range(20)}))
    assert len(many) == 13 and many[-1] == "  and 8 more"
    assert differences("no JSON", "{}") == ["  all of it: what is there is no JSON object"]


def test_a_device_that_is_too_small_is_told_what_needs_less() -> None:
    told = r"Tried to.*--checkpoint-activations.*--accumulate 2"
    with pytest.raises(ClapError, match=told), within_memory():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to\nmore")
    with pytest.raises(RuntimeError, match="something else"), within_memory():
        raise RuntimeError("something else")


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint_intact(tmp_path: Path) -> None:
    trainer = Trainer(TINY, training_set(), 0)

    def poison(status: Status) -> None:
        if status.step == 8:
            trainer.clap.audio.backbone.cls_token.data.fill_(torch.nan)

    with pytest.raises(TrainingDivergedError, match="intact"):
        run(tmp_path, trainer, {}, None, poison, every_epochs=2)
    weights = Checkpoint.load(tmp_path / "last").weights
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_the_papers_pairs_and_the_bank_of_captions_both_train() -> None:
    losses = [
        Trainer(dataclasses.replace(TINY, contrast=contrast), training_set(), 0).advance()["loss"]
        for contrast in ("pairs", "bank")
    ]
    assert losses[0] != losses[1]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(0, 1000))
def test_the_bank_loss_is_infonce_when_every_sound_has_its_own_caption(n: int, seed: int) -> None:
    audio, text = torch.randn(2, n, 8, generator=torch.Generator().manual_seed(seed))
    ours = caption_loss(audio, text, torch.eye(n), 5.0)
    assert float(ours) == pytest.approx(float(contrastive_loss(audio, text, 5.0)), abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=5, max_size=50), st.integers(0, 99))
def test_an_epoch_visits_every_sound_once(lengths: list[int], seed: int) -> None:
    plan = Plan(tuple(lengths), batch=4, most_columns=20, seed=seed)
    batches = plan.epoch(3)
    assert sorted(m for b in batches for m in b.members) == list(range(len(lengths)))
    assert list(batches) == list(plan.epoch(3))
    assert all(1 <= b.columns <= 20 for b in batches)


def test_a_batch_of_clicks_has_a_patch_to_see_and_one_to_hide() -> None:
    plan = Plan((1,) * 8, batch=4, most_columns=80, seed=0)
    assert {batch.columns for batch in plan.epoch(0)} == {2}
    mask = random_mask(3, 2, 0.7, torch.Generator().manual_seed(0))
    assert mask.visible.shape == mask.masked.shape == (3, 1)


def test_averaged_weights_come_with_the_statistics_that_were_counted() -> None:
    slow, fast = torch.nn.BatchNorm1d(2, affine=False), torch.nn.BatchNorm1d(2, affine=False)
    fast(torch.randn(8, 2) + 3)
    average(slow, fast, 0.9, 100)
    for name, buffer in fast.named_buffers():
        assert torch.equal(buffer, dict(slow.named_buffers())[name])


def test_captions_are_embedded_once_and_a_stopped_run_goes_on_at_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoder(torch.nn.Module):
        texts: ClassVar[list[str]] = []

        def embed(self, texts: list[str]) -> torch.Tensor:
            if "x" * 7 in texts and "x" * 7 not in self.texts:
                self.texts.append("x" * 7)
                raise KeyboardInterrupt
            self.texts.extend(texts)
            return torch.tensor([[float(len(text))] * 384 for text in texts])

    monkeypatch.setattr(captions, "load_text_encoder", lambda *_: Encoder())
    monkeypatch.setattr(captions, "_PART", 4)
    monkeypatch.setattr(captions, "_TOGETHER", 2)
    texts = ["x" * length for length in (3, 1, 7, 5, 2, 9, 4)]
    given = texts, TextConfig("minilm"), tmp_path
    with pytest.raises(KeyboardInterrupt):
        captions.sentence_embeddings(*given)
    told: list[int] = []
    found = captions.sentence_embeddings(*given, progress=told.append)
    assert found[:, 0].tolist() == [3, 1, 7, 5, 2, 9, 4]
    assert Encoder.texts.count("x") == 1, "its part was kept"
    assert told == sorted(told) and told[-1] == len(texts)
    seen = len(Encoder.texts)
    assert torch.equal(captions.sentence_embeddings(*given), found)
    assert len(Encoder.texts) == seen
    assert len([*tmp_path.glob("*.safetensors")]) == 1
    encoder = tmp_path / "encoder"
    for weights in (b"one", b"another"):  # an encoder from a folder has its own, the next one too
        encoder.mkdir(exist_ok=True)
        (encoder / "model.safetensors").write_bytes(weights)
        captions.sentence_embeddings(*given, path=encoder)
    assert len([*tmp_path.glob("*.safetensors")]) == 3


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abc"), min_size=1), st.sampled_from("xy ")), min_size=1
    )
)
def test_a_clip_answers_its_captions_and_those_of_its_label(
    told: list[tuple[list[str], str]],
) -> None:
    rows = [Row(Path("f"), tuple(texts), label.strip(), "test", {}) for texts, label in told]
    texts = sorted({text for row in rows for text in row.captions})
    wanted = [
        [
            any(
                text in other.captions
                and (other is row or (row.label and other.label == row.label))
                for other in rows
            )
            for text in texts
        ]
        for row in rows
    ]
    assert right_answers(rows, texts).tolist() == wanted


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_retrieval_scores_equal_a_brute_force_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(7, 15)).astype(np.float32)
    truth = rng.uniform(size=(7, 15)) < 0.3
    truth[:, 0] = True
    found = retrieval(scores, truth)
    ranks = []
    for row, right in zip(scores, truth, strict=True):
        ranked = sorted(range(15), key=lambda i: -row[i])
        ranks.append(1 + next(place for place, i in enumerate(ranked) if right[i]))
    assert found.recall_1 == pytest.approx(np.mean([r <= 1 for r in ranks]))
    assert found.recall_10 == pytest.approx(np.mean([r <= 10 for r in ranks]))
    assert found.median_rank == np.median(ranks)
    expected = [average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)]
    assert found.mean_ap == pytest.approx(np.mean(expected), abs=1e-6)


def write_manifest(folder: Path) -> Path:
    lines = ["file,caption,label,split,licence"]
    for number in range(12):
        name, hz = f"{number}.wav", (200, 1000, 4000)[number % 3]
        tone = 8000 * np.sin(2 * np.pi * hz * np.arange(8000 + 500 * number) / 16000)
        wavfile.write(folder / name, 16000, tone.astype(np.int16))
        label = ("low_tone", "middle_tone", "high_tone")[number % 3]
        split, licence = ("train", "valid")[number > 8], ("CC0", "CC BY-NC")[number == 0]
        lines.append(f"{name},a {label.replace('_', ' ')},{label},{split},{licence}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def test_the_train_and_evaluate_commands_go_from_a_manifest_to_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_manifest(tmp_path)
    small = dataclasses.replace(
        TINY, model=dataclasses.replace(TINY.model, projector=ProjectorConfig("mlp", 384, 16))
    )
    monkeypatch.setitem(STAGES, "tiny", small)
    words = ["train", str(manifest), "--out", str(tmp_path / "run"), "--stage", "tiny"]
    words += ["--without-licence", "NC", "--cache", str(tmp_path / "cache"), "--json"]
    result = CliRunner().invoke(build(), words)
    assert result.exit_code == 0, result.exception
    best = json.loads(result.stdout)["checkpoint"]
    settings_ = json.loads((tmp_path / "run" / "settings.json").read_text())
    rows = read_manifest(manifest)
    assert settings_["data"] == identity(rows[1:])  # the NC row is left out
    manifest.write_text(manifest.read_text().replace("a low tone", "a deep tone"))
    with pytest.raises(RunError, match="other settings"):
        CliRunner().invoke(build(), words, catch_exceptions=False)
    manifest.write_text(manifest.read_text().replace("a deep tone", "a low tone"))
    for wrong in (["--parent", best], ["--texts", str(manifest)], ["--base-rate", "0"]):
        assert CliRunner().invoke(build(), [*words, *wrong]).exit_code == 2
    words = ["evaluate", str(manifest), "--checkpoint", best, "--split", "valid", "--json"]
    result = CliRunner().invoke(build(), [*words, "--cache", str(tmp_path / "cache")])
    scores = json.loads(result.stdout)
    assert scores["clips"] == 3
    assert scores["text_to_audio"]["n"] == 3
    assert 0 <= scores["zero_shot"]["accuracy"] <= 1


def test_stages_are_listed_for_machines() -> None:
    result = CliRunner().invoke(build(), ["train", "--list", "--json"])
    assert {"1", "1-mini"} <= {stage["name"] for stage in json.loads(result.stdout)["stages"]}


def test_a_clip_is_right_when_it_has_the_querys_caption_or_label() -> None:
    rows = [
        Row(Path("a"), ("a dog barking",), "dog", "test", {}),
        Row(Path("b"), ("a puppy yapping",), "dog", "test", {}),
        Row(Path("c"), ("rain",), "rain", "test", {}),
    ]

    class Oracle:
        config, device = TINY.model, torch.device("cpu")

        def grids(self, images: list[torch.Tensor]) -> list[torch.Tensor]:
            return images

        def project(self, images: list[torch.Tensor]) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])

        def embed_text(self, texts: list[str]) -> torch.Tensor:
            return torch.tensor([[0.0, 1.0] if "rain" in t else [1.0, 0.0] for t in texts])

    result = evaluate(Oracle(), rows, [torch.zeros(80, 20)] * 3)  # type: ignore[arg-type]
    assert result.text_to_audio.mean_ap == 1
    assert result.audio_to_text.recall_1 == 1
    assert result.zero_shot is not None
    assert result.zero_shot.accuracy == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("caption\nrain\n", "file"),
        ("file,caption\n,rain\n", "line 2"),
        ("file\nx.wav\n", "neither"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_several_captions_stand_in_one_cell(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file,captions,split\nx.wav,a dog|a bark,test\n")
    assert read_manifest(tmp_path / "m.csv")[0].captions == ("a dog", "a bark")


def test_validation_scores_choose_the_best_checkpoint(tmp_path: Path) -> None:
    rows = [
        Row(Path("x"), ("rain",), "rain", "valid", {}),
        Row(Path("y"), ("dog",), "dog", "valid", {}),
    ]
    model = dataclasses.replace(TINY.model, projector=ProjectorConfig("mlp", 384, 16))
    data = training_set()
    bank = dataclasses.replace(data.bank, wordings=tuple(torch.randn(3, 384) for _ in range(2)))
    trainer = Trainer(dataclasses.replace(TINY, model=model), TrainingSet(data.sounds, bank), 0)
    validation = by_retrieval(rows, data.sounds[:2], lambda row: True)
    best = run(tmp_path, trainer, {}, validation, every_epochs=3)
    assert best == tmp_path / "best"
    assert Checkpoint.load(best).config.projector.dim == 384
