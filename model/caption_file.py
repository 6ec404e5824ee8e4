"""The captioner as an optional part of a checkpoint: two files beside the model's.

captioner.json          format version, fingerprint, the encoder it was trained on, sizes, vocabulary
captioner.safetensors   every weight, float32 or float16

It changes nothing of the model's own files and fingerprint, so that an index stays valid.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from m2d_clap.model.captioner import CaptionerConfig
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.description import CAPTIONER_FILE, CAPTIONER_VERSION, read_captioner
from m2d_clap.model.errors import CheckpointError

CAPTIONER_WEIGHTS = "captioner.safetensors"


@dataclass(frozen=True)
class CaptionerPart:
    """Settings, vocabulary (tokenizer.json as text) and weights.

    hears: the fingerprint of the audio side it was trained on (`Checkpoint.hearing`).
    """

    config: CaptionerConfig
    vocabulary: str
    weights: Mapping[str, Tensor]
    hears: str

    @classmethod
    def of(
        cls, captioner: Captioner, hears: str, dtype: torch.dtype = torch.float32
    ) -> "CaptionerPart":
        """A snapshot."""
        state = captioner.decoder.state_dict()
        weights = {name: weight.to("cpu", dtype, copy=True) for name, weight in state.items()}
        return cls(captioner.decoder.config, captioner.tokenizer.definition, weights, hears)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over all of it."""
        sizes = dataclasses.asdict(self.config)
        if not sizes["patches"]:  # captioners that were made before it could be set
            del sizes["patches"]
        facts = [sizes, self.vocabulary, self.hears]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest_of_weights(digest, self.weights)
        return digest.hexdigest()

    def captioner(self, device: str | torch.device = "cpu") -> Captioner:
        """Float32, in evaluation mode. Raises CheckpointError where weights do not fit."""
        captioner = Captioner(self.config, self.vocabulary)
        expected = captioner.decoder.state_dict()
        if {n: w.shape for n, w in expected.items()} != {
            n: w.shape for n, w in self.weights.items()
        }:
            raise CheckpointError("the captioner's weights do not fit its settings")
        for name, weight in expected.items():
            weight.copy_(self.weights[name])
        return captioner.eval().to(device)

    def write(self, folder: Path) -> None:
        """Adds its files to a checkpoint's folder that is being written."""
        description = {
            "format_version": CAPTIONER_VERSION,
            "fingerprint": self.fingerprint,
            "hears": self.hears,
            "captioner": dataclasses.asdict(self.config),
            "vocabulary": json.loads(self.vocabulary),
        }
        save_file({n: w.contiguous() for n, w in self.weights.items()}, folder / CAPTIONER_WEIGHTS)
        text = json.dumps(description, ensure_ascii=False, separators=(",", ":"))
        (folder / CAPTIONER_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "CaptionerPart | None":
        """None where the folder has none. Raises CheckpointError saying what is wrong."""
        description = read_captioner(folder)
        if description is None:
            return None
        file = folder / CAPTIONER_WEIGHTS
        try:
            part = cls(
                CaptionerConfig(**description["captioner"]).validate(),
                vocabulary_text(description["vocabulary"]),
                load_file(file),
                description["hears"],
            )
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"cannot read {file}: {error}") from error
        except TypeError as error:
            raise CheckpointError(f"{folder / CAPTIONER_FILE} is damaged: {error}") from error
        if part.fingerprint != description["fingerprint"]:
            raise CheckpointError(
                f"the captioner in {folder} is damaged or was edited: its fingerprint does not "
                "match its contents"
            )
        return part


def vocabulary_text(vocabulary: Mapping[str, Any]) -> str:
    """A vocabulary as the one text that its fingerprint is made of."""
    return json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))


def digest_of_weights(digest: Any, weights: Mapping[str, Tensor]) -> None:
    """Adds names, types, shapes and numbers to a hash."""
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
