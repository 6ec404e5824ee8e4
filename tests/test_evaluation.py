"""Every published data set is scored by its own protocols, on made-up sounds and a tiny model."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig, read_audio
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import AudioError, ClapError
from m2d_clap.training.evaluation.clips import Listener, Stretch, at_random, read_stretch
from m2d_clap.training.evaluation.command import evaluate, random_clap
from m2d_clap.training.evaluation.datasets import (
    DATASETS,
    Dataset,
    Protocol,
    find_dataset,
    own_dataset,
)
from m2d_clap.training.evaluation.head import HeadRecipe
from m2d_clap.training.evaluation.protocols import Question, ask
from m2d_clap.training.evaluation.report import lines, published, table, values
from m2d_clap.training.evaluation.tagging import tagging
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.manifest import Row, write_manifest

RATE = 16000
QUICK = HeadRecipe(epochs=2)
LABELS = {"crema-d": ("ANG", "SAD"), "audioset": ("/m/05tny_", "/m/06mb1")}
CONFIG = ClapConfig(
    encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
    projector=ProjectorConfig("mlp", 384, 16),
    text=TextConfig("minilm", max_tokens=64),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small steps only wait for one another's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def clap() -> Clap:
    return random_clap(CONFIG, 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty short sounds, even ones low and odd ones high, each of its own length."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for number in range(40):
        seconds = np.arange(3000 + 10 * number) / RATE
        tone = np.sin(2 * np.pi * (300, 3000)[number % 2] * seconds) + rng.normal(0, 0.1)
        wavfile.write(folder / f"{number:02d}.wav", RATE, (9000 * tone).astype(np.int16))
    return sorted(folder.iterdir())


def rows_for(dataset: Dataset, files: list[Path]) -> list[Row]:
    """A manifest as the data set's would be: folds or splits, one label or several, captions."""
    low, high = LABELS.get(dataset.name, ("dog_bark", "rain"))
    rows = []
    for number, file in enumerate(files):
        label = (low, high)[number % 2]
        split = ("train", "valid", "test")[min(2, number // 16)]
        if dataset.folds:
            split = f"fold{number // 2 % dataset.folds + 1}"
        captions: tuple[str, ...] = (label,)
        labels: tuple[str, ...] = ()
        if dataset.task == "retrieval":
            label, captions = "", tuple(f"sound {number} heard {i} times" for i in range(5))
        elif dataset.task == "multi-label" and number % 4 == 0:
            label, labels = "", (low, high)
        rows.append(Row(file, captions, label, split, {}, labels))
    return rows


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_scored_by_its_protocols(
    name: str, clap: Clap, files: list[Path]
) -> None:
    dataset = dataclasses.replace(DATASETS[name], seconds=min(0.4, DATASETS[name].seconds or 0))
    rows = rows_for(dataset, files)
    scores = ask(clap, Question(rows, dataset), dataset.protocols, QUICK)
    tested = 40 if dataset.folds else 8
    asked = {
        Protocol.RETRIEVAL: scores.retrieval,
        Protocol.ZERO_SHOT: scores.zero_shot,
        Protocol.LINEAR: scores.linear,
        Protocol.TAGGING: scores.tagging,
    }
    assert {protocol for protocol, score in asked.items() if score} == set(dataset.protocols)
    if scores.linear:
        assert (scores.linear.n, scores.linear.classes) == (tested, 2)
        assert scores.linear.folds == dataset.folds
        assert scores.linear.metric == dataset.metric
    if scores.zero_shot:
        assert (scores.zero_shot.n, scores.zero_shot.metric) == (tested, dataset.metric)
    if scores.tagging:
        assert scores.tagging.source == "zero-shot"
        assert len(scores.tagging.per_class) == 2
    if scores.retrieval:
        assert (scores.retrieval.text_to_audio.n, scores.retrieval.audio_to_text.n) == (40, 8)
    measured = lines(scores)
    assert all(0 <= line.value <= 1 and line.n for line in measured)
    assert table(scores, dataset, "test split").row_count == len(measured)
    json.dumps(values(scores, dataset))


def test_published_figures_stand_beside_what_they_are_figures_of(
    clap: Clap, files: list[Path]
) -> None:
    dataset = dataclasses.replace(DATASETS["clotho"], seconds=0.2)
    scores = ask(clap, Question(rows_for(dataset, files), dataset), [Protocol.RETRIEVAL])
    beside = [(line.metric, line.direction, published(line, dataset)) for line in lines(scores)]
    assert [found for found in beside if found[2]] == [
        ("R@1", "text_to_audio", {"M2D-CLAP 2025": 0.200}),
        ("R@1", "audio_to_text", {"M2D-CLAP 2025": 0.249}),
    ]


def test_the_linear_figures_average_to_the_papers_means() -> None:
    for model, mean in (("M2D-CLAP 2025", 78.8), ("M2D-CLAP 2024", 80.8), ("LAION-CLAP", 64.4)):
        found = [
            figure.value
            for dataset in DATASETS.values()
            for figure in dataset.published
            if (figure.protocol, figure.model) == (Protocol.LINEAR, model)
        ]
        assert len(found) == 9
        assert 100 * np.mean(found) == pytest.approx(mean, abs=0.06)


@pytest.mark.parametrize(
    ("name", "label", "prompt"),
    [
        ("esc-50", "door_wood_knock", "door wood knock can be heard"),
        ("us8k", "air_conditioner", "air conditioner can be heard"),
        ("fsd50k", "Acoustic_guitar", "Acoustic guitar can be heard"),
        ("gtzan", "blues", "blues music can be heard"),
        ("nsynth", "bass", "the musical instrument sound of bass can be heard"),
        ("audioset", "/m/05tny_", "Bark can be heard"),
        ("audioset", "Bark", "Bark can be heard"),
        ("crema-d", "ANG", "angry person talking can be heard"),
        ("crema-d", "disgust", "someone talking in disgust can be heard"),
        ("crema-d", "FEA", "someone talking with a sense of fear can be heard"),
        ("crema-d", "HAP", "someone talking happily and joyfully can be heard"),
        ("crema-d", "NEU", "someone talking calmly can be heard"),
        ("crema-d", "sad", "someone talking sadly can be heard"),
    ],
)
def test_every_class_has_the_prompt_of_its_data_set(name: str, label: str, prompt: str) -> None:
    dataset = DATASETS[name]
    assert dataset.prompt(dataset.class_name(label)) == prompt


def test_data_sets_are_found_however_they_are_written() -> None:
    assert find_dataset("ESC50") is DATASETS["esc-50"]
    assert find_dataset("UrbanSound8K") is DATASETS["us8k"]
    with pytest.raises(ClapError, match=r"no data set 'esc'.*esc-50"):
        find_dataset("esc")


def test_a_manifest_of_ones_own_says_what_it_can_be_scored_by(files: list[Path]) -> None:
    captioned = own_dataset("mine", rows_for(DATASETS["clotho"], files), "test")
    assert (captioned.task, captioned.protocols) == ("retrieval", (Protocol.RETRIEVAL,))
    labelled = own_dataset("mine", rows_for(DATASETS["gtzan"], files), "test")
    assert set(labelled.protocols) == {Protocol.LINEAR, Protocol.ZERO_SHOT}
    several = own_dataset("mine", rows_for(DATASETS["fsd50k"], files), "test")
    assert (several.task, several.seconds) == ("multi-label", None)
    assert Protocol.TAGGING in several.protocols
    assert own_dataset("mine", rows_for(DATASETS["esc-50"], files), "test").folds == 5


def test_a_stretch_is_cut_from_its_place_and_padded_behind(files: list[Path]) -> None:
    whole = read_audio(files[0], RATE).samples
    assert len(whole) == 3000
    padded = read_stretch(Stretch(files[0], 0.25), RATE)
    assert np.array_equal(padded[:3000], whole) and not padded[3000:].any()
    assert np.array_equal(read_stretch(Stretch(files[0], 0.1), RATE), whole[:1600])
    assert np.array_equal(read_stretch(Stretch(files[0], 0.1, 1.0), RATE), whole[1400:])
    assert np.array_equal(read_stretch(Stretch(files[0], 0.1, 0.5), RATE), whole[700:2300])


def test_random_crops_differ_and_repeat_with_their_seed(files: list[Path]) -> None:
    rows = rows_for(DATASETS["gtzan"], files)
    assert at_random(rows, 0.1, 42) == at_random(rows, 0.1, 42) != at_random(rows, 0.1, 43)
    assert len({stretch.place for stretch in at_random(rows, 0.1, 42)}) == len(rows)


def test_sounds_are_embedded_in_their_order_and_once_each(
    clap: Clap, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m2d_clap.training.evaluation.clips.CLIPS_AT_ONCE", 7)
    steps: list[int] = []
    listener = Listener(clap, lambda done, of: steps.append(done))
    stretches = [Stretch(file, None) for file in files]
    found = listener.embed(stretches)
    assert steps == [7, 14, 21, 28, 35, 40]
    alone = read_audio(files[29], RATE)
    (grid,) = clap.grids([clap.log_mel(alone)])
    assert torch.allclose(found.features[29], grid.clip(), atol=1e-5)
    assert torch.allclose(found.clap[29], clap.embed_audio([alone])[0], atol=1e-5)
    assert torch.equal(listener.embed(stretches[::-1]).features, found.features.flip(0))
    assert len(steps) == 6


def test_an_unreadable_sound_is_named(clap: Clap, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    with pytest.raises(AudioError, match=r"broken\.wav"):
        Listener(clap).embed([Stretch(tmp_path / "broken.wav", 1.0)])


@pytest.mark.parametrize("stacked", [False, True])
def test_a_head_that_knows_the_classes_tags_by_itself(stacked: bool, files: list[Path]) -> None:
    labels = ("Timpani", "Rain", "Bark")
    config = dataclasses.replace(CONFIG, labels=labels, head_input=80 if stacked else 16)
    clap = random_clap(config, 0)
    rows = rows_for(DATASETS["audioset"], files[32:])
    labelled = Labelled.of(rows, DATASETS["audioset"])
    whole = dataclasses.replace(DATASETS["audioset"], seconds=None)
    found = tagging(Listener(clap), labelled, whole)
    assert (found.source, found.n, set(found.per_class)) == ("head", 8, {"Bark", "Rain"})
    grids = clap.grids([clap.log_mel(read_audio(row.file, RATE)) for row in rows])
    with torch.inference_mode():
        logits = clap.audio.logits(torch.stack([grid.clip(stacked) for grid in grids]))[:, 2]
    ranked = labelled.targets[:, 0][np.argsort(-logits.numpy())]
    precision = (ranked.cumsum() / np.arange(1, 9))[ranked].mean()
    assert found.per_class["Bark"] == pytest.approx(precision)
    assert found.mean_ap == pytest.approx(np.mean(list(found.per_class.values())))


def test_classes_that_a_head_does_not_know_are_left_out_with_a_remark(files: list[Path]) -> None:
    clap = random_clap(dataclasses.replace(CONFIG, labels=("Timpani", "Rain"), head_input=16), 0)
    dataset = dataclasses.replace(DATASETS["audioset"], seconds=0.4)
    scores = ask(clap, Question(rows_for(dataset, files), dataset), [Protocol.TAGGING])
    assert scores.tagging is not None
    assert (scores.tagging.source, scores.tagging.n) == ("head", 8)
    assert (set(scores.tagging.per_class), scores.tagging.left_out) == ({"Rain"}, ("Bark",))
    (line,) = lines(scores)
    assert "1 classes, by the head; left out, unknown to it: Bark" in line.note
    assert not published(line, dataset)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["gtzan", "fsd50k", "audiocaps"])
def test_a_gpu_gives_the_same_scores(name: str, files: list[Path]) -> None:
    dataset = dataclasses.replace(DATASETS[name], seconds=0.2)
    question = Question(rows_for(dataset, files), dataset)
    slow, fast = (
        lines(ask(random_clap(CONFIG, 0).to(device), question, dataset.protocols, QUICK))
        for device in ("cpu", "cuda")
    )
    for there, here in zip(slow, fast, strict=True):
        assert here.value == pytest.approx(there.value, abs=0.13)  # one clip of eight


def test_no_row_in_the_split_is_an_error_that_names_the_splits(
    clap: Clap, files: list[Path]
) -> None:
    rows = rows_for(DATASETS["gtzan"], files[:20])
    with pytest.raises(ClapError, match=r"no row is in the split 'test'.*train, valid"):
        ask(clap, Question(rows, DATASETS["gtzan"]), [Protocol.ZERO_SHOT])


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(evaluate)
    return app


def asked(clap: Clap, files: list[Path], folder: Path) -> list[str]:
    """The command's words for a model, and a manifest in train, valid and test."""
    write_manifest(rows_for(DATASETS["gtzan"], files), folder / "mine.csv")
    Checkpoint.of(clap).save(folder / "tiny")
    words = (folder / "mine.csv", "--checkpoint", folder / "tiny", "--cache", folder / "cache")
    return [str(word) for word in words]


def test_the_command_keeps_its_keys_and_adds_the_protocols(
    app: typer.Typer, clap: Clap, files: list[Path], tmp_path: Path
) -> None:
    words = asked(clap, files, tmp_path)

    def run(*more: str) -> str:
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == 0, result.exception
        return result.stdout

    plain = json.loads(run("--json"))
    assert set(plain) == {"split", "clips", "text_to_audio", "audio_to_text", "zero_shot"}
    everything = json.loads(run("--json", "--protocol", "all", "--min-train", "8"))
    assert set(plain) < set(everything)
    assert set(everything["protocols"]) == {"zero_shot", "linear"}
    drawn = run("--protocol", "linear", "--random-encoder", "1", "--dataset", "gtzan")
    assert "GTZAN" in drawn and "±" in drawn and "86.3" in drawn
    fewer = run("--protocol", "linear", "--min-train", "8", "--dataset", "gtzan")
    assert "GTZAN, test" in fewer and "86.3" not in fewer  # the papers leave no class out
    for wrong in (
        ("--random-encoder", "1"),
        ("--protocol", "linear", "--zero-shot-where", "source=ESC"),
        ("--protocol", "retrieval", "--min-train", "8"),
        ("--protocol", "fine-tune", "--base-rate", "0"),
        ("--device", "tpu"),
    ):
        assert CliRunner().invoke(app, [*words, *wrong]).exit_code == 2


def test_a_data_set_with_folds_may_come_cut_in_splits(
    app: typer.Typer, clap: Clap, files: list[Path], tmp_path: Path
) -> None:
    words = asked(clap, files, tmp_path)
    words += ["--dataset", "esc-50", "--protocol", "linear", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    told = json.loads(result.stdout)
    assert told["protocols"]["linear"]["folds"] == 0 and told["published"] == []


def test_a_random_encoder_is_the_same_for_the_same_seed_and_disturbs_no_other_draw() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (random_clap(CONFIG, seed).audio.backbone for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    weight = first.patch_embed.proj.weight
    assert torch.equal(weight, again.patch_embed.proj.weight)
    assert not torch.equal(weight, other.patch_embed.proj.weight)
