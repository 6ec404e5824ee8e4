"""Everything about a model but its weights, as frozen values that travel inside the checkpoint."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from m2d_clap.model.errors import CheckpointError

ProjectorKind = Literal["none", "mlp", "semantic"]
TextKind = Literal["none", "bert-base", "gte-base", "minilm", "nv-embed-v2", "wordpiece-mini"]
TextProjectionKind = Literal["none", "linear", "mlp"]


Engine = Literal["torch", "compile", "openvino"]
"""What runs the audio encoder's blocks."""


@dataclass(frozen=True)
class FrontEndConfig:
    """Log-mel spectrogram settings. Times are in samples, frequencies in Hz.

    `mean` and `std` are the statistics of the raw log-mel (natural log) over the training data;
    the defaults are those of the reference where a checkpoint carries none.
    """

    sample_rate: int = 16000
    n_fft: int = 400
    hop: int = 160
    mels: int = 80
    f_min: float = 50.0
    f_max: float = 8000.0
    mean: float = -7.1
    std: float = 4.2

    @classmethod
    def for_rate(cls, sample_rate: int, mean: float = -7.1, std: float = 4.2) -> "FrontEndConfig":
        """The published front end of a sample rate: 25 ms windows every 10 ms, up to Nyquist."""
        return cls(
            sample_rate=sample_rate,
            n_fft=sample_rate // 40,
            hop=sample_rate // 100,
            f_max=sample_rate / 2,
            mean=mean,
            std=std,
        )

    @property
    def min_samples(self) -> int:
        """The fewest samples the reflect padding can work on; shorter sounds get zeros behind."""
        return self.n_fft // 2 + 1


@dataclass(frozen=True)
class EncoderConfig:
    """A ViT over log-mel patches (M2D, arXiv 2210.14648; ViT-Base in the published models)."""

    frames: int = 608
    patch_mels: int = 16
    patch_frames: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0

    @property
    def columns(self) -> int:
        """Patch columns of a full window; trailing frames short of a patch are dropped."""
        return self.frames // self.patch_frames


@dataclass(frozen=True)
class ProjectorConfig:
    """Tokens → CLAP embedding: `mlp` is the 2024 model's, `semantic` the 2025 model's."""

    kind: ProjectorKind = "none"
    dim: int = 768
    hidden: int = 768
    blocks: int = 1
    heads: int = 1
    mlp_ratio: float = 1.0


@dataclass(frozen=True)
class TextConfig:
    """Which text encoder the embeddings are aligned with, and whether its weights are inside."""

    kind: TextKind = "none"
    included: bool = False
    max_tokens: int = 512
    architecture: Mapping[str, Any] = field(default_factory=dict)
    """Hugging Face configuration of the included encoder (of `wordpiece-mini`: its own, in the
    same names); empty when it is not inside."""
    projection: TextProjectionKind = "none"
    projection_in: int = 0
    projection_hidden: int = 0

    @property
    def own(self) -> bool:
        """Whether encoder and tokenizer are published nowhere and always inside the checkpoint."""
        return self.kind == "wordpiece-mini"


@dataclass(frozen=True)
class ClapConfig:
    """The whole model. `labels` names the classes of the tagging head; empty means no head."""

    name: str = "m2d-clap"
    licence: str = "unknown"
    front_end: FrontEndConfig = FrontEndConfig()
    encoder: EncoderConfig = EncoderConfig()
    projector: ProjectorConfig = ProjectorConfig()
    text: TextConfig = TextConfig()
    labels: tuple[str, ...] = ()
    head_input: int = 0
    head_frames: int = 0
    """Of the log-mel: silence follows shorter sounds before the head hears them, as it did where it
    learned."""

    @property
    def grid_rows(self) -> int:
        """Patches along frequency."""
        return self.front_end.mels // self.encoder.patch_mels

    @property
    def clap_dim(self) -> int:
        """Width of CLAP embeddings."""
        return self.encoder.width if self.projector.kind == "none" else self.projector.dim

    @property
    def stacked_width(self) -> int:
        """Width of conventional features: the frequency patches of a time step side by side."""
        return self.grid_rows * self.encoder.width

    def validate(self) -> "ClapConfig":
        """Returns itself, or raises CheckpointError naming the setting that cannot be."""
        rules = {
            "front_end.mels must be a multiple of encoder.patch_mels": self.front_end.mels
            % self.encoder.patch_mels
            == 0,
            "encoder.width must be a multiple of encoder.heads": self.encoder.width
            % self.encoder.heads
            == 0,
            "encoder.width must be a multiple of 4 (2-D sin-cos positions)": self.encoder.width % 4
            == 0,
            "encoder.frames must hold at least one patch": self.encoder.columns >= 1,
            "front_end.std must be positive": self.front_end.std > 0,
            "head_frames must not be negative": self.head_frames >= 0,
            "text.included must be true for an encoder of our own": self.text.included
            or not self.text.own,
            "text.max_tokens must be within text.architecture.max_position_embeddings": (
                not self.text.own
                or self.text.max_tokens <= self.text.architecture.get("max_position_embeddings", 0)
            ),
            "head_input must be encoder.width or the stacked width": not self.labels
            or self.head_input in (self.encoder.width, self.stacked_width),
        }
        for rule, holds in rules.items():
            if not holds:
                raise CheckpointError(f"the model's settings are inconsistent: {rule}")
        return self


def config_to_dict(config: ClapConfig) -> dict[str, Any]:
    """Plain JSON values, the inverse of `config_from_dict`."""
    values = dataclasses.asdict(config)
    if (
        not config.head_frames
    ):  # checkpoints made before there was this setting keep their fingerprint
        del values["head_frames"]
    return values


def config_from_dict(values: Mapping[str, Any]) -> ClapConfig:
    """Strict: an unknown, missing or mistyped setting raises CheckpointError naming it."""
    parts: dict[str, type[Any]] = {
        "front_end": FrontEndConfig,
        "encoder": EncoderConfig,
        "projector": ProjectorConfig,
        "text": TextConfig,
    }
    if isinstance(values, Mapping):
        values = {"head_frames": 0, **values}
    whole = _strict(ClapConfig, values, "model")
    for name, part in parts.items():
        whole[name] = part(**_strict(part, whole[name], name))
    whole["labels"] = tuple(whole["labels"])
    config = ClapConfig(**whole)
    for value, choices in (
        (config.projector.kind, ProjectorKind),
        (config.text.kind, TextKind),
        (config.text.projection, TextProjectionKind),
    ):
        if value not in get_args(choices):
            raise CheckpointError(f"{value!r} is not one of {', '.join(get_args(choices))}")
    return config.validate()


def _strict(kind: type[Any], values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise CheckpointError(f"the settings of {where!r} are not a JSON object")
    names: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(kind)}
    wrong = sorted(set(values) ^ set(names))
    if wrong:
        raise CheckpointError(f"settings unknown or missing in {where!r}: {', '.join(wrong)}")
    for name, value in values.items():
        kind_of = names[name]
        wanted = (int, float) if kind_of is float else kind_of
        if kind_of in (int, float, str, bool) and not isinstance(value, wanted):
            raise CheckpointError(f"setting {name!r} in {where!r} has a wrong type: {value!r}")
    return dict(values)
