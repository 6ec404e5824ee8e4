"""How a checkpoint's encoder is fine-tuned on a data set, as values that the training loop reads.

From the papers: AudioSet's recipe is stage 1.1 (arXiv 2503.22104); that 200 epochs, SGD, masks and
SpecAugment serve ESC-50 and Speech Commands is M2D's (arXiv 2404.06095), but the figures below have
not been compared with its table. Ours: time stretch and pitch shift where M2D resizes a random
crop; a head on the mean of all patch tokens, as in stage 1.1; the recipes of all other data sets.
"""

from dataclasses import replace

from m2d_clap.model.config import ClapConfig, ProjectorConfig, TextConfig
from m2d_clap.training.augment import Augmentation
from m2d_clap.training.evaluation.datasets import Dataset
from m2d_clap.training.stages import STAGE_1_1, Stage

AUDIOSET = replace(STAGE_1_1, name="fine-tune audioset", parent="any")

ESC_50 = replace(
    AUDIOSET,
    name="fine-tune esc-50",
    labels="one",
    optimiser="sgd",
    base_rate=0.5,
    batch=128,
    epochs=200,
    warm_up=5,
    visits=0,
    augmentation=Augmentation(stretch=1.2, shift=2, mask_mels=15, mask_frames=48 / 501),
)
SPCV2 = replace(
    ESC_50,
    name="fine-tune spcv2",
    augmentation=Augmentation(stretch=1.2, shift=2, mask_mels=30, mask_frames=48 / 101, mixed=0.3),
)
ONE_LABEL = replace(
    ESC_50, name="fine-tune", epochs=50, augmentation=replace(ESC_50.augmentation, mixed=0.3)
)
MANY_LABELS = replace(ONE_LABEL, labels="many", augmentation=AUDIOSET.augmentation)

RECIPES = {"audioset": AUDIOSET, "esc-50": ESC_50, "spcv2": SPCV2}


def recipe_of(
    dataset: Dataset,
    epochs: int | None = None,
    batch: int | None = None,
    base_rate: float | None = None,
) -> Stage:
    """The data set's own recipe, or that of its kind, with what is given instead of its values.

    Its model is to be replaced (`fitted`).
    """
    usual = MANY_LABELS if dataset.task == "multi-label" else ONE_LABEL
    recipe = RECIPES.get(dataset.name, usual)
    return replace(
        recipe,
        epochs=epochs or recipe.epochs,
        warm_up=min(recipe.warm_up, (epochs or recipe.epochs) // 2),
        batch=batch or recipe.batch,
        base_rate=base_rate or recipe.base_rate,
    )


def clip_frames(config: ClapConfig, seconds: float) -> int:
    """Frames of a clip so long."""
    front_end = config.front_end
    return 1 + round(seconds * front_end.sample_rate) // front_end.hop


def fitted(stage: Stage, config: ClapConfig, dataset: Dataset) -> Stage:
    """The recipe for a checkpoint of these sizes: its encoder with a new head, without its text.

    Training crops are a clip long, or `stage.frames` where clips are longer or of any length;
    silence follows what is shorter. The encoder's window grows to hold a crop (positions follow from
    a formula).
    """
    size = config.encoder
    frames = stage.frames
    if dataset.seconds is not None:
        frames = min(frames, clip_frames(config, dataset.seconds))
    frames = max(frames, size.patch_frames)
    model = replace(
        config,
        name=f"{config.name}-{dataset.name}",
        encoder=replace(size, frames=max(size.frames, frames)),
        projector=ProjectorConfig(),
        text=TextConfig(),
        labels=(),
        head_input=size.width,
    )
    return replace(stage, model=model, frames=frames)
