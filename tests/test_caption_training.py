"""The captioning stage: it learns, follows from seed and step, goes on where it stopped, and is
scored beside what costs nothing."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch import Tensor
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.captioner import BEGIN, END, HIDDEN, PAD
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import CheckpointError
from m2d_clap.model.text_encoder import find_tokenizer
from m2d_clap.service.cli import build
from m2d_clap.training.captioning.lessons import CaptionLessons
from m2d_clap.training.captioning.recipe import CAPTION_MINI, CAPTION_STAGES
from m2d_clap.training.captioning.trainer import CaptionTrainer, caption_loss
from m2d_clap.training.captioning.validation import by_captions
from m2d_clap.training.captioning.vocabulary import caption_vocabulary
from m2d_clap.training.evaluation import more_scores
from m2d_clap.training.manifest import Row

TINY = replace(
    CAPTION_MINI, epochs=40, warm_up=2, batch=8, base_rate=0.3, width=16, depth=1, heads=2,
    patches=4, max_tokens=8, mixed=0.3, hidden_words=0.1, noise=0.1, polyak=0.9,
    label_smoothing=0.05,
)  # fmt: skip
NAMES = ("a dog barks", "rain falls softly", "a bell", "wind in trees")


class Told:
    """Stands in for what an encoder heard: a direction for every caption, with noise."""

    def __init__(self, classes: list[int]) -> None:
        luck = torch.Generator().manual_seed(0)
        of_class = torch.randn(len(NAMES), 12, generator=luck)
        noise = 0.1 * torch.randn(len(classes), 12, generator=luck)
        self.clap = of_class[classes] + noise
        self._patches = [
            torch.cat([row, row[:4]]).expand(3 + number % 4, 16).half()
            for number, row in enumerate(self.clap)
        ]

    def __len__(self) -> int:
        return len(self._patches)

    def patches(self, number: int) -> Tensor:
        return self._patches[number]


CLASSES = [number % 4 for number in range(32)]
HEARD = Told(CLASSES)
ROWS = [Row(Path(f"{n}.wav"), (NAMES[c],), "", "train", {}) for n, c in enumerate(CLASSES)]


@pytest.fixture(scope="module")
def vocabulary() -> str:
    return caption_vocabulary(NAMES, find_tokenizer(TextConfig("minilm")).definition)


@pytest.fixture(scope="module")
def parent() -> Checkpoint:
    torch.manual_seed(0)
    clap = Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 12, 12),
        )
    )
    return Checkpoint.of(clap.eval(), torch.float16)


def trainer(parent: Checkpoint, vocabulary: str) -> CaptionTrainer:
    return CaptionTrainer(TINY, parent, vocabulary, ROWS, HEARD, seed=1)


def test_it_learns_to_say_what_it_hears(parent: Checkpoint, vocabulary: str) -> None:
    learning = trainer(parent, vocabulary)
    first = learning.advance()["loss"]
    while learning.step < learning.steps:
        last = learning.advance()["loss"]
    assert last < first / 2
    found = by_captions(ROWS, HEARD, TINY.how)(learning.polyak.eval())
    assert found.name == "CIDEr-D" and found.measured["rouge_l"] > 0.9
    checkpoint = learning.checkpoint()
    assert checkpoint.fingerprint == parent.fingerprint
    exported = by_captions(ROWS, HEARD, TINY.how)(checkpoint.build_captioner())
    assert exported.chooses == pytest.approx(found.chooses, abs=0.5)


def test_a_stopped_run_goes_on_to_the_same_weights(parent: Checkpoint, vocabulary: str) -> None:
    whole, first = trainer(parent, vocabulary), trainer(parent, vocabulary)
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        first.advance()
    second = trainer(parent, vocabulary)
    second.restore(first.snapshot())
    for _ in range(3):
        second.advance()
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


def lessons(vocabulary: str, parent: Checkpoint, **changes: Any) -> CaptionLessons:
    tokenizer = trainer(parent, vocabulary).captioner.tokenizer
    return CaptionLessons(replace(TINY, **changes), ROWS, HEARD, tokenizer, seed=3)


def test_a_lesson_shows_few_patches_hides_words_and_mixes(
    parent: Checkpoint, vocabulary: str
) -> None:
    lesson = lessons(vocabulary, parent, mixed=1.0, hidden_words=0.5).at(0)
    assert len(lesson.said) == 16 and all(1 <= len(p) <= 4 for p in lesson.patches)
    assert (lesson.said[:, 0] == BEGIN).all() and (lesson.said == HIDDEN).any()
    assert not (lesson.wanted == HIDDEN).any()
    assert ((lesson.wanted == END).sum(dim=1) == 1).all()
    both = lesson.weights.view(-1, 2)
    assert torch.allclose(both.sum(dim=1), torch.ones(8))
    assert (both[:, 0] >= 0.5).all() and (both[:, 0] < 1).any()
    plain = lessons(vocabulary, parent, mixed=0.0, hidden_words=0.0).at(0)
    assert (plain.weights.view(-1, 2)[:, 1] == 0).all()
    shown = plain.said[:, 1:] != PAD
    assert torch.equal(plain.said[:, 1:][shown], plain.wanted[:, :-1][shown])


def test_rare_captions_are_visited_as_often_when_balanced_wholly(
    parent: Checkpoint, vocabulary: str
) -> None:
    rows = [ROWS[0]] * 29 + [ROWS[1], ROWS[2], ROWS[3]]
    tokenizer = trainer(parent, vocabulary).captioner.tokenizer
    made = CaptionLessons(replace(TINY, balance=1.0), rows, HEARD, tokenizer, seed=0)
    weights = np.asarray(made.plan.weights)
    assert weights.sum() == pytest.approx(32) and weights[:29].sum() == pytest.approx(8)


def test_padding_and_a_partner_without_weight_do_not_count(
    parent: Checkpoint, vocabulary: str
) -> None:
    decoder = trainer(parent, vocabulary).captioner.decoder
    lesson = lessons(vocabulary, parent, mixed=0.0).at(0)
    loss = caption_loss(decoder, lesson)
    longer = replace(
        lesson,
        said=torch.nn.functional.pad(lesson.said, (0, 1), value=PAD),
        wanted=torch.nn.functional.pad(lesson.wanted, (0, 1), value=PAD),
    )
    assert torch.allclose(loss, caption_loss(decoder, longer), atol=1e-6)
    other = lesson.wanted.clone()
    other[1::2] = END
    assert torch.allclose(loss, caption_loss(decoder, replace(lesson, wanted=other)), atol=1e-6)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A manifest of tones, high ones and low ones; those of all splits lie among each other."""
    lines = ["file,caption,split"]
    for number in range(24):
        hz, name = ((300, "a low tone"), (3000, "a high tone"))[number % 2]
        samples = np.sin(2 * np.pi * (hz + 10 * (7 * number % 24)) * np.arange(9600) / 16000)
        wavfile.write(tmp_path / f"{number}.wav", 16000, (0.3 * samples).astype(np.float32))
        split = "train" if number < 16 else "valid" if number < 20 else "test"
        lines.append(f"{number}.wav,{name},{split}")
    (tmp_path / "tones.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_one_command_trains_it_and_another_scores_it_beside_the_baselines(
    library: Path, parent: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CAPTION_STAGES, "caption-mini", replace(TINY, epochs=60, patches=20))
    parent.save(library / "parent")
    manifest, cache = library / "tones.csv", library / "cache"
    words = f"train {manifest} --stage caption-mini --parent {library / 'parent'} --device cpu"
    words += f" --out {library / 'run'} --cache {cache} --every 5 --json"
    runner = CliRunner()
    trained = runner.invoke(build(), words.split(), catch_exceptions=False)
    best = json.loads(trained.stdout)["checkpoint"]
    assert Checkpoint.load(Path(best)).captioner is not None
    again = runner.invoke(build(), words.split(), catch_exceptions=False)
    assert json.loads(again.stdout)["checkpoint"] == best

    asked = f"evaluate {best} {manifest} --protocol captions --cache {cache} --device cpu"
    found = json.loads(runner.invoke(build(), [*asked.split(), "--json"]).stdout)["captions"]
    assert found["captioner"]["n"] == 4 == len(found["examples"])
    assert found["frequent_caption"] == "a low tone"
    assert found["captioner"]["cider_d"] > found["frequent"]["cider_d"]
    assert found["captioner"]["cider_d"] >= 0.9 * found["nearest"]["cider_d"] > 0
    text = runner.invoke(build(), [*asked.split(), "--dataset", "audiocaps"]).stdout
    assert "nearest training clip's caption" in text and "0.724  published" in text


