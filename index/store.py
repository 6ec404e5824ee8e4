"""The searchable index: a generation, what changed since it was made, and their sounds."""

import bisect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.base import INDEX_FILE, Base
from m2d_clap.index.calibration import Calibration, drawn
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.clips import Clip, Ordered, places
from m2d_clap.index.columns import Columns, Mask
from m2d_clap.index.delta import Delta
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.filters import Filter
from m2d_clap.index.hits import Hit, Place, mean_of, unit_query
from m2d_clap.index.interface import ALL
from m2d_clap.index.joined import Admitted, Joined
from m2d_clap.index.moments import moments_of
from m2d_clap.index.origin import Origin
from m2d_clap.index.ranking import Found, ranked
from m2d_clap.index.vectors import Chosen

_TRIES = 3  # at opening what is being replaced
_CLIPS_KEPT = 4096


class Index:
    """Read-only, and safe to search from several threads. It stays as it is whatever is written:
    `refreshed` gives the one after the changes. Rows and clips have the numbers that Joined gives.
    """

    remote = False

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        base: Base,
        delta: Delta | None = None,
        masks: Callable[[Filter], Mask] | None = None,
    ) -> None:
        """masks: (clips of the base,) by filter, where they were made for this base already."""
        self.folder = folder
        self.origin = origin
        self.base = base
        self.delta = Delta.none(base.seq, base.vectors.dim) if delta is None else delta
        self._masks = lru_cache(maxsize=64)(Columns(base.clips).mask) if masks is None else masks
        self._joined = Joined(base, self.delta)
        self._of_delta = Columns(self.delta.clips)
        self._admits = lru_cache(maxsize=64)(self._admit)
        self._clip = lru_cache(maxsize=_CLIPS_KEPT)(self._read_clip)
        gone = (base.clips.number(clip) for clip in self.delta.touched)
        self._gone = np.array(sorted(n for n in gone if n is not None), np.int64)

    @classmethod
    def open(cls, folder: Path) -> "Index":
        """Raises LibraryIndexError saying how to make one where there is none, or mend it."""
        for last in [False] * (_TRIES - 1) + [True]:
            try:
                facts = json.loads((folder / INDEX_FILE).read_text())
                paths = Path(facts["checkpoint"]), Path(facts["library"])
                origin = Origin(facts["fingerprint"], *paths)
                try:
                    base = Base.open(folder, facts)
                except (FileNotFoundError, RuntimeError) as error:
                    if last:  # it was not replaced just now: it is gone
                        raise ValueError(str(error)) from error
                    continue
                return cls(folder, origin, base).refreshed()
            except (FileNotFoundError, NotADirectoryError) as error:
                raise LibraryIndexError(
                    f"{folder} holds no finished index; make one with: "
                    f"m2d-clap index LIBRARY --out {folder}"
                ) from error
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise LibraryIndexError(
                    f"the index {folder} is damaged ({error}): give the `m2d-clap index` command "
                    "that made it again"
                ) from error
        raise AssertionError("the last try returns or raises")

    def refreshed(self) -> "Index":
        """With everything that was added and deleted until now; itself where that is nothing.

        Raises LibraryIndexError where the catalogue cannot be read.
        """
        file = self.folder / CATALOGUE_FILE
        if not file.is_file():
            return self
        with Catalogue.reading(file) as catalogue:
            last = catalogue.changes.last()
            if last <= self.delta.seq:
                return self
            forgotten = catalogue.changes.forgotten()
            if forgotten <= self.delta.seq:
                changes = catalogue.changes.since(self.delta.seq)
                delta = self.delta.after(changes, last)
                return Index(self.folder, self.origin, self.base, delta, self._masks)
        if _seq(self.folder) < forgotten:
            raise LibraryIndexError(
                f"{self.folder} is a mixture of two indexes: give the `m2d-clap index` command that "
                "made it again"
            )
        return Index.open(self.folder)  # two generations were made since

    def __len__(self) -> int:
        return len(self.base.clips) - len(self._gone) + len(self.delta.clips)

    @property
    def fingerprint(self) -> str:
        return self.origin.fingerprint

    @property
    def checkpoint(self) -> Path:
        return self.origin.checkpoint

    @property
    def library(self) -> Path:
        return self.origin.library

    @property
    def generation(self) -> int:
        return self.base.number

    @property
    def changes(self) -> int:
        return self.delta.seq

    @property
    def beside(self) -> int:
        return len(self.delta.owners)

    @property
    def gone(self) -> int:
        return len(self._gone)

    @property
    def kind(self) -> str:
        return self.base.vectors.tuning.kind

    @property
    def recall(self) -> float | None:
        return self.base.vectors.tuning.recall

    @property
    def calibration(self) -> Calibration | None:
        return self.base.calibration

    @property
    def dim(self) -> int:
        return self.base.vectors.dim

    @cached_property
    def windows(self) -> int:
        """How many rows can be found."""
        return self._admits(None).base_rows + len(self.delta.owners)

    @cached_property
    def seconds(self) -> float:
        """Of sound, all clips together."""
        alive = float(self.base.clips.seconds.sum() - self.base.clips.seconds[self._gone].sum())
        return alive + float(self.delta.clips.seconds.sum())

    @property
    def clips(self) -> Sequence[Clip]:
        """In the order of their first paths; read one by one."""
        return Ordered(self._order, self._clip)

    def check_model(self, fingerprint: str, checkpoint: Path) -> None:
        """Raises LibraryIndexError, with the command that mends it, where the model is another."""
        given = Origin(fingerprint, checkpoint.resolve(), self.library)
        self.origin.refuse_other(given, self.folder)

    def clip(self, clip_id: str) -> Clip | None:
        number = self._number(clip_id)
        return None if number is None else self._clip(number)

    def files(self, clip: Clip) -> list[Path]:
        """Where the clip's sound should lie."""
        return places(clip, self.library, self.folder)

    def file(self, clip: Clip) -> Path:
        """The first of them."""
        return self.files(clip)[0]

    def admitted(self, where: Filter | None) -> Mask:
        """(clips,): which of `clips` a filter admits."""
        if where is None:
            return np.ones(len(self), np.bool_)
        both = np.concatenate([self._masks(where), self._of_delta.mask(where)])
        return both[self._order]

    def count(self, where: Filter | None) -> int:
        """How many clips a filter admits."""
        if where is None:
            return len(self)
        mask = self._masks(where)
        of_delta = int(self._of_delta.mask(where).sum())
        return int(mask.sum() - mask[self._gone].sum()) + of_delta

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if len(self._gone):
            chosen = self._admits(None).base
            assert chosen is not None
            base = np.flatnonzero(chosen.mask)
        else:
            base = np.arange(len(self.base.vectors))
        rows = np.concatenate([base, len(self.base.vectors) + np.arange(len(self.delta.owners))])
        drawn_rows = rows[np.array(drawn(len(rows)), np.int64)]
        return self._joined.vectors(drawn_rows), self._joined.owners(drawn_rows)

    def vectors(self, hits: Sequence[Hit]) -> NDArray[np.float32]:
        return self.rows([hit.row for hit in hits])

    def moments(
        self,
        hits: Sequence[Hit],
        embedding: NDArray[np.float32],
        most: int,
        least: float | None = None,
    ) -> list[list[Hit]]:
        query = unit_query(embedding, self.dim)[0]
        return moments_of(hits, partial(self._nearest, query), most, least)

    def _nearest(
        self, query: NDArray[np.float32], clips: Sequence[Clip], most: int
    ) -> list[list[Hit]]:
        return [self._nearest_of(query, clip, most) for clip in clips]

    def _nearest_of(self, query: NDArray[np.float32], clip: Clip, most: int) -> list[Hit]:
        rows = self.rows_of(clip)
        scores = self.rows(rows) @ query
        best = np.argsort(-scores, kind="stable")[:most]
        starts, ends = self._joined.times(rows[best]).T.tolist()
        told = zip(scores[best].tolist(), starts, ends, rows[best].tolist(), strict=True)
        return [Hit(clip, score, start, end, row) for score, start, end, row in told]

    def rows(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows, dim): their unit vectors."""
        return self._joined.vectors(np.asarray(rows, np.int64).reshape(-1))

    def along(self, clip: Clip) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        rows = self.rows_of(clip)
        return self._joined.times(rows), self.rows(rows)

    def vector(self, clip: Clip, at: float | None = None) -> NDArray[np.float32]:
        return mean_of(*self.along(clip), at)

    def rows_of(self, clip: Clip) -> NDArray[np.int64]:
        """(windows,): the rows of a clip of this index, in order."""
        number = self._number(clip.id)
        assert number is not None
        return self._joined.of_clips(np.array([number], np.int64))

    def means(self, clips: slice = ALL) -> NDArray[np.float32]:
        return self._joined.means(self._order[clips])

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
        query = unit_query(embedding, self.dim)
        if k < 1:
            raise LibraryIndexError(f"k is {k}: ask for at least one hit")
        admitted = self._admits(where)
        most = max(admitted.base_rows, admitted.delta_rows)
        wanted = k + len(leave_out) + (0 if after is None else after.passed)
        windows = len(self.base.vectors) / max(len(self.base.clips), 1)
        fetch = min(most, math.ceil(1.5 * wanted * min(windows, 4)) + 8)
        while True:  # several windows of one clip may stand in the way
            parts = self._joined.nearest(query, fetch, admitted)
            found = ranked(self._found(parts), self._id, k, least, after, leave_out)
            lowest = max((float(s[-1]) for s, _ in parts if 0 < len(s) == fetch), default=-math.inf)
            # Beyond the lowest score there may be more of the same score.
            enough = len(found) == k and lowest < -found[-1][0]
            if enough or fetch == most or (least is not None and lowest < least):
                return self._hits(found)
            fetch = min(4 * fetch, most)

    def _found(
        self, parts: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]
    ) -> Iterator[Found]:
        for scores, rows in parts:
            lost = [-score for score in scores.tolist()]
            yield from zip(lost, rows.tolist(), self._joined.owners(rows).tolist(), strict=True)

    def _hits(self, found: Sequence[Found]) -> list[Hit]:
        times = self._joined.times(np.array([row for _, row, _ in found], np.int64)).tolist()
        return [
            Hit(self._clip(clip), -lost, start, end, row)
            for (lost, row, clip), (start, end) in zip(found, times, strict=True)
        ]

    def _id(self, number: int) -> str:
        return self._clip(number).id

    def _admit(self, where: Filter | None) -> Admitted:
        delta = np.ones(len(self.delta.owners), np.bool_)
        clips = None if where is None else self._masks(where)
        if where is not None:
            delta = self._of_delta.mask(where)[self.delta.owners]
        if len(self._gone):
            clips = np.ones(len(self.base.clips), np.bool_) if clips is None else clips.copy()
            clips[self._gone] = False
        if clips is None:
            return Admitted(None, len(self.base.vectors), delta, int(delta.sum()))
        chosen = Chosen.of(clips[self.base.owners])
        return Admitted(chosen, chosen.count, delta, int(delta.sum()))

    def _number(self, clip_id: str) -> int | None:
        later = self.delta.clips.number(clip_id)
        if later is not None:
            return len(self.base.clips) + later
        return None if clip_id in self.delta.touched else self.base.clips.number(clip_id)

    def _read_clip(self, number: int) -> Clip:
        later = number - len(self.base.clips)
        return self.delta.clips[later] if later >= 0 else self.base.clips[number]

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """(clips,): numbers of those that can be found, in the order of their first paths."""
        alive = np.delete(np.arange(len(self.base.clips)), self._gone)
        paths = [clip.path for clip in self.delta.clips]
        at = [bisect.bisect(alive, path, key=lambda n: self._clip(int(n)).path) for path in paths]
        return np.insert(alive, at, len(self.base.clips) + np.arange(len(paths)))


def _seq(folder: Path) -> int:
    """The last change that the generation on disk holds; -1 where that cannot be read."""
    try:
        return int(json.loads((folder / INDEX_FILE).read_text()).get("seq", 0))
    except (OSError, ValueError, AttributeError):
        return -1
