"""Zero-shot classification: the cosine of a sound to one sentence a class."""

from dataclasses import dataclass

from torch import Tensor

from m2d_clap.model.clap import Clap, similarity
from m2d_clap.training.evaluation.datasets import Dataset, Metric
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.metrics import Scores, accuracy, mean_average_precision


@dataclass(frozen=True)
class ZeroShotScore:
    """Accuracy, or macro average precision where clips have several labels, over n clips.

    Of a data set with folds all clips count, once.
    """

    metric: Metric
    n: int
    classes: int
    score: float


def zero_shot(clap: Clap, audio: Tensor, labelled: Labelled, dataset: Dataset) -> ZeroShotScore:
    """audio: (rows, dim) CLAP embeddings. Raises TextEncoderError without a text encoder."""
    scores = prompt_scores(clap, audio, labelled, dataset)
    if dataset.task == "single-label":
        classes = labelled.targets.argmax(axis=1)
        return ZeroShotScore("accuracy", len(scores), scores.shape[1], accuracy(scores, classes))
    found = mean_average_precision(scores, labelled.targets)
    return ZeroShotScore("mean_ap", len(scores), scores.shape[1], found)


def prompt_scores(clap: Clap, audio: Tensor, labelled: Labelled, dataset: Dataset) -> Scores:
    """Cosines (rows, classes) of sounds to the classes' prompts."""
    sentences = clap.embed_text([dataset.prompt(name) for name in labelled.classes])
    scores: Scores = similarity(audio.to(sentences.device), sentences).float().cpu().numpy()
    return scores
