"""Published files become checkpoints, and what is not understood is refused by name."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model import Checkpoint
from m2d_clap.model.errors import CheckpointError, UpstreamError
from m2d_clap.model.upstream import Hints, import_published
from m2d_clap.service.cli import build

GOLDEN = Path(__file__).parent / "golden"
HEADS = ["--heads", "2", "--text-heads", "2"]


def m2d_clap(*words: str | Path) -> Any:
    return CliRunner().invoke(build(), [str(w) for w in words])


@pytest.mark.parametrize("model", ["a", "b", "c"])
def test_an_imported_file_embeds_sounds_as_the_reference_does(
    published: dict[str, Path], model: str, tmp_path: Path
) -> None:
    names = ["chirp_0p05s", "noise_5s", "mix_10p3s"]
    with np.load(GOLDEN / "waves.npz") as waves:
        for name in names:
            wavfile.write(tmp_path / f"{name}.wav", 16000, waves[name])
    files = [tmp_path / f"{name}.wav" for name in names]
    out = tmp_path / "clap.npy"
    assert m2d_clap("import", published[model], tmp_path / "ours", *HEADS).exit_code == 0
    result = m2d_clap("embed", *files, "--out", out, "--checkpoint", tmp_path / "ours")
    assert result.exit_code == 0
    with np.load(GOLDEN / f"tiny_{model}.npz") as golden:
        expected = np.concatenate([golden[f"clap_audio/{name}"] for name in names])
    assert np.abs(np.load(out) - expected).max() < 1e-4


def test_embed_goes_on_past_a_file_it_cannot_read_and_names_it(
    published: dict[str, Path], tmp_path: Path
) -> None:
    good, bad, out = tmp_path / "good.wav", tmp_path / "bad.wav", tmp_path / "clap.npy"
    wavfile.write(good, 16000, np.zeros(16000, np.int16))
    bad.write_bytes(b"RIFF")
    ours = ["--out", out, "--checkpoint", tmp_path / "ours"]
    assert m2d_clap("import", published["a"], tmp_path / "ours", *HEADS).exit_code == 0
    result = m2d_clap("embed", bad, good, bad, *ours)
    assert result.exit_code == 1
    assert "2 rows are NaN" in str(result.exception)
    assert "bad.wav" in str(result.exception)
    rows = np.load(out)
    assert np.isnan(rows).all(axis=1).tolist() == [True, False, True]
    out.unlink()
    assert m2d_clap("embed", bad, *ours).exit_code == 1
    assert not out.exists()


def test_a_model_that_never_met_text_has_no_text_encoder(
    published: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "m2d_vit_base-80x608p16x16-221006-mr7" / "checkpoint.pth"
    file.parent.mkdir()
    weights = torch.load(published["b"], weights_only=False)["model"]
    torch.save({"model": {n: w for n, w in weights.items() if "_proj" not in n}}, file)
    config = import_published(file, Hints(heads=2)).config
    assert (config.text.kind, config.projector.kind) == ("none", "none")


def test_sizes_and_settings_come_from_the_tensors_args_and_folder_name(
    published: dict[str, Path],
) -> None:
    configs = {n: import_published(f, Hints(heads=2)).config for n, f in published.items()}
    assert {n: c.encoder.frames for n, c in configs.items()} == {"a": 1001, "b": 608, "c": 1001}
    assert {n: c.text.kind for n, c in configs.items()} == {
        "a": "bert-base",
        "b": "gte-base",
        "c": "gte-base",
    }
    assert {n: c.projector.kind for n, c in configs.items()} == {
        "a": "semantic",
        "b": "mlp",
        "c": "mlp",
    }
    assert len(configs["c"].labels) == 527
    assert configs["c"].labels[0] == "Firecracker"  # the smallest mid


@pytest.mark.parametrize(("model", "scale"), [("a", 100), ("b", 1 / 0.07)])
def test_a_file_without_a_scale_gets_the_one_its_stage_begins_with(
    published: dict[str, Path], model: str, scale: float, tmp_path: Path
) -> None:
    whole = torch.load(published[model], weights_only=False)
    whole["model"] = {n: w for n, w in whole["model"].items() if not n.endswith("logit_scale")}
    file = tmp_path / published[model].parent.name / "checkpoint.pth"
    file.parent.mkdir()
    torch.save(whole, file)
    found = import_published(file, Hints(heads=2, text_heads=2)).weights["logit_scale"]
    assert float(found.exp()) == pytest.approx(scale, rel=1e-5)


def test_a_file_without_its_folder_name_asks_for_what_is_missing(
    published: dict[str, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "weights.pth"
    moved.write_bytes(published["a"].read_bytes())
    with pytest.raises(UpstreamError, match="--frames"):
        import_published(moved)
    with pytest.raises(UpstreamError, match="--sample-rate"):
        import_published(moved, Hints(frames=1001))
    config = import_published(moved, Hints(frames=1001, sample_rate=16000)).config
    assert config.text.kind == "bert-base"
    with pytest.raises(UpstreamError, match="positions"):
        import_published(moved, Hints(frames=608, sample_rate=16000))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "owned",)

    file = tmp_path / "evil.pth"
    torch.save({"model": Evil()}, file)
    with pytest.raises(UpstreamError, match="not opened"):
        import_published(file)
    file.write_bytes(pickle.dumps({"model": 1}, protocol=2))
    with pytest.raises(UpstreamError):
        import_published(file)
    assert not (tmp_path / "owned").exists()


def test_an_unknown_weight_is_refused_by_name(published: dict[str, Path], tmp_path: Path) -> None:
    whole = torch.load(published["a"], weights_only=True)
    whole["model"]["backbone.surprise.weight"] = torch.zeros(3)
    file = tmp_path / published["a"].parent.name / "x.pth"
    file.parent.mkdir()
    torch.save(whole, file)
    with pytest.raises(UpstreamError, match=r"surprise\.weight"):
        import_published(file)


def test_a_checkpoint_comes_back_as_it_was_saved(
    published: dict[str, Path], tmp_path: Path
) -> None:
    saved = import_published(published["b"], Hints(heads=2))
    saved.save(tmp_path / "ours", card="# A card\n")
    saved.save(tmp_path / "ours", card="# A card\n")  # replaces
    loaded = Checkpoint.load(tmp_path / "ours")
    assert loaded.fingerprint == saved.fingerprint
    assert loaded.config == saved.config


@pytest.mark.parametrize("damage", ["cut", "config", "version", "key"])
def test_a_damaged_checkpoint_is_refused(
    published: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "ours"
    import_published(published["b"], Hints(heads=2)).save(folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "config":
        config.write_text(config.read_text().replace('"depth": 2', '"depth": "two"'))
    elif damage == "version":
        version = '"format_version": 2'
        config.write_text(config.read_text().replace(version, '"format_version": 99'))
    else:
        config.write_text(config.read_text().replace('"heads": 2', '"heads": 4'))
    with pytest.raises(CheckpointError):
        Checkpoint.load(folder)


def test_a_folder_that_is_no_checkpoint_is_never_overwritten(
    published: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        import_published(published["b"], Hints(heads=2)).save(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").exists()
