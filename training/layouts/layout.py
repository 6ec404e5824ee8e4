"""How one published data set lies on disk, and how it becomes rows of a manifest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.training.manifest import Row


@dataclass(frozen=True)
class Layout:
    """A data set as its authors publish it."""

    name: str
    """What `m2d-clap convert` calls it."""
    summary: str
    url: str
    licence: str
    """A note for people; what the licence is of every clip stands in the rows where known."""
    audio: str
    """Where the sounds are sought, below the data set's folder."""
    recognises: Callable[[Path], bool]
    """Whether a folder holds this data set's tables."""
    convert: Callable[[Path], Iterator[Row]]
    """The rows of a folder, with files below it, also those whose file is not there.
    Raises ManifestError with the table and line that is not as published."""
