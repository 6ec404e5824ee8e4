"""Which rows train, validate and test a head: the manifest's splits, or folds that take turns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model.errors import ClapError
from m2d_clap.training.evaluation.datasets import Dataset
from m2d_clap.training.evaluation.truth import Labelled
from m2d_clap.training.manifest import is_fold
from m2d_clap.training.metrics import Truth

VALID_SHARE = 0.1
DRAWS = 10_000

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Row numbers of one round; no row is in two of them. name: the fold, or the split tested."""

    name: str
    train: Numbers
    valid: Numbers
    test: Numbers


def parts(
    labelled: Labelled, dataset: Dataset, split: str, seed: int = 42, draw: bool = True
) -> list[Part]:
    """One round for a data set with splits, one for every fold otherwise.

    Without rows of the split "valid", a random tenth of the training rows validates, drawn again
    until every class is in it and in what is left (EVAR, ESC-50 and US8K); without `draw` they all
    train and none validates.
    Raises ClapError when a part is empty or a class cannot be learned.
    """
    if dataset.folds:
        return _folds(labelled, dataset, seed, draw)
    train = _rows(labelled, "train")
    valid = _rows(labelled, "valid") if split != "valid" else train[:0]
    test = _rows(labelled, split)
    if split == "train":
        raise ClapError("this protocol trains on the split 'train': score another --split")
    for name, numbers in (("train", train), (split, test)):
        if not len(numbers):
            raise ClapError(f"{dataset.title}: no labelled row is in the split {name!r}")
    if not len(valid) and draw:
        _all_present(labelled, train, dataset, "the split 'train'")
        train, valid = _with_validation(labelled.targets, train, dataset, seed)
    return [_checked(labelled, Part(split, train, valid, test), dataset)]


def _folds(labelled: Labelled, dataset: Dataset, seed: int, draw: bool) -> list[Part]:
    of_row = np.array([row.split for row in labelled.rows])
    names = sorted(set(of_row.tolist()), key=lambda name: (len(name), name))
    if len(names) != dataset.folds or not all(map(is_fold, names)):
        raise ClapError(
            f"{dataset.title} has {dataset.folds} folds that take turns as the test part; the "
            f"manifest's column 'split' names {', '.join(names)}"
        )
    rounds = []
    for number, name in enumerate(names):
        others = np.flatnonzero(of_row != name)
        _all_present(labelled, others, dataset, f"all folds but {name}")
        train, valid = others, others[:0]
        if draw:
            train, valid = _with_validation(labelled.targets, others, dataset, seed + number)
        test = np.flatnonzero(of_row == name)
        rounds.append(_checked(labelled, Part(name, train, valid, test), dataset))
    return rounds


def _with_validation(
    targets: Truth, rows: Numbers, dataset: Dataset, seed: int
) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng(seed)
    size = max(1, round(VALID_SHARE * len(rows)))
    needed = targets[rows].any(axis=0)
    # Fewer clips than classes hold them all only where a clip has several labels.
    most = np.sort(targets[rows].sum(axis=1))[-size:].sum()
    for _ in range(DRAWS if most >= needed.sum() else 0):
        drawn = rng.permutation(rows)
        valid, train = np.sort(drawn[:size]), np.sort(drawn[size:])
        if all((targets[part].any(axis=0) == needed).all() for part in (train, valid)):
            return train, valid
    raise ClapError(
        f"{dataset.title}: a random tenth of {len(rows)} training clips ({size}) does not come to "
        f"hold all {int(needed.sum())} classes: mark rows with the split 'valid', or leave rare "
        "classes out with --min-train"
    )


def _rows(labelled: Labelled, split: str) -> Numbers:
    return np.flatnonzero([row.split == split for row in labelled.rows])


def _checked(labelled: Labelled, part: Part, dataset: Dataset) -> Part:
    _all_present(labelled, part.train, dataset, "the training part")
    return part


def _all_present(labelled: Labelled, rows: Numbers, dataset: Dataset, where: str) -> None:
    absent = np.flatnonzero(~labelled.targets[rows].any(axis=0))
    missing = [labelled.classes[column] for column in absent]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ClapError(
            f"{dataset.title}: {where} has no clip of {', '.join(missing[:5])}{more}: "
            "a head cannot learn that; leave such classes out with --min-train 1"
        )
