"""The training recipes as values. The loop reads them and knows no stage by name."""

from dataclasses import dataclass, replace
from typing import Literal

from m2d_clap.model.config import (
    ClapConfig,
    EncoderConfig,
    FrontEndConfig,
    ProjectorConfig,
    TextConfig,
)
from m2d_clap.model.mel import SILENCE
from m2d_clap.training.augment import NO_AUGMENTATION, Augmentation
from m2d_clap.training.m2d import PredictorConfig
from m2d_clap.training.masking import Masking

PAPER_PREDICTOR = PredictorConfig()


@dataclass(frozen=True)
class Losses:
    """Weights of the terms; a term of weight 0 is not computed.

    m2d: prediction of masked patches. contrast: sounds against captions. labels: classes.
    distil: texts as the stage's teacher understands them. ensemble: sounds as other checkpoints,
    the run's teachers, hear them together.
    """

    m2d: float = 0.0
    contrast: float = 0.0
    labels: float = 0.0
    distil: float = 0.0
    ensemble: float = 0.0

    @property
    def weights(self) -> dict[str, float]:
        """By the names the terms are measured under."""
        return {
            "loss_m2d": self.m2d,
            "loss_clap": self.contrast,
            "loss_labels": self.labels,
            "loss_distil": self.distil,
            "loss_ensemble": self.ensemble,
        }


@dataclass(frozen=True)
class Stage:
    """One recipe. A stage whose only term is `distil` hears no sounds: an epoch is all its texts."""

    name: str
    model: ClapConfig
    losses: Losses
    masking: Masking
    frames: int
    epochs: int
    warm_up: int
    batch: int
    base_rate: float
    """Learning rate per 256 sounds; with LARS and SGD the rate itself."""
    parent: str | None = None
    """The stage whose checkpoint it starts from."""
    cut: Literal["fixed", "common"] = "fixed"
    """fixed, the papers': any sounds meet in a batch, `frames` of each, shorter ones filled up
    (`fill`). common: sounds of like length meet, cut to one that most of them have."""
    predictor: PredictorConfig = PAPER_PREDICTOR
    learns: tuple[str, ...] = ("clap.", "m2d.predictor.")
    """Beginnings of the names of the weights that move."""
    fresh: tuple[str, ...] = ()
    """Of those of the model that do not come from the parent."""
    scale: float | None = None
    """Where the contrast's temperature starts; None: as the parent's."""
    contrast: Literal["pairs", "bank"] = "pairs"
    """pairs, the papers': InfoNCE over the batch. bank, for small sets with few captions: counts equal
    captions as equal and takes every caption of the training part as a negative."""
    by_label: float = 0.0
    """Share of the bank's truth that all captions of a sound's label have in common."""
    balance: float = 0.0
    """Sounds of a label with n of them are visited in proportion to n^-balance."""
    labels: Literal["many", "one"] = "many"
    """Any number of classes a sound, or exactly one."""
    optimiser: Literal["adamw", "lars", "sgd"] = "adamw"
    visits: int = 0
    """Weighted draws an epoch, no more than there are sounds; 0: every sound once."""
    ema: tuple[float, float] = (0.99995, 0.99999)
    """First and last decay of the target encoder."""
    weight_decay: float = 0.05
    clip_norm: float = 3.0
    polyak: float = 0.0
    """Decay of the averaged weights that are exported; 0: the last ones are."""
    augmentation: Augmentation = NO_AUGMENTATION
    teacher: TextConfig | None = None
    """Whose sentence embeddings are, in `distil`, the CLAP embeddings of the lesson's texts."""
    lesson: int = 0
    """Texts a step, in `distil`."""

    @property
    def hears(self) -> bool:
        """Whether any term needs sounds."""
        losses = self.losses
        return bool(losses.m2d or losses.contrast or losses.labels or losses.ensemble)

    @property
    def fill(self) -> float | None:
        """The raw log-mel behind shorter sounds; None where there is nothing to fill up.

        Zeros are the papers' in pre-training, though loud. A head would take them for a sound that
        no clip has when it is scored: it learns and is scored with silence.
        """
        if self.cut != "fixed":
            return None
        return SILENCE if self.losses.labels else 0.0

    @property
    def filled_frames(self) -> int:
        """Frames that sounds are filled up to with silence, to be scored too; 0: they are not."""
        patch = self.model.encoder.patch_frames
        return max(2, self.frames // patch) * patch if self.fill == SILENCE else 0

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        return self.base_rate * (self.batch / 256 if self.optimiser == "adamw" else 1)

    @property
    def wordings(self) -> int:
        """How many wordings of a caption are met: the papers' pairs know the caption itself only."""
        return 3 if self.contrast == "bank" else 1

    @property
    def embeds_captions(self) -> bool:
        """Whether captions are met as cached embeddings of the published text encoder."""
        return bool(self.losses.contrast) and not self.learns_text

    @property
    def learns_text(self) -> bool:
        """Whether texts go through the text encoder itself, not through cached embeddings."""
        return any(name.startswith("clap.text.") for name in self.learns)


_FRONT_END = FrontEndConfig(mean=-7.26178, std=4.35115)
"""The statistics that the published 2025 weights carry."""
_ENCODER = EncoderConfig(frames=1001)
_BERT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
}

