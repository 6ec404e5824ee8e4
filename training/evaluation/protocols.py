"""A model, the rows of a manifest and a data set → the scores of the protocols asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from m2d_clap.model.clap import Clap
from m2d_clap.model.errors import ClapError
from m2d_clap.training.evaluation.clips import Listener, Stretch, from_start
from m2d_clap.training.evaluation.datasets import Dataset, Protocol
from m2d_clap.training.evaluation.fine_tune import FineTuneScore
from m2d_clap.training.evaluation.head import LINEAR, HeadRecipe
from m2d_clap.training.evaluation.linear import LinearScore, linear_evaluation
from m2d_clap.training.evaluation.retrieval import (
    Captioned,
    CaptionRetrieval,
    caption_retrieval,
)
from m2d_clap.training.evaluation.tagging import TaggingScore, tagging
from m2d_clap.training.evaluation.truth import Labelled, trained_classes
from m2d_clap.training.evaluation.zero_shot import ZeroShotScore, zero_shot
from m2d_clap.training.manifest import Row, is_fold

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scores:
    """What was asked for, None for the rest."""

    retrieval: CaptionRetrieval | None = None
    zero_shot: ZeroShotScore | None = None
    linear: LinearScore | None = None
    tagging: TaggingScore | None = None
    fine_tune: FineTuneScore | None = None


@dataclass(frozen=True)
class Question:
    """What to score on: every row of a manifest, and which of them count.

    split: the part scored; with folds every row is. zero_shot_of: rows that count
    for prompts. fewest: clips to train on that a class needs to count, wherever labels do.
    """

    rows: Sequence[Row]
    dataset: Dataset
    split: str = "test"
    zero_shot_of: Callable[[Row], bool] = lambda row: True
    fewest: int = 0

    @property
    def folded(self) -> bool:
        """Whether folds take turns; a manifest may cut a data set that has them in its own way."""
        return self.dataset.folds > 0 and any(is_fold(row.split) for row in self.rows)

    @property
    def scored(self) -> list[Row]:
        """Raises ClapError when there is none."""
        rows = [row for row in self.rows if self.folded or row.split == self.split]
        if not rows:
            splits = ", ".join(sorted({row.split for row in self.rows})) or "none"
            raise ClapError(
                f"there is nothing to evaluate: no row is in the split {self.split!r} "
                f"(the manifest's splits: {splits})"
            )
        return rows

    @property
    def used(self) -> list[Row]:
        """The scored rows, and those that a head or a copy of the encoder learns from."""
        parts = ("train", "valid", self.split)
        return [row for row in self.rows if self.folded or row.split in parts]

    @property
    def classes(self) -> frozenset[str] | None:
        """Classes that count; None for all of them."""
        if not self.fewest:
            return None
        return trained_classes(self.rows, self.dataset, self.fewest)


def ask(
    clap: Clap,
    question: Question,
    protocols: Sequence[Protocol],
    recipe: HeadRecipe = LINEAR,
    progress: Progress = lambda what, done, of: None,
) -> Scores:
    """Scores one model; sounds that several protocols hear are encoded once.

    progress: (what is done, how many, of how many). Raises ClapError saying which row, class or
    split stands in the way.
    """
    dataset, scored = question.dataset, question.scored
    listener = Listener(clap, lambda done, of: progress("clips", done, of))
    retrieval = prompts = linear = tags = None
    if Protocol.RETRIEVAL in protocols:
        captioned = Captioned.of(scored)
        whole = [Stretch(file, None) for file in captioned.files]
        retrieval = caption_retrieval(clap, listener.embed(whole).clap, captioned)
    if Protocol.ZERO_SHOT in protocols:
        chosen = [row for row in scored if question.zero_shot_of(row)]
        labelled = Labelled.of(chosen, dataset, question.classes)
        heard = listener.embed(from_start(labelled.rows, dataset.seconds))
        prompts = zero_shot(clap, heard.clap, labelled, dataset)
    if Protocol.TAGGING in protocols:
        labelled = Labelled.of(scored, dataset, question.classes)
        tags = tagging(listener, labelled, dataset)
    if Protocol.LINEAR in protocols:
        linear = linear_evaluation(
            listener,
            Labelled.of(question.used, dataset, question.classes),
            dataset,
            question.split,
            recipe,
            progress=lambda done, of: progress("heads", done, of),
        )
    return Scores(retrieval, prompts, linear, tags)
