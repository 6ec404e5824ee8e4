"""Published weight files → Checkpoint. All guessing about the authors' files stands here.

Sizes come from the tensors. What they do not tell comes from the file's `args`, else from the
published folder name `<model>-<mels>x<frames>p<ph>x<pw>[p<rate>][p<text encoder>][pTI]-<tag>`,
else from the caller. Training-only parts are left out; anything not understood is refused by name.
"""

import argparse
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.config import (
    ClapConfig,
    EncoderConfig,
    FrontEndConfig,
    ProjectorConfig,
    TextConfig,
    TextKind,
)
from m2d_clap.model.errors import UpstreamError
from m2d_clap.model.labels import audioset
from m2d_clap.model.text_encoder import SPECS

LICENCE = "published M2D weights: evaluation and non-commercial use only (nttcslab/m2d)"

_PREFIXES = ("module.ar.runtime.backbone.", "module.", "backbone.")
_TRAINING_ONLY = re.compile(
    r"(mask_token|decoder_.*|target_.*|to_spec\..*|ar\.runtime\.to_spec\..*|text\.pooler\..*|text\.embeddings\.position_ids)$"
)
_BACKBONE = re.compile(r"(cls_token|pos_embed|patch_embed\..*|blocks\..*|norm\..*)$")
_FOLDER = re.compile(
    r"-(?P<mels>\d+)x(?P<frames>\d+)p(?P<ph>\d+)x(?P<pw>\d+)"
    r"(?:p(?P<rate>\d+)k)?(?:p(?P<text>[ABN]))?(?:p?TI)?(?:-|$)"
)
_TEXT_LETTERS: dict[str, TextKind] = {"A": "gte-base", "B": "bert-base", "N": "nv-embed-v2"}


@dataclass(frozen=True)
class Hints:
    """What the caller knows where neither tensors, `args` nor the folder name tell."""

    frames: int | None = None
    sample_rate: int | None = None
    text_encoder: TextKind | None = None
    heads: int | None = None
    text_heads: int | None = None


def import_published(file: Path, hints: Hints = Hints()) -> Checkpoint:
    """Converts a published `.pth`. Raises UpstreamError naming what was not understood."""
    whole = _read(file)
    args = whole.get("args")
    tensors = {_rename(key): tensor for key, tensor in _tensors(whole, file).items()}
    tensors = {key: t for key, t in tensors.items() if not _TRAINING_ONLY.match(key)}
    folder = _FOLDER.search(file.resolve().parent.name)
    norm_stats = tensors.pop("norm_stats", None)
    config = _config(file, tensors, norm_stats, args, folder, hints)
    weights = {_place(key): tensor.float() for key, tensor in tensors.items()}
    # Stages 2 and 2.1, whose text encoder is inside, begin at the cap; all others at 1 / 0.07.
    scale = 100 if config.text.included else 1 / 0.07
    weights.setdefault("logit_scale", torch.tensor(math.log(scale)))
    checkpoint = Checkpoint(config, weights)
    checkpoint.clap()  # strict: a missing or strange weight is refused here, not when serving
    return checkpoint


def _read(file: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            whole = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)|Unsupported (?:class|global):? (\S+)", str(error))
        what = next(filter(None, found.groups())) if found else str(error).splitlines()[0]
        raise UpstreamError(f"{file} holds more than weights and is not opened: {what}") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UpstreamError(f"cannot read {file} as a weight file: {error}") from error
    if not isinstance(whole, Mapping):
        raise UpstreamError(f"{file} holds a {type(whole).__name__}, not a dictionary of weights")
    return dict(whole)


