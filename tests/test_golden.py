"""Our encoders give the numbers of the reference, array by array."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m2d_clap.model import Clap, Waveform
from m2d_clap.model.config import FrontEndConfig, TextConfig
from m2d_clap.model.mel import log_mel, mel_bank, tables
from m2d_clap.model.projector import MeanProjector, build_text_projection
from m2d_clap.model.text_encoder import TextEncoder, included_text_encoder
from m2d_clap.model.tokenizer import Tokens

GOLDEN = Path(__file__).parent / "golden"
FEATURES, CLAP, LOGITS, TEXT, FROM_LMS = 5e-4, 1e-4, 5e-4, 2e-5, 5e-5


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


WAVES, INPUTS = arrays("waves"), arrays("inputs")


def wave(name: str) -> list[Waveform]:
    names = ["mix_10s", "mixb_10s"] if name.startswith("batch") else [name]
    return [Waveform((WAVES[n] / 32768).astype(np.float32), 16000) for n in names]


def close(ours: Any, golden: np.ndarray, limit: float) -> None:
    ours = ours.numpy() if isinstance(ours, torch.Tensor) else ours
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() <= limit


@pytest.mark.parametrize("rate", [16000, 32000])
def test_the_mel_bank_is_slaneys(rate: int) -> None:
    close(
        mel_bank(FrontEndConfig.for_rate(rate)), arrays("frontend")[f"mel_fb_{rate // 1000}k"], 1e-6
    )


@pytest.mark.parametrize("rate", [16000, 32000])
def test_the_window_is_a_periodic_hann(rate: int) -> None:
    window, _ = tables(FrontEndConfig.for_rate(rate), torch.device("cpu"))
    close(window, arrays("frontend")[f"window_{rate // 1000}k"], 1e-6)


@pytest.mark.parametrize("name", sorted(WAVES))
def test_log_mels_equal_the_reference(name: str) -> None:
    config = FrontEndConfig.for_rate(32000 if "32k" in name else 16000)
    samples = torch.from_numpy((WAVES[name] / 32768).astype(np.float32))
    golden = arrays("frontend")[f"lms_{name}"]
    ours = log_mel(samples.unsqueeze(0), config)[0, 0].numpy()
    close(ours, golden, 2e-3)
    assert np.abs(ours - golden).mean() <= 5e-5


@pytest.mark.parametrize("model", ["a", "b", "c"])
def test_every_audio_output_equals_the_reference(golden_claps: dict[str, Clap], model: str) -> None:
    clap, golden = golden_claps[model], arrays(f"tiny_{model}")
    for wave_name in sorted({k.split("/")[1] for k in golden if k.startswith("clap_audio/")}):
        waves = wave(wave_name)
        grids = clap.grids([clap.log_mel(w) for w in waves])
        seconds = waves[0].seconds
        with torch.inference_mode():
            outputs = {
                "forward_flat": (lambda g: g.flat(), FEATURES),
                "forward_stacked": (lambda g: g.stacked(), FEATURES),
                "timestamp_emb_flat": (lambda g: g.frames(stacked=False), FEATURES),
                "timestamp_emb": (lambda g: g.frames(stacked=False), FEATURES),
                "timestamp_emb_stacked": (lambda g: g.frames(), FEATURES),
                "scene_emb_flat": (lambda g: g.clip(stacked=False), FEATURES),
                "scene_emb": (lambda g: g.clip(stacked=False), FEATURES),
                "scene_emb_stacked": (lambda g: g.clip(), FEATURES),
                "timestamps_ms": (lambda g, s=seconds: g.timestamps(s), 1e-2),
                "logits": (
                    lambda g: clap.audio.logits(g.clip(stacked=False).unsqueeze(0))[0],
                    LOGITS,
                ),
                "frame_logits": (lambda g: clap.audio.logits(g.frames(stacked=False)), LOGITS),
            }
            for kind, (output, limit) in outputs.items():
                if f"{kind}/{wave_name}" in golden:
                    ours = torch.stack([output(grid) for grid in grids])
                    close(ours, golden[f"{kind}/{wave_name}"], limit)
        close(clap.project(grids), golden[f"clap_audio/{wave_name}"], CLAP)


@pytest.mark.parametrize("model", ["a", "b"])
def test_any_number_of_frames_is_windowed_as_the_reference_does(
    golden_claps: dict[str, Clap], model: str
) -> None:
    golden = arrays(f"tiny_{model}")
    for key in (k for k in golden if k.startswith("encode_lms_")):
        kind, frames = key.split("/")
        lms = torch.from_numpy(INPUTS["lms_q8"][0, ..., : int(frames)].astype(np.float32) / 32)
        grid = golden_claps[model].grids([lms])[0]
        ours = {
            "encode_lms_flat": lambda g: g.flat(),
            "encode_lms_stacked": lambda g: g.stacked(),
            "encode_lms_flat_avg": lambda g: g.frames(stacked=False),
        }[kind](grid)
        close(ours.unsqueeze(0), golden[key], FROM_LMS)


def tokens() -> Tokens:
    return Tokens(torch.from_numpy(INPUTS["ids"]).long(), torch.from_numpy(INPUTS["mask"]).long())


@torch.inference_mode()
def check_text(encoder: TextEncoder, golden: dict[str, np.ndarray]) -> None:
    mask = INPUTS["mask"][..., None].astype(bool)
    hidden = encoder.hidden(tokens()).numpy()
    close(hidden * mask, golden["text_last_hidden"] * mask, TEXT)
    close(encoder(tokens()), golden["clap_text"], TEXT)


def test_the_included_bert_gives_the_first_token(golden_claps: dict[str, Clap]) -> None:
    check_text(golden_claps["a"].text, arrays("tiny_a"))


@torch.inference_mode()
def test_gte_is_pooled_by_the_masked_mean(golden_tensor: Any) -> None:
    shapes = json.loads((GOLDEN / "keys_tiny_gte.json").read_text())
    architecture = {
        "vocab_size": 300,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "max_position_embeddings": 64,
    }
    encoder = included_text_encoder(TextConfig("gte-base", True, architecture=architecture))
    weights = {k: golden_tensor("G", k, s) for k, s in shapes.items() if "pooler" not in k}
    encoder.model.load_state_dict(weights)
    check_text(encoder, arrays("tiny_b"))


@pytest.mark.parametrize("model", ["a", "b"])
def test_cosines_between_sound_and_text_equal_the_reference(
    golden_claps: dict[str, Clap], model: str
) -> None:
    golden = arrays(f"tiny_{model}")
    names = ["chirp_0p05s", "noise_len201", "chirp_1s", "noise_len16123", "impulse_1s"]
    names += ["silence_1s", "noise_5s", "mix_10s", "mix_10p3s", "mix_23s"]
    audio = golden_claps[model].embed_audio([wave(n)[0] for n in names])
    text = torch.from_numpy(golden["clap_text"])
    ours = torch.nn.functional.cosine_similarity(audio[:, None], text[None], dim=-1)
    close(ours, golden["cosine_audio_text"], CLAP)


@torch.inference_mode()
@pytest.mark.parametrize(("model", "kind"), [("d", "linear"), ("e", "mlp")])
def test_text_projections_and_mean_pooling_equal_the_reference(
    golden_claps: dict[str, Clap], golden_tensor: Any, model: str, kind: Any
) -> None:
    golden = arrays(f"tiny_{model}")
    projection = build_text_projection(
        TextConfig("gte-base", projection=kind, projection_in=96, projection_hidden=96), 64
    )
    projection.load_state_dict(
        {
            k: golden_tensor("T", f"text_proj.{k}", list(v.shape))
            for k, v in projection.state_dict().items()
        }
    )
    close(projection(torch.from_numpy(golden["sentence_emb"])), golden["text_emb"], TEXT)
    clap = golden_claps["b"]
    for name in ("chirp_1s", "mix_10s"):
        grid = clap.grids([clap.log_mel(wave(name)[0])])[0]
        ours = MeanProjector()(grid.flat().unsqueeze(0))
        close(ours, golden[f"clap_audio/{name}"], CLAP)
