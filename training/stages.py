"""The training recipes as values. The loop reads them and knows no stage by name."""

from dataclasses import dataclass
from typing import Literal

from m2d_clap.model.config import (
    ClapConfig,
    EncoderConfig,
    FrontEndConfig,
    ProjectorConfig,
    TextConfig,
)
from m2d_clap.training.augment import NO_AUGMENTATION, Augmentation
from m2d_clap.training.m2d import PredictorConfig


@dataclass(frozen=True)
class Stage:
    """One recipe.

    contrast: "pairs" is the papers' InfoNCE over the batch; "bank" counts equal captions as equal
    and takes every caption of the training part as a negative, for small sets with few captions.
    base_rate: learning rate per 256 sounds. polyak: decay of the averaged weights that are
    exported, 0 for the last ones. ema: first and last decay of the target encoder.
    """

    name: str
    model: ClapConfig
    predictor: PredictorConfig
    contrast: Literal["pairs", "bank"]
    m2d_weight: float
    contrast_weight: float
    mask_ratio: float
    frames: int
    epochs: int
    warm_up: int
    batch: int
    base_rate: float
    ema: tuple[float, float]
    weight_decay: float = 0.05
    clip_norm: float = 3.0
    polyak: float = 0.0
    augmentation: Augmentation = NO_AUGMENTATION

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        return self.base_rate * self.batch / 256


# arXiv 2503.22104, stage 1: 2.5 M clips, NV-Embed-v2 captions through one Linear.
STAGE_1 = Stage(
    name="1",
    model=ClapConfig(
        name="m2d-clap-stage-1",
        projector=ProjectorConfig("semantic", dim=768),
        text=TextConfig("nv-embed-v2", projection="linear", projection_in=4096),
    ),
    predictor=PredictorConfig(),
    contrast="pairs",
    m2d_weight=1.0,
    contrast_weight=0.01,
    mask_ratio=0.7,
    frames=608,
    epochs=300,
    warm_up=20,
    batch=2048,
    base_rate=3e-4,
    ema=(0.99995, 0.99999),
)

# The same for a few thousand clips on a laptop: small ViT, MiniLM's space, strong variation.
STAGE_1_MINI = Stage(
    name="1-mini",
    model=ClapConfig(
        name="m2d-clap-mini",
        licence="Apache-2.0",
        front_end=FrontEndConfig(mean=-8.97, std=4.75),
        encoder=EncoderConfig(frames=608, width=192, depth=6, heads=3),
        projector=ProjectorConfig("mlp", dim=384, hidden=384),
        text=TextConfig("minilm", max_tokens=256),
    ),
    predictor=PredictorConfig(width=96, depth=2, heads=3),
    contrast="bank",
    m2d_weight=1.0,
    contrast_weight=1.0,
    mask_ratio=0.5,
    frames=320,
    epochs=130,
    warm_up=5,
    batch=128,
    base_rate=1.2e-3,
    ema=(0.99, 0.999),
    polyak=0.998,
    augmentation=Augmentation(
        gain_db=6, stretch=1.2, shift=2, mask_mels=12, mask_frames=0.2, mixed=0.35
    ),
)

STAGES = {stage.name: stage for stage in (STAGE_1, STAGE_1_MINI)}
