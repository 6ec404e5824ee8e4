"""Every data-set definition scores rows that lie, and are named, as their authors publish them."""

import functools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.service.cli import build
from m2d_clap.training.evaluation import command
from m2d_clap.training.evaluation.command import random_clap
from m2d_clap.training.evaluation.datasets import DATASETS
from m2d_clap.training.evaluation.head import HeadRecipe
from m2d_clap.training.evaluation.protocols import ask

VIDEO = "{:011d}"  # as long as YouTube's names
PARTS = ("train",) * 8 + ("valid",) * 4 + ("test",) * 4
"""Of sixteen clips of two classes, which take turns."""


class Disk:
    """A folder that is filled with tables and with sounds of which no two are the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, name: str, *lines: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")

    def sound(self, name: str) -> str:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 1000, 3200)
        wavfile.write(file, 16000, noise.astype(np.int16))
        return name


def esc_50(disk: Disk) -> None:
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for n in range(30):
        target, category = ((0, "dog"), (14, "chirping_birds"))[n % 2]
        name = disk.sound(f"audio/{n // 6 + 1}-{1000 + n}-A-{target}.wav").removeprefix("audio/")
        lines.append(f"{name},{n // 6 + 1},{target},{category},False,{1000 + n},A")
    disk.table("meta/esc50.csv", *lines)


def us8k(disk: Disk) -> None:
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for n in range(40):
        number, name = ((3, "dog_bark"), (8, "siren"))[n % 2]
        file = f"{1000 + n}-{number}-0-0.wav"
        disk.sound(f"audio/fold{n // 4 + 1}/{file}")
        lines.append(f"{file},{1000 + n},0.0,0.2,1,{n // 4 + 1},{number},{name}")
    disk.table("metadata/UrbanSound8K.csv", *lines)


def fsd50k(disk: Disk) -> None:
    dev, evaluated = ["fname,labels,mids,split"], ["fname,labels,mids"]
    for n, part in enumerate(PARTS):
        labels, mids = (("Rain", "/m/06mb1"), ("Siren,Alarm", "/m/03kmc9,/m/07pp"))[n % 2]
        row = f'{n},"{labels}","{mids}"'
        if part == "test":
            disk.sound(f"FSD50K.eval_audio/{n}.wav")
            evaluated.append(row)
        else:
            disk.sound(f"FSD50K.dev_audio/{n}.wav")
            dev.append(f"{row},{'val' if part == 'valid' else 'train'}")
    disk.table("FSD50K.ground_truth/dev.csv", *dev)
    disk.table("FSD50K.ground_truth/eval.csv", *evaluated)


def audioset(disk: Disk) -> None:
    head = ["# Segments csv created", "# num_ytids=1", "# YTID, start_seconds, end_seconds, labels"]
    tables = {"balanced_train": [*head], "unbalanced_train": [*head], "eval": [*head]}
    for n in range(40):
        video = VIDEO.format(n)
        mids = ("/m/06mb1", "/m/09x0r,/t/dd00088")[n % 2]
        part = "eval" if n < 4 else "balanced_train" if n < 8 else "unbalanced_train"
        tables[part].append(f'{video}, 30.000, 40.000, "{mids}"')
        disk.sound(f"audio/Y{video}.wav")
    for part, lines in tables.items():
        disk.table(f"{part}_segments.csv", *lines)


def audiocaps(disk: Disk) -> None:
    lines = ["audiocap_id,youtube_id,start_time,caption"]
    for n in range(20):
        lines.append(f"{n},{VIDEO.format(n // 5)},30,sound {n // 5} told for the {n}th time")
    disk.table("dataset/test.csv", *lines)
    for n in range(4):
        disk.sound(f"test/{VIDEO.format(n)}_30.wav")


def clotho(disk: Disk) -> None:
    lines = ["file_name,caption_1,caption_2,caption_3,caption_4,caption_5"]
    for n in range(4):
        disk.sound(f"evaluation/Sound {n}.wav")
        lines.append(f"Sound {n}.wav," + ",".join(f"sound {n} told {i}" for i in range(5)))
    disk.table("clotho_captions_evaluation.csv", *lines)
    disk.table("clotho_metadata_evaluation.csv", "file_name,sound_id,license")


def by_manifest(name_of: Callable[[str, int], str], *labels: str) -> Callable[[Disk], None]:
    """A data set that comes without a table we read: its files' names and a manifest of them."""

    def lay_out(disk: Disk) -> None:
        lines = ["file,label,split"]
        for n, part in enumerate(PARTS):
            label = labels[n % 2]
            lines.append(f"{disk.sound(name_of(label, n))},{label},{part}")
        disk.table("manifest.csv", *lines)

    return lay_out


