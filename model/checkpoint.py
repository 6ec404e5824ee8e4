"""A model on disk: a folder of config.json and model.safetensors, no pickle anywhere.

config.json        format_version, fingerprint, every setting of the model
model.safetensors  every weight, float32 or float16
tokenizer.json     for a text encoder of our own: how its texts become token ids
README.md          the model card, where there is one
captioner.*        where there is one: see caption_file.py
"""

import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from m2d_clap.model.caption_file import CaptionerPart, digest_of_weights
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.clap import Clap
from m2d_clap.model.config import ClapConfig, config_from_dict, config_to_dict
from m2d_clap.model.description import CONFIG_FILE, FORMAT_VERSION, read_config
from m2d_clap.model.errors import CheckpointError, NoCaptionerError, TextEncoderError
from m2d_clap.model.files import to_disk
from m2d_clap.model.tokenizer import TOKENIZER_FILE, Tokenizer

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "README.md"


@dataclass(frozen=True)
class Checkpoint:
    """Settings and weights of one model, as values.

    tokenizer: the text of tokenizer.json, exactly where the text encoder is our own. captioner:
    where it has one, which learned on this very audio encoder.
    """

    config: ClapConfig
    weights: Mapping[str, Tensor]
    tokenizer: str | None = None
    captioner: CaptionerPart | None = None

    def __post_init__(self) -> None:
        if self.captioner is not None and self.captioner.hears != self.hearing:
            raise CheckpointError(
                "the captioner was trained on another audio encoder: train it anew with "
                "m2d-clap train MANIFEST --stage caption-mini --parent CHECKPOINT, or delete "
                "captioner.json"
            )

    @classmethod
    def of(cls, clap: Clap, dtype: torch.dtype = torch.float32) -> "Checkpoint":
        """A snapshot of a model; an external text encoder stays outside."""
        weights = {k: v.to("cpu", dtype, copy=True) for k, v in clap.state_dict().items()}
        if not clap.config.text.own:
            return cls(clap.config, weights)
        tokenizer = clap.text_encoder().tokenizer
        assert tokenizer is not None
        return cls(clap.config, weights, tokenizer.definition)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over settings, weights, tokenizer: equal exactly when the model is the same.

        Without the captioner, which changes no embedding.
        """
        digest = hashlib.sha256(json.dumps(config_to_dict(self.config), sort_keys=True).encode())
        digest_of_weights(digest, self.weights)
        if self.tokenizer is not None:
            digest.update(self.tokenizer.encode())
        return digest.hexdigest()

    @functools.cached_property
    def hearing(self) -> str:
        """sha256 over what makes patch tokens and CLAP embeddings of sounds."""
        settings = config_to_dict(self.config)
        parts = [settings[name] for name in ("front_end", "encoder", "projector")]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        heard = ("audio.backbone.", "audio.audio_proj.")
        digest_of_weights(digest, {n: w for n, w in self.weights.items() if n.startswith(heard)})
        return digest.hexdigest()

    def build_captioner(self, device: str | torch.device = "cpu") -> Captioner:
        """The captioner, float32. Raises NoCaptionerError where the checkpoint has none."""
        if self.captioner is None:
            raise NoCaptionerError(
                f"the checkpoint ({self.config.name}) has no captioner: train one with "
                "m2d-clap train MANIFEST --stage caption-mini --parent CHECKPOINT"
            )
        return self.captioner.captioner(device)

    def clap(self, device: str | torch.device = "cpu") -> Clap:
        """The model, float32, in evaluation mode. Raises CheckpointError when keys do not fit."""
        clap = Clap(self.config)
        expected = clap.state_dict()
        missing, extra = (
            expected.keys() - self.weights.keys(),
            self.weights.keys() - expected.keys(),
        )
        if missing or extra:
            raise CheckpointError(
                "the weights do not fit the settings: "
                f"missing {_some(missing)}, not expected {_some(extra)}"
            )
        for name, tensor in expected.items():
            if tensor.shape != self.weights[name].shape:
                raise CheckpointError(
                    f"weight {name} has shape {tuple(self.weights[name].shape)}, "
                    f"the settings need {tuple(tensor.shape)}"
                )
            tensor.copy_(self.weights[name])
        if self.config.text.own:
            assert clap.text is not None
            clap.text.tokenizer = self._tokenizer()
        return clap.eval().to(device)

    def _tokenizer(self) -> Tokenizer:
        text = self.config.text
        if self.tokenizer is None:
            raise CheckpointError(f"the text encoder {text.kind!r} needs a {TOKENIZER_FILE}")
        try:
            tokenizer = Tokenizer(self.tokenizer, text.max_tokens)
        except TextEncoderError as error:
            raise CheckpointError(f"{TOKENIZER_FILE} is damaged: {error}") from error
        if len(tokenizer.words) != text.architecture["vocab_size"]:
            raise CheckpointError(
                f"{TOKENIZER_FILE} knows {len(tokenizer.words)} tokens, the text encoder "
                f"{text.architecture['vocab_size']}"
            )
        return tokenizer

    def save(self, folder: Path, card: str | None = None) -> None:
        """Writes the folder aside and renames it, so that it is never half written.

        An older checkpoint at this place is replaced; any other folder is refused.
        """
        if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file():
            raise CheckpointError(f"{folder} exists and is no checkpoint: choose another place")
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self._write(aside, card)
        except BaseException:  # on a full disk the part that was written stands in the way
            shutil.rmtree(aside, ignore_errors=True)
            raise
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            aside.rename(folder)
            shutil.rmtree(old)
        else:
            aside.rename(folder)
        to_disk(folder.parent)

    def _write(self, aside: Path, card: str | None) -> None:
        aside.chmod(0o755)
        description = {
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "model": config_to_dict(self.config),
        }
        save_file({k: v.contiguous() for k, v in self.weights.items()}, aside / WEIGHTS_FILE)
        (aside / CONFIG_FILE).write_text(json.dumps(description, indent=2) + "\n")
        if self.tokenizer is not None:
            (aside / TOKENIZER_FILE).write_text(self.tokenizer, encoding="utf-8", newline="")
        if self.captioner is not None:
            self.captioner.write(aside)
        if card is not None:
            (aside / CARD_FILE).write_text(card)
        for file in aside.iterdir():
            file.chmod(0o644)
        to_disk(*aside.iterdir(), aside)

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Reads and checks a checkpoint folder. Raises CheckpointError saying what is wrong."""
        description = read_config(folder)
        config = config_from_dict(description["model"])
        try:
            weights = load_file(folder / WEIGHTS_FILE)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot read {folder / WEIGHTS_FILE}: {error}") from error
        captioner = CaptionerPart.read(folder)
        checkpoint = cls(config, weights, _read_tokenizer(folder, config), captioner)
        if checkpoint.fingerprint != description["fingerprint"]:
            raise CheckpointError(
                f"{folder} is damaged or was edited: its fingerprint does not match its contents"
            )
        return checkpoint


def _read_tokenizer(folder: Path, config: ClapConfig) -> str | None:
    file = folder / TOKENIZER_FILE
    if not config.text.own:
        if file.exists():
            raise CheckpointError(f"{file} does not belong to this checkpoint")
        return None
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {file}: {error}") from error


def _some(names: set[str]) -> str:
    listed = ", ".join(sorted(names)[:5])
    return f"{listed} and {len(names) - 5} more" if len(names) > 5 else listed or "none"