def _tensors(whole: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    inner = whole.get("model", whole)
    tensors = {k: v for k, v in inner.items() if isinstance(v, Tensor)}
    if not any(key.endswith("patch_embed.proj.weight") for key in tensors):
        raise UpstreamError(f"{file} holds no M2D audio encoder (no patch_embed.proj.weight)")
    return tensors


def _rename(key: str) -> str:
    if key.startswith("text_encoder."):
        return "text." + key.removeprefix("text_encoder.").removeprefix("text_encoder.")
    for prefix in _PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def _place(key: str) -> str:
    """Renamed key → the key in our checkpoint."""
    if key.startswith("text."):
        return "text.model." + key.removeprefix("text.")
    if key.startswith("text_proj."):
        return "text_projection." + key.removeprefix("text_proj.")
    if key.startswith("audio_proj."):
        return "audio." + key
    if key.startswith("head."):
        return "audio." + key.replace("head.mlp.mlp.0.", "head.linear.")
    if key == "logit_scale":
        return key
    if _BACKBONE.match(key):
        return "audio.backbone." + key
    raise UpstreamError(f"the file holds a weight that is not understood: {key}")


def _config(
    file: Path,
    tensors: Mapping[str, Tensor],
    norm_stats: Tensor | None,
    args: object,
    folder: re.Match[str] | None,
    hints: Hints,
) -> ClapConfig:
    width, _, patch_mels, patch_frames = tensors["patch_embed.proj.weight"].shape
    input_size = getattr(args, "input_size", None)
    frames = hints.frames or (
        int(input_size[1]) if input_size else int(folder["frames"]) if folder else None
    )
    if frames is None:
        raise UpstreamError(f"nothing tells how many frames a window of {file} has: --frames")
    rate = hints.sample_rate or getattr(args, "sample_rate", None)
    if rate is None and folder is None:
        raise UpstreamError(f"nothing tells the sample rate of {file}: --sample-rate")
    if rate is None:
        rate = int(folder["rate"] or 16) * 1000 if folder else 16000
    mean, std = (-7.1, 4.2) if norm_stats is None else (float(x) for x in norm_stats)
    labels = _labels(tensors)
    config = ClapConfig(
        name=file.resolve().parent.name,
        licence=LICENCE,
        front_end=FrontEndConfig.for_rate(int(rate), mean, std),
        encoder=EncoderConfig(
            frames=frames,
            patch_mels=patch_mels,
            patch_frames=patch_frames,
            width=width,
            depth=_count(tensors, "blocks"),
            heads=hints.heads or max(1, width // 64),
            mlp_ratio=tensors["blocks.0.mlp.fc1.weight"].shape[0] / width,
        ),
        projector=_projector(tensors, width),
        text=_text(file, tensors, folder, hints),
        labels=labels,
        head_input=tensors["head.mlp.mlp.0.weight"].shape[1] if labels else 0,
    )
    grid = tensors["pos_embed"].shape[1] - 1
    if grid != config.grid_rows * config.encoder.columns:
        raise UpstreamError(
            f"{frames} frames do not fit the {grid} positions in {file}: give the right --frames"
        )
    return config.validate()


def _count(tensors: Mapping[str, Tensor], blocks: str) -> int:
    return len(
        {
            key.split(blocks + ".")[1].split(".")[0]
            for key in tensors
            if f"{blocks}." in key and key.startswith(blocks)
        }
    )


def _projector(tensors: Mapping[str, Tensor], width: int) -> ProjectorConfig:
    if "audio_proj.sem_token" in tensors:
        hidden = tensors["audio_proj.sem_blocks.0.mlp.fc1.weight"].shape[0]
        return ProjectorConfig(
            "semantic",
            dim=width,
            blocks=_count(tensors, "audio_proj.sem_blocks"),
            mlp_ratio=hidden / width,
        )
    if "audio_proj.0.weight" in tensors:
        hidden = tensors["audio_proj.0.weight"].shape[0]
        return ProjectorConfig("mlp", tensors["audio_proj.2.weight"].shape[0], hidden)
    return ProjectorConfig("none", width, width)


def _text(
    file: Path, tensors: Mapping[str, Tensor], folder: re.Match[str] | None, hints: Hints
) -> TextConfig:
    included = "text.embeddings.word_embeddings.weight" in tensors
    kind = hints.text_encoder
    if kind is None and folder is not None:
        # The 2024 names carry no letter; those models were aligned with GTE-base.
        kind = _TEXT_LETTERS[folder["text"]] if folder["text"] else None
        met_text = "audio_proj.0.weight" in tensors or "_clap_" in folder.string
        kind = kind or ("bert-base" if included else "gte-base" if met_text else None)
    if kind is None and included:
        kind = "bert-base"
    if kind is None:
        if "audio_proj.0.weight" in tensors or "audio_proj.sem_token" in tensors:
            raise UpstreamError(f"nothing tells the text encoder of {file}: --text-encoder")
        kind = "none"
    projection = (
        ("linear", tensors["text_proj.weight"].shape[1], 0)
        if "text_proj.weight" in tensors
        else ("mlp", tensors["text_proj.0.weight"].shape[1], tensors["text_proj.0.weight"].shape[0])
        if "text_proj.0.weight" in tensors
        else ("none", 0, 0)
    )
    architecture = _bert(tensors, hints) if included else {}
    return TextConfig(
        kind=kind,
        included=included,
        max_tokens=architecture.get("max_position_embeddings", 0)
        or (SPECS[kind].max_tokens if kind != "none" else 512),
        architecture=architecture,
        projection=projection[0],  # type: ignore[arg-type]
        projection_in=projection[1],
        projection_hidden=projection[2],
    )


def _bert(tensors: Mapping[str, Tensor], hints: Hints) -> dict[str, Any]:
    vocabulary, hidden = tensors["text.embeddings.word_embeddings.weight"].shape
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": _count(tensors, "text.encoder.layer"),
        "num_attention_heads": hints.text_heads or max(1, hidden // 64),
        "intermediate_size": tensors["text.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "max_position_embeddings": tensors["text.embeddings.position_embeddings.weight"].shape[0],
        "type_vocab_size": tensors["text.embeddings.token_type_embeddings.weight"].shape[0],
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }


def _labels(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    weight = tensors.get("head.mlp.mlp.0.weight")
    if weight is None:
        return ()
    if len(weight) == len(audioset()):
        return tuple(name for _, name in audioset())
    return tuple(f"class {i}" for i in range(len(weight)))