# data set → (its layout, the converter, clips scored, prompts or captions that must be asked)
LAYOUTS: dict[str, tuple[Callable[[Disk], None], str, int, tuple[str, ...]]] = {
    "esc-50": (esc_50, "esc50", 30, ("dog can be heard", "chirping birds can be heard")),
    "us8k": (us8k, "urbansound8k", 40, ("dog bark can be heard", "siren can be heard")),
    "spcv2": (
        by_manifest(lambda word, n: f"{word}/0a7c2a{n:02x}_nohash_0.wav", "yes", "no"),
        "",
        4,
        (),
    ),
    "vc1": (
        by_manifest(lambda who, n: f"wav/{who}/1zcIwhmdeo4/{n:05d}.wav", "id10001", "id10270"),
        "",
        4,
        (),
    ),
    "voxforge": (by_manifest(lambda tongue, n: f"{tongue}/wav/{n:04d}.wav", "de", "fr"), "", 4, ()),
    "crema-d": (
        by_manifest(lambda mood, n: f"AudioWAV/{1001 + n}_DFA_{mood}_XX.wav", "ANG", "HAP"),
        "",
        4,
        ("angry person talking can be heard", "someone talking happily and joyfully can be heard"),
    ),
    "gtzan": (
        by_manifest(lambda genre, n: f"genres/{genre}/{genre}.{n:05d}.wav", "blues", "hiphop"),
        "",
        4,
        ("blues music can be heard", "hiphop music can be heard"),
    ),
    "nsynth": (
        by_manifest(
            lambda kind, n: f"audio/{kind}_acoustic_{n:03d}-024-025.wav", "bass", "synth_lead"
        ),
        "",
        4,
        (
            "the musical instrument sound of bass can be heard",
            "the musical instrument sound of synth lead can be heard",
        ),
    ),
    "surge": (by_manifest(lambda pitch, n: f"preset{n:04d}/{pitch}.wav", "60", "61"), "", 4, ()),
    "fsd50k": (fsd50k, "fsd50k", 4, ("Rain can be heard", "Alarm can be heard")),
    "audioset": (audioset, "audioset", 4, ("Rain can be heard", "Speech can be heard")),
    "audiocaps": (audiocaps, "audiocaps", 4, ("sound 3 told for the 19th time",)),
    "clotho": (clotho, "clotho", 4, ("sound 3 told 4",)),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small steps only wait for one another's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 16, 16),
        text=TextConfig("minilm", projection="linear", projection_in=384),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Checkpoint.of(random_clap(config, 0)).save(folder)
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The sentences that a stand-in for the text encoder was asked to embed."""
    seen: set[str] = set()

    def embed_text(self: Clap, texts: Sequence[str]) -> torch.Tensor:
        seen.update(texts)
        generators = (torch.Generator().manual_seed(zlib.crc32(t.encode())) for t in texts)
        return torch.stack([torch.randn(16, generator=generator) for generator in generators])

    monkeypatch.setattr(Clap, "embed_text", embed_text)
    monkeypatch.setattr(command, "ask", functools.partial(ask, recipe=HeadRecipe(epochs=2)))
    return seen


def run(*words: str) -> Any:
    result = CliRunner().invoke(build(), list(words))
    assert result.exit_code == 0, (result.exception, result.stderr)
    return json.loads(result.stdout)


def test_every_definition_has_a_published_layout_here() -> None:
    assert LAYOUTS.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_published_layout_is_scored(
    name: str, checkpoint: Path, asked: set[str], tmp_path: Path
) -> None:
    lay_out, converter, clips, sentences = LAYOUTS[name]
    dataset = DATASETS[name]
    lay_out(Disk(tmp_path))
    manifest = str(tmp_path / "manifest.csv")
    if converter:
        assert run("convert", converter, str(tmp_path), manifest, "--json")["missing"] == 0
    words = ["--dataset", name, "--protocol", "all", "--cache", str(tmp_path / "cache"), "--json"]
    told = run("evaluate", str(checkpoint), manifest, *words)
    assert told["dataset"] == name
    assert told["clips"] == clips
    found = told["protocols"]
    assert set(found) == {protocol.value.replace("-", "_") for protocol in dataset.protocols}
    for score in found.values():
        of_queries = score["audio_to_text"]["n"] if "audio_to_text" in score else score["n"]
        assert of_queries == clips
        assert score.get("metric", dataset.metric) == dataset.metric
    if "retrieval" in found:
        assert found["retrieval"]["captions"] == 5 * clips
    if "linear" in found:
        assert found["linear"]["folds"] == dataset.folds
        assert found["linear"]["half_width"] >= 0
    assert set(sentences) <= asked
    assert [figure["value"] for figure in told["published"]] == [p.value for p in dataset.published]


def test_a_checkpoint_stands_first_or_behind_its_option_and_never_both(
    checkpoint: Path, asked: set[str], tmp_path: Path
) -> None:
    clotho(Disk(tmp_path))
    manifest, cache = str(tmp_path / "manifest.csv"), ["--cache", str(tmp_path / "cache"), "--json"]
    run("convert", "clotho", str(tmp_path), manifest, "--json")
    named = run("evaluate", manifest, "--checkpoint", str(checkpoint), *cache)
    assert run("evaluate", str(checkpoint), manifest, *cache) == named
    for words, message in (
        ([str(checkpoint)], "MANIFEST"),
        ([str(checkpoint), manifest, "--checkpoint", str(checkpoint)], "given twice"),
        ([manifest, str(checkpoint)], "is no checkpoint"),
        ([str(tmp_path), manifest], "is no checkpoint"),
        ([str(checkpoint), manifest, manifest], "MANIFEST"),
    ):
        refused = CliRunner().invoke(build(), ["evaluate", *words])
        assert refused.exit_code == 2
        assert message in " ".join(refused.stderr.replace("│", " ").split())


def test_leaks_in_ones_own_manifest_are_refused_and_in_a_published_one_told(
    checkpoint: Path, asked: set[str], tmp_path: Path
) -> None:
    LAYOUTS["gtzan"][0](Disk(tmp_path))
    copies = ("genres/blues/blues.00000.wav", "genres/blues/blues.00014.wav")
    (tmp_path / copies[1]).write_bytes((tmp_path / copies[0]).read_bytes())
    manifest, cache = str(tmp_path / "manifest.csv"), ["--cache", str(tmp_path / "cache"), "--json"]
    words = ["evaluate", str(checkpoint), manifest, "--protocol", "linear", *cache]
    with pytest.raises(ClapError, match=r"same content: line 2, .*00000\.wav .* line 16, .*00014"):
        CliRunner().invoke(build(), words, catch_exceptions=False)
    result = CliRunner().invoke(build(), [*words, "--dataset", "gtzan"])
    assert result.exit_code == 0, result.exception
    assert "warning: 1 sounds stand both" in result.stderr
