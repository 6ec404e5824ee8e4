"""What every index answers, whichever engine holds its vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.calibration import Calibration
from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.clips import Clip
from m2d_clap.index.columns import Mask
from m2d_clap.index.filters import Filter
from m2d_clap.index.hits import Hit, Place
from m2d_clap.index.kinds import Wish
from m2d_clap.index.origin import Origin

ALL = slice(None)


class SearchIndex(Protocol):
    """An index that is open, safe to search from several threads; `refreshed` gives the one after
    what was added and deleted since."""

    @property
    def folder(self) -> Path:
        """Where catalogue and uploads lie; may be missing where the index is only read."""

    @property
    def remote(self) -> bool:
        """Whether every question waits for another process."""

    @property
    def library(self) -> Path: ...
    @property
    def checkpoint(self) -> Path: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...

    @property
    def generation(self) -> int:
        """Rises with every run of `m2d-clap index`."""

    @property
    def changes(self) -> int:
        """The number of the last addition or deletion it knows."""

    @property
    def windows(self) -> int:
        """How many rows can be found."""

    @property
    def beside(self) -> int:
        """How many of them wait for a new generation."""

    @property
    def gone(self) -> int:
        """How many clips of the generation are there no more."""

    @property
    def seconds(self) -> float:
        """Of sound, all clips together."""

    @property
    def kind(self) -> str:
        """Of the engine's structure over the vectors."""

    @property
    def recall(self) -> float | None:
        """At 10, measured; None where it was not."""

    @property
    def calibration(self) -> Calibration | None:
        """Between sounds; None where there are too few."""

    @property
    def clips(self) -> Sequence[Clip]:
        """In the order of their first paths; read one by one."""

    def __len__(self) -> int: ...

    def refreshed(self) -> "SearchIndex":
        """With everything that was added and deleted until now; itself where that is nothing."""

    def check_model(self, fingerprint: str, checkpoint: Path) -> None:
        """Raises LibraryIndexError, with the command that mends it, where the model is another."""

    def clip(self, clip_id: str) -> Clip | None: ...

    def files(self, clip: Clip) -> list[Path]:
        """Where the clip's sound should lie."""

    def admitted(self, where: Filter | None) -> Mask:
        """(clips,): which of `clips` a filter admits."""

    def count(self, where: Filter | None) -> int:
        """How many clips a filter admits."""

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(rows, dim) unit vectors that stand for all, the same at every call; (rows,) the number
        of each one's clip."""

    def vectors(self, hits: Sequence[Hit]) -> NDArray[np.float32]:
        """(hits, dim): the unit vectors of the windows that were hit."""

    def moments(
        self,
        hits: Sequence[Hit],
        embedding: NDArray[np.float32],
        most: int,
        least: float | None = None,
    ) -> list[list[Hit]]:
        """Of each hit itself, then the other windows of its clip that are nearest to the
        un-normalised embedding (dim,) it was found by, best first: `most` at most, those whose cosine
        is at least `least`. Of two that overlap by more than half only the first is told."""

    def along(self, clip: Clip) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """(windows, 2), (windows, dim): start and end in seconds of each of a clip's windows, in
        their order, and their unit vectors."""

    def vector(self, clip: Clip, at: float | None = None) -> NDArray[np.float32]:
        """(dim,), of unit length: the mean of a clip's windows; at: the last window alone that begins
        at this second (from 0) or before it."""

    def means(self, clips: slice = ALL) -> NDArray[np.float32]:
        """(clips, dim): `vector` of each of `clips`, or of some of them."""

    def search(
        self,
        embedding: NDArray[np.float32],
        k: int = 10,
        where: Filter | None = None,
        least: float | None = None,
        after: Place | None = None,
        leave_out: frozenset[str] = frozenset(),
    ) -> list[Hit]:
        """The k nearest clips to an un-normalised embedding (dim,), best first; equals by id.

        Only clips that `where` admits, whose cosine is at least `least`, that come behind `after`
        and whose ids are not in `leave_out`. Raises LibraryIndexError where the embedding has
        another length or is not finite, or k < 1.
        """


class Engine(Protocol):
    """Where an index is, and how it is opened and written. str() is its address."""

    @property
    def folder(self) -> Path:
        """Catalogue, uploads and the writer's lock lie here, whatever holds the vectors."""

    def there(self) -> bool:
        """Whether there is a finished index. Raises LibraryIndexError where that cannot be told."""

    def open(self) -> SearchIndex:
        """Raises LibraryIndexError saying how to make one where there is none, or mend it."""

    def write(
        self, catalogue: Catalogue, dim: int, origin: Origin, wish: Wish | None = None
    ) -> tuple[int, int]:
        """Makes what is searched equal to the catalogue; returns how many clips and windows.

        wish: None is what was asked for before. Raises LibraryIndexError where it cannot be written.
        """
