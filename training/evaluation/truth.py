"""What is right: the labels of a manifest's rows as classes and a multi-hot matrix."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from m2d_clap.model.errors import ClapError
from m2d_clap.training.evaluation.datasets import Dataset
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import Truth


@dataclass(frozen=True)
class Labelled:
    """rows that have a class, classes by name, targets (rows, classes) bool."""

    rows: tuple[Row, ...]
    classes: tuple[str, ...]
    targets: Truth

    @classmethod
    def of(
        cls, rows: Sequence[Row], dataset: Dataset, only: Collection[str] | None = None
    ) -> "Labelled":
        """Rows with a label (of `only`); the classes are those that they have, sorted.

        Raises ClapError when none is left, or when a row of a single-label set has several.
        """
        names = [class_names(row, dataset) for row in rows]
        if only is not None:
            names = [tuple(name for name in mine if name in only) for mine in names]
        kept = [i for i, mine in enumerate(names) if mine]
        if not kept:
            raise ClapError(
                f"{dataset.title}: no row that could be scored has a label: "
                "give the manifest a column 'label', or choose another --split"
            )
        if dataset.task == "single-label":
            for i in kept:
                if len(names[i]) > 1:
                    raise ClapError(
                        f"{dataset.title} has one label a clip, {rows[i].file} has "
                        f"{len(names[i])}: {', '.join(names[i][:5])}"
                    )
        classes = tuple(sorted({name for i in kept for name in names[i]}))
        number = {name: column for column, name in enumerate(classes)}
        targets = np.zeros((len(kept), len(classes)), dtype=np.bool_)
        for line, i in enumerate(kept):
            targets[line, [number[name] for name in names[i]]] = True
        return cls(tuple(rows[i] for i in kept), classes, targets)


def class_names(row: Row, dataset: Dataset) -> tuple[str, ...]:
    """The row's labels as the data set's classes are called."""
    return tuple(dict.fromkeys(dataset.class_name(label) for label in row.labels))


def trained_classes(rows: Sequence[Row], dataset: Dataset, fewest: int) -> frozenset[str]:
    """Classes with at least `fewest` clips to train on; with folds, whichever is held out."""
    counts: Counter[str] = Counter()
    most: Counter[str] = Counter()
    by_fold: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if dataset.folds or row.split == "train":
            for name in class_names(row, dataset):
                counts[name] += 1
                if dataset.folds:
                    fold = (name, row.split)
                    by_fold[fold] += 1
                    most[name] = max(most[name], by_fold[fold])
    return frozenset(name for name, count in counts.items() if count - most[name] >= fewest)
