"""Both encoders together: sounds and sentences as vectors of one space (arXiv 2503.22104)."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2d_clap.model.audio import Waveform
from m2d_clap.model.audio_encoder import AudioEncoder, TokenGrid
from m2d_clap.model.config import ClapConfig
from m2d_clap.model.errors import BadSamplesError
from m2d_clap.model.mel import SILENCE, log_mel, normalise
from m2d_clap.model.projector import build_text_projection
from m2d_clap.model.text_encoder import (
    TextEncoder,
    find_tokenizer,
    included_text_encoder,
    load_text_encoder,
)

Precision = Literal["float32", "bfloat16"]
CACHED_TEXTS = 4096


class Clap(nn.Module):
    """Audio encoder, text encoder (inside the checkpoint or found when first needed), scale.

    CLAP embeddings are un-normalised, as the papers define them.
    """

    def __init__(self, config: ClapConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = AudioEncoder(config)
        self.text_projection = build_text_projection(config.text, config.clap_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.text: TextEncoder | None = (
            included_text_encoder(config.text) if config.text.included else None
        )
        self.precision: Precision = "float32"
        self.text_encoder_path: Path | None = None
        # In a list, so that an encoder from outside is no part of this module's weights.
        self._outside: list[TextEncoder] = []
        self._texts: OrderedDict[str, Tensor] = OrderedDict()
        self._texts_of = 0

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    def log_mel(self, waveform: Waveform) -> Tensor:
        """Normalised log-mel (1, mels, frames) on the model's device."""
        front_end = self.config.front_end
        if waveform.sample_rate != front_end.sample_rate:
            raise BadSamplesError(
                f"this model hears at {front_end.sample_rate} Hz, not {waveform.sample_rate} Hz: "
                "resample the waveform first"
            )
        samples = torch.from_numpy(waveform.samples)
        if self.device.type == "cuda":
            samples = samples.pin_memory().to(self.device, non_blocking=True)
        return normalise(log_mel(samples.unsqueeze(0), front_end), front_end)[0]

    @torch.inference_mode()
    def grids(self, log_mels: Sequence[Tensor]) -> list[TokenGrid]:
        """Token grids of sounds of any lengths, from their normalised log-mels."""
        with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bfloat16"):
            return self.audio.grids(log_mels)

    @torch.inference_mode()
    def project(self, grids: Sequence[TokenGrid]) -> Tensor:
        """CLAP embeddings (sounds, dim) float32."""
        with torch.autocast(self.device.type, torch.bfloat16, self.precision == "bfloat16"):
            return self.audio.project(grids).float()

    def embed_audio(self, waveforms: Sequence[Waveform]) -> Tensor:
        """CLAP embeddings (sounds, dim) float32. The same alone and in any batch."""
        return self.project(self.grids([self.log_mel(w) for w in waveforms]))

    @torch.inference_mode()
    def logits(self, log_mels: Sequence[Tensor]) -> Tensor:
        """What the head says of sounds, from their normalised log-mels: (sounds, classes) float32, whose
        sigmoids are probabilities. Only where `config.labels` is set."""
        grids = self.grids([self.filled(log_mel) for log_mel in log_mels])
        features = torch.stack([grid.clip(self.audio.head_is_stacked) for grid in grids])
        return self.audio.logits(features.float()).float()

    def filled(self, log_mel: Tensor) -> Tensor:
        """(1, mels, frames) normalised → as long as the head knows sounds, with silence behind it."""
        missing = self.config.head_frames - log_mel.shape[-1]
        if missing <= 0:
            return log_mel
        silence = normalise(torch.tensor(SILENCE), self.config.front_end)
        return F.pad(log_mel, (0, missing), value=float(silence))

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """CLAP embeddings (texts, dim) float32; texts seen lately come from a small cache.

        Raises TextEncoderError where the text encoder cannot be found.
        """
        weights = (
            *self.text_projection.parameters(),
            *(self.text.parameters() if self.text else ()),
        )
        state = sum(weight._version for weight in weights)  # counts what changed them in place
        if state != self._texts_of:
            self._texts.clear()
            self._texts_of = state
        # Other threads may add to the cache, and so push out of it, at any time.
        seen = {text: self._texts.get(text) for text in texts}
        found = {text: known for text, known in seen.items() if known is not None}
        new = [text for text in seen if text not in found]
        for start in range(0, len(new), 64):
            batch = new[start : start + 64]
            sentences = self.text_encoder().embed(batch)
            embedded = self.text_projection(sentences.to(self.device)).float()
            found.update(zip(batch, embedded, strict=True))
        for text, embedding in found.items():
            self._texts.pop(text, None)
            self._texts[text] = embedding
        while len(self._texts) > CACHED_TEXTS:
            self._texts.popitem(last=False)
        return torch.stack([found[text] for text in texts])

    def text_encoder(self) -> TextEncoder:
        """The text encoder, loaded at the first call where it is not inside the checkpoint."""
        if self.text is None:
            if not self._outside:
                loaded = load_text_encoder(self.config.text, self.text_encoder_path)
                self._outside.append(loaded.to(self.device))
            return self._outside[0]
        if self.text.tokenizer is None and self.text.pooling != "own":
            self.text.tokenizer = find_tokenizer(self.config.text, self.text_encoder_path)
        return self.text


def fastest_precision(device: str) -> Precision:
    """bfloat16 where the device computes in it, else float32: emulated it takes many times as long."""
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Older releases of torch do not tell.
        known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        able = bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    return "bfloat16" if able else "float32"


def similarity(audio: Tensor, text: Tensor) -> Tensor:
    """Cosines (sounds, texts) of un-normalised embeddings, in −1 … 1."""
    return F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T