# arXiv 2503.22104, stage 1: 2.5 M clips, NV-Embed-v2 captions through one Linear.
STAGE_1 = Stage(
    name="1",
    model=ClapConfig(
        name="m2d-clap-stage-1",
        front_end=_FRONT_END,
        projector=ProjectorConfig("semantic", dim=768),
        text=TextConfig("nv-embed-v2", projection="linear", projection_in=4096),
    ),
    losses=Losses(m2d=1.0, contrast=0.01),
    masking=Masking("random", 0.7),
    frames=608,
    epochs=300,
    warm_up=20,
    batch=2048,
    base_rate=3e-4,
)

# Stage 1.1: the audio encoder learns AudioSet's labels (or any others) under half its patches.
STAGE_1_1 = Stage(
    name="1.1",
    parent="1",
    model=replace(STAGE_1.model, name="m2d-clap-stage-1.1", encoder=_ENCODER, head_input=768),
    losses=Losses(labels=1.0),
    masking=Masking("structured", 0.5),
    learns=("clap.audio.backbone.", "clap.audio.head."),
    fresh=("audio.head.",),
    frames=1001,
    epochs=70,
    warm_up=15,
    batch=64,
    base_rate=2.0,
    optimiser="lars",
    weight_decay=0.0,
    visits=200_000,
    augmentation=Augmentation(mask_mels=30, mask_frames=192 / 1001, mixed=0.5),
)

# Stage 2: a text encoder and a new projector learn to meet the audio encoder, which stays.
STAGE_2 = Stage(
    name="2",
    parent="1.1",
    model=ClapConfig(
        name="m2d-clap-stage-2",
        front_end=_FRONT_END,
        encoder=_ENCODER,
        projector=ProjectorConfig("semantic", dim=768),
        text=TextConfig("bert-base", included=True, architecture=_BERT),
    ),
    losses=Losses(contrast=1.0),
    masking=Masking("structured", 0.3),
    learns=("clap.text.", "clap.audio.audio_proj.", "clap.logit_scale"),
    fresh=("text.", "audio.audio_proj.", "logit_scale"),
    scale=100.0,
    frames=1001,
    epochs=30,
    warm_up=5,
    batch=2048,
    base_rate=3e-6,
)

# Stage 2.1: the same goes on, on captions of better quality and with every patch in sight.
STAGE_2_1 = replace(
    STAGE_2,
    name="2.1",
    parent="2",
    model=replace(STAGE_2.model, name="m2d-clap-2025"),
    masking=Masking(),
    fresh=(),
    scale=None,
)

