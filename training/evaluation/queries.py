"""Queries in words that no caption held, and how well a model answers them.

`paraphrases.csv` holds sixty, written for the labels of our own clips: whatever trains a text
encoder leaves them out.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from m2d_clap.model.clap import Clap, similarity
from m2d_clap.model.errors import ClapError
from m2d_clap.training.manifest import Row
from m2d_clap.training.metrics import Retrieval, retrieval


@dataclass(frozen=True)
class Query:
    """A text and the label of the sounds that answer it."""

    text: str
    label: str


@dataclass(frozen=True)
class Answers:
    """of: queries in the file; those without an answer among the clips are not counted in n."""

    of: int
    clips: int
    text_to_audio: Retrieval


def paraphrases() -> tuple[Query, ...]:
    """Those that come with this package."""
    return read_queries(Path(__file__).parent / "paraphrases.csv")


def read_queries(file: Path) -> tuple[Query, ...]:
    """A CSV with the columns query and label. Raises ClapError."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            found = [Query(r["query"].strip(), r["label"].strip()) for r in csv.DictReader(opened)]
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise ClapError(
            f"cannot read queries from {file} ({type(error).__name__}: {error}): it must be a CSV "
            "with the columns query and label"
        ) from error
    if not found or not all(query.text and query.label for query in found):
        raise ClapError(f"{file} has no query, or one without text or label")
    return tuple(found)


def answer(clap: Clap, queries: Sequence[Query], rows: Sequence[Row], audio: Tensor) -> Answers:
    """audio: (rows, dim) CLAP embeddings. A clip is right when it has the query's label.

    Raises ClapError where no query has an answer among the clips.
    """
    there = {label for row in rows for label in row.labels}
    asked = [query for query in queries if query.label in there]
    if not asked:
        raise ClapError("no clip has the label of any query")
    texts = clap.embed_text([query.text for query in asked])
    scores = similarity(audio, texts).float().cpu().numpy()
    truth = np.array([[query.label in row.labels for row in rows] for query in asked])
    return Answers(len(queries), len(rows), retrieval(scores.T, truth))
