"""BERT without its pooler (Devlin et al., arXiv 1810.04805), which GTE and MiniLM are too.

Settings and weights have Hugging Face's names. `transformers` has it as well, but takes four seconds
to import, which every start of a server and every search would wait for; it loads all other kinds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from m2d_clap.model.errors import CheckpointError, TextEncoderError
from m2d_clap.model.text_transformer import States

_ONLY = {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}


@dataclass(frozen=True)
class BertSizes:
    """Of BERT-base, where nothing else is said."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "BertSizes":
        """From a Hugging Face configuration. Raises CheckpointError where it is another BERT."""
        for name, only in _ONLY.items():
            if settings.get(name, only) != only:
                raise CheckpointError(f"a BERT with {name} {settings[name]!r} cannot be read")
        known = {field.name for field in fields(cls)}
        sizes = cls(**{name: value for name, value in settings.items() if name in known})
        if sizes.hidden_size % sizes.num_attention_heads:
            raise CheckpointError(
                f"{sizes.num_attention_heads} heads cannot share a width of {sizes.hidden_size}"
            )
        return sizes


class Bert(nn.Module):
    """Token ids → states, called as transformers' is. Nothing drops out."""

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(sizes.vocab_size, width),
                "position_embeddings": nn.Embedding(sizes.max_position_embeddings, width),
                "token_type_embeddings": nn.Embedding(sizes.type_vocab_size, width),
                "LayerNorm": nn.LayerNorm(width, sizes.layer_norm_eps),
            }
        )
        layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        """Token ids → (…, width), as transformers names it."""
        return self.embeddings["word_embeddings"]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> States:
        """Both (batch, length) int64; the states of padding mean nothing. Without a mask there is
        none."""
        part = self.embeddings
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = part["word_embeddings"](input_ids) + part["position_embeddings"](places)
        x = part["LayerNorm"](x + part["token_type_embeddings"](torch.zeros_like(places)))
        seen = None if attention_mask is None else attention_mask[:, None, None, :].bool()
        for layer in self.encoder["layer"]:  # type: ignore[attr-defined]
            x = layer(x, seen)
        return States(x)


class _Layer(nn.Module):
    """Post-norm: attention, then two linear layers."""

    def __init__(self, sizes: BertSizes) -> None:
        super().__init__()
        width, inner, eps = sizes.hidden_size, sizes.intermediate_size, sizes.layer_norm_eps
        self.heads = sizes.num_attention_heads
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict(
                    {name: nn.Linear(width, width) for name in ("query", "key", "value")}
                ),
                "output": _residual(width, width, eps),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = _residual(inner, width, eps)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        split = (batch, length, self.heads, width // self.heads)
        query, key, value = (
            linear(x).view(split).transpose(1, 2)
            for linear in self.attention["self"].values()  # type: ignore[operator]
        )
        heard = F.scaled_dot_product_attention(query, key, value, seen)
        x = _added(self.attention["output"], heard.transpose(1, 2).reshape(batch, length, width), x)
        return _added(self.output, F.gelu(self.intermediate["dense"](x)), x)


def _residual(inner: int, width: int, eps: float) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inner, width), "LayerNorm": nn.LayerNorm(width, eps)})


def _added(part: Any, heard: Tensor, x: Tensor) -> Tensor:
    added: Tensor = part["LayerNorm"](part["dense"](heard) + x)
    return added


def read_bert(folder: Path) -> Bert | None:
    """The BERT of a Hugging Face folder; None where it is another model, or not in safetensors.

    Raises TextEncoderError where its files are damaged.
    """
    file = folder / "model.safetensors"
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if settings.get("model_type") != "bert" or not file.is_file():
            return None
        sizes = BertSizes.of(settings)
    except CheckpointError:
        return None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise TextEncoderError(f"{folder / 'config.json'} cannot be read: {error}") from error
    try:
        weights = {_name(key): weight.float() for key, weight in load_file(file).items()}
        bert = Bert(sizes)
        expected = bert.state_dict().keys()
        bert.load_state_dict({k: weights[k] for k in expected})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise TextEncoderError(f"{file} cannot be read: {error}") from error
    return bert


def _name(key: str) -> str:
    """Of weights saved with a head before them, or by TensorFlow's names of old."""
    key = key.removeprefix("bert.")
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        key = key.replace(old, new)
    return key