# The same four for a few thousand clips on a laptop: small ViT, MiniLM's space, strong variation.
STAGE_1_MINI = Stage(
    name="1-mini",
    model=ClapConfig(
        name="m2d-clap-mini",
        licence="Apache-2.0",
        front_end=FrontEndConfig(mean=-8.97, std=4.75),
        encoder=EncoderConfig(
            frames=320, patch_mels=80, patch_frames=4, width=192, depth=6, heads=3
        ),
        projector=ProjectorConfig("mlp", dim=384, hidden=384),
        text=TextConfig("minilm", max_tokens=256),
    ),
    predictor=PredictorConfig(width=96, depth=2, heads=3),
    cut="common",
    contrast="bank",
    by_label=0.3,
    balance=0.4,
    losses=Losses(m2d=0.3, contrast=1.0),
    masking=Masking("random", 0.5),
    frames=320,
    epochs=190,
    warm_up=5,
    batch=128,
    base_rate=1.2e-3,
    ema=(0.99, 0.999),
    polyak=0.998,
    augmentation=Augmentation(
        gain_db=10,
        filter_db=3,
        noisy=0.3,
        stretch=1.2,
        shift=2,
        mask_mels=12,
        mask_frames=0.2,
        mixed=0.4,
    ),
)
# The same sounds once more with few variations and all of them in captions: what strong variation
# taught, said clearly.
STAGE_1_GENTLE_MINI = replace(
    STAGE_1_MINI,
    name="1-gentle-mini",
    parent="1-mini",
    losses=Losses(contrast=1.0),
    masking=Masking("random", 0.3),
    augmentation=replace(
        STAGE_1_MINI.augmentation,
        gain_db=6,
        filter_db=1.5,
        noisy=0.1,
        mask_mels=8,
        mask_frames=0.15,
        mixed=0.15,
    ),
    epochs=24,
    warm_up=1,
    base_rate=3e-4,
    polyak=0.995,
)
# Another model of the same sounds, in squares of 160 ms, errs elsewhere; of both together a last
# stage learns from every variation what neither knows alone.
STAGE_1_SQUARES_MINI = replace(
    STAGE_1_MINI,
    name="1-squares-mini",
    model=replace(
        STAGE_1_MINI.model,
        name="m2d-clap-mini-squares",
        encoder=EncoderConfig(frames=320, width=192, depth=6, heads=3),
    ),
    losses=Losses(m2d=1.0, contrast=1.0),
    epochs=150,
)
STAGE_1_ENSEMBLE_MINI = replace(
    STAGE_1_GENTLE_MINI,
    name="1-ensemble-mini",
    parent="1-gentle-mini",
    losses=Losses(ensemble=1.0),
    learns=("clap.audio.",),
    augmentation=STAGE_1_MINI.augmentation,
    base_rate=6e-4,
)
STAGE_1_1_MINI = replace(
    STAGE_1_MINI,
    name="1.1-mini",
    parent="1-mini",
    model=replace(STAGE_1_MINI.model, name="m2d-clap-mini-1.1", head_input=192),
    losses=Losses(labels=1.0),
    masking=Masking("structured", 0.3),
    learns=STAGE_1_1.learns,
    fresh=STAGE_1_1.fresh,
    labels="one",
    epochs=20,
    warm_up=2,
    base_rate=3e-4,
)
# At this size the sentence encoder of stage 1, done with teaching sounds, teaches a small text
# encoder of our own to say what it would say; the audio side stays as it is.
STAGE_2_MINI = replace(
    STAGE_1_MINI,
    name="2-mini",
    parent="1-mini",
    model=replace(
        STAGE_1_MINI.model,
        text=TextConfig(
            "wordpiece-mini",
            included=True,
            max_tokens=64,
            architecture={
                "vocab_size": 30522,
                "embedding_size": 128,
                "hidden_size": 256,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "intermediate_size": 1024,
                "max_position_embeddings": 64,
            },
            projection="linear",
            projection_in=256,
        ),
    ),
    losses=Losses(distil=1.0),
    masking=Masking(),
    learns=("clap.text.", "clap.text_projection."),
    fresh=("text.", "text_projection."),
    teacher=STAGE_1_MINI.model.text,
    lesson=256,
    augmentation=NO_AUGMENTATION,
    batch=256,
    epochs=12,
    warm_up=1,
    base_rate=1e-3,
    polyak=0.998,
)
# The paper's way beside it: text encoder and a new projector meet the audio encoder in captions.
STAGE_2_1_MINI = replace(
    STAGE_2_MINI,
    name="2.1-mini",
    parent="2-mini",
    model=replace(
        STAGE_2_MINI.model,
        name="m2d-clap-mini-2.1",
        projector=ProjectorConfig("semantic", dim=384),
    ),
    losses=Losses(contrast=1.0, distil=1.0),
    masking=Masking("structured", 0.3),
    learns=(*STAGE_2_MINI.learns, "clap.audio.audio_proj.", "clap.logit_scale"),
    fresh=("audio.audio_proj.", "logit_scale"),
    scale=20.0,
    augmentation=replace(STAGE_1_MINI.augmentation, mixed=0.0),
    lesson=64,
    batch=128,
    epochs=20,
)

STAGES = {
    stage.name: stage
    for stage in (
        *(STAGE_1, STAGE_1_1, STAGE_2, STAGE_2_1),
        *(STAGE_1_MINI, STAGE_1_GENTLE_MINI, STAGE_1_SQUARES_MINI, STAGE_1_ENSEMBLE_MINI),
        *(STAGE_1_1_MINI, STAGE_2_MINI, STAGE_2_1_MINI),
    )
}
