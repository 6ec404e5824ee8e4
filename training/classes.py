"""Labels of rows as a table of classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from m2d_clap.model.errors import ClapError
from m2d_clap.model.labels import audioset
from m2d_clap.training.manifest import SHOWN, Row


class LabelError(ClapError):
    """Rows whose labels cannot be learned; the message names the first."""


def class_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """Those there are, sorted; AudioSet's 527 in their own order where most of these are there, and no
    others.

    Raises LabelError where no row has a label.
    """
    found = {label for row in rows for label in row.labels}
    if not found:
        raise LabelError("no row has a label: the manifest needs a column label or labels")
    known = tuple(name for _, name in audioset())
    whole = found <= set(known) and 2 * len(found) > len(known)
    return known if whole else tuple(sorted(found))


def class_table(rows: Sequence[Row], names: Sequence[str], one: bool = False) -> Tensor:
    """(rows, classes) float32 of 0 and 1.

    Raises LabelError naming a row with a label that is no class or, where each must have exactly
    `one`, with none or several.
    """
    number = {name: i for i, name in enumerate(names)}
    table = torch.zeros(len(rows), len(names))
    for place, row in enumerate(rows):
        strange = [label for label in row.labels if label not in number]
        if strange:
            raise LabelError(f"{_where(row)}: {strange[0]!r} is none of the {len(names)} classes")
        if one and len(row.labels) != 1:
            raise LabelError(
                f"{_where(row)}: {len(row.labels)} labels, where this stage needs exactly one"
            )
        table[place, [number[label] for label in row.labels]] = 1.0
    return table


def known_rows(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Those all of whose labels are classes."""
    known = set(names)
    return [row for row in rows if known.issuperset(row.labels)]


def unknown_labels(rows: Sequence[Row], names: Sequence[str]) -> str:
    """A sentence: how many of the valid rows are not known, and for which labels."""
    known = set(names)
    strange = dict.fromkeys(label for row in rows for label in row.labels if label not in known)
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    return (
        f"{len(rows) - len(known_rows(rows, names))} of {len(rows)} valid rows are not scored: no "
        f"training row has their {', '.join(list(strange)[:SHOWN])}{more}"
    )


def balanced_weights(table: Tensor, weights: Sequence[float] = ()) -> tuple[float, ...]:
    """Draws of every row such that rare classes are met as often as common ones, about.

    table: (rows, classes) of 0 and 1. A row counts by the sum of 1 / clips over its classes, times
    its own weight; without a class it is never drawn. (AudioSet's clips are drawn so: PSLA, arXiv
    2102.01243; the M2D-CLAP papers only say "weighted".)
    """
    rarity = (table / table.sum(dim=0).clamp_min(1)).sum(dim=1)
    given = torch.tensor(weights or [1.0] * len(table))
    return tuple((rarity * given).tolist())


def _where(row: Row) -> str:
    return f"line {row.line} ({row.file})" if row.line else str(row.file)