def test_a_stage_without_a_parent_asks_for_one(library: Path) -> None:
    words = ["train", str(library / "tones.csv"), "--stage", "caption-mini"]
    answer = CliRunner().invoke(build(), [*words, "--out", str(library / "run")])
    assert isinstance(answer.exception, CheckpointError) and "--parent" in str(answer.exception)


def test_a_stage_of_one_process_refuses_several_and_what_it_does_not_know(
    library: Path, parent: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent.save(library / "parent")
    words = ["train", str(library / "tones.csv"), "--stage", "caption-mini"]
    words += ["--parent", str(library / "parent"), "--out", str(library / "run")]
    answer = CliRunner().invoke(build(), [*words, "--accumulate", "2"])
    assert answer.exit_code == 2 and "--accumulate" in answer.output
    monkeypatch.setenv("WORLD_SIZE", "4")
    answer = CliRunner().invoke(build(), words)
    assert "one process" in str(answer.exception)


def test_scores_of_other_tools_are_there_where_they_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(said: Any, references: Any, metrics: list[str]) -> Any:
        if metrics == ["spice"]:
            raise RuntimeError("no Java")
        return {metrics[0]: torch.tensor(0.25)}, None

    tool = SimpleNamespace(evaluate=evaluate)
    monkeypatch.setattr(more_scores, "import_module", lambda name: tool)
    assert more_scores.more_scores(["a"], [["a"]]) == {"SPIDER": 0.25, "FENSE": 0.25}

    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(more_scores, "import_module", absent)
    assert more_scores.more_scores(["a"], [["a"]]) == {}
