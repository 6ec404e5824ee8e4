"""The searchable index: a FAISS generation and the sounds its rows belong to."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.calibration import Calibration
from m2d_clap.index.columns import Columns
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.filters import Filter
from m2d_clap.index.origin import Origin

INDEX_FILE = "index.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Clip:
    """A sound of the library. paths: every file that holds it, relative to the library; metadata:
    what else is known of it."""

    id: str
    seconds: float
    paths: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return self.paths[0]


@dataclass(frozen=True)
class Hit:
    """A clip, the cosine of its best window, where that lies, in seconds, and its row."""

    clip: Clip
    score: float
    start: float
    end: float
    row: int = -1


@dataclass(frozen=True)
class Place:
    """Where a list of hits was left off: the last one's score and id, and how many came so far."""

    score: float
    clip: str
    passed: int


@dataclass(frozen=True)
class _Chosen:
    """What a filter admits. numbers: (clips,) which; rows: how many; parameters: FAISS's."""

    clips: NDArray[np.bool_]
    rows: int
    parameters: Any


class Index:
    """Read-only, and safe to search from several threads.

    facts: index.json; vectors: the FAISS index whose row i is `facts["rows"][i]`.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], vectors: Any) -> None:
        self.folder = folder
        self.fingerprint: str = facts["fingerprint"]
        self.checkpoint = Path(facts["checkpoint"])
        self.library = Path(facts["library"])
        self.generation = _number(facts.get("vectors", ""))
        self.calibration = _calibration(facts.get("calibration"))
        """Between sounds; None where the index has too few, or was made by an older release."""
        self.clips = tuple(
            Clip(c["id"], c["seconds"], tuple(c["paths"]), c.get("metadata", {}))
            for c in facts["clips"]
        )
        """In the order of their first paths."""
        self._by_id = {clip.id: number for number, clip in enumerate(self.clips)}
        # (clip number, start, end) of every row
        self._rows: list[tuple[int, float, float]] = [(n, s, e) for n, s, e in facts["rows"]]
        self._owners = np.array([n for n, _, _ in self._rows], np.int64)
        self._vectors = vectors
        self._columns = Columns(self.clips)
        self._chosen = lru_cache(maxsize=64)(self._choose)
        if vectors.ntotal != len(self._rows):
            raise ValueError(f"{vectors.ntotal} vectors for {len(self._rows)} rows")

    @classmethod
    def open(cls, folder: Path) -> "Index":
        """Raises LibraryIndexError saying how to make one where there is none, or mend it."""
        try:
            return cls(folder, *_read(folder))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise LibraryIndexError(
                f"{folder} holds no finished index; make one with: "
                f"m2d-clap index LIBRARY --out {folder}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise LibraryIndexError(
                f"the index {folder} is damaged ({error}): give the `m2d-clap index` command that "
                "made it again"
            ) from error

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def dim(self) -> int:
        return int(self._vectors.d)

    @property
    def windows(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def check_model(self, fingerprint: str, checkpoint: Path) -> None:
        """Raises LibraryIndexError, with the command that mends it, where the model is another."""
        made = Origin(self.fingerprint, self.checkpoint, self.library)
        made.refuse_other(Origin(fingerprint, checkpoint.resolve(), self.library), self.folder)

    def clip(self, clip_id: str) -> Clip | None:
        number = self._by_id.get(clip_id)
        return None if number is None else self.clips[number]

    def file(self, clip: Clip) -> Path:
        """Where the clip's sound lies."""
        return self.library / clip.path

    def admitted(self, where: Filter | None) -> NDArray[np.bool_]:
        """(clips,): which clips a filter admits."""
        return np.ones(len(self), np.bool_) if where is None else self._chosen(where).clips

    def rows(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(rows, dim): their unit vectors."""
        wanted = np.array(rows, np.int64)
        found: NDArray[np.float32] = self._vectors.reconstruct_batch(wanted).reshape(-1, self.dim)
        return found

    def owners(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """(rows,): the number of the clip that each belongs to."""
        found: NDArray[np.int64] = self._owners[np.array(rows, np.int64)]
        return found

    def vector(self, clip: Clip) -> NDArray[np.float32]:
        """(dim,): the mean of a clip's windows, of unit length."""
        rows = np.flatnonzero(self._owners == self._by_id[clip.id])
        return _unit(self.rows(rows.tolist()).mean(axis=0))

    def means(self) -> NDArray[np.float32]:
        """(clips, dim): `vector` of every clip."""
        sums = np.zeros((len(self), self.dim), np.float32)
        for start in range(0, len(self._rows), 8192):
            rows = range(start, min(start + 8192, len(self._rows)))
            np.add.at(sums, self._owners[start : rows.stop], self.rows(rows))
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        return sums

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
        query = self._query(embedding)
        if k < 1:
            raise LibraryIndexError(f"k is {k}: ask for at least one hit")
        chosen = None if where is None else self._chosen(where)
        rows = len(self._rows) if chosen is None else chosen.rows
        if not rows:
            return []
        wanted = k + len(leave_out) + (0 if after is None else after.passed)
        fetch = min(rows, math.ceil(1.5 * wanted * len(self._rows) / len(self)) + 8)
        while True:  # several windows of one clip may stand in the way
            scores, found = self._nearest(query, fetch, chosen)
            hits = self._in_order(scores, found, k, least, after, leave_out)
            lowest = float(scores[-1]) if len(scores) else -math.inf
            # Beyond the lowest score there may be more of the same score.
            enough = len(hits) == k and lowest < hits[-1].score
            if enough or fetch == rows or (least is not None and lowest < least):
                return hits
            fetch = min(4 * fetch, rows)

    def _query(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        query = np.ascontiguousarray(embedding, np.float32).reshape(1, -1)
        if query.shape[1] != self.dim:
            raise LibraryIndexError(f"the query has {query.shape[1]} numbers, not {self.dim}")
        if not np.isfinite(query).all():
            raise LibraryIndexError("the query holds numbers that are not finite: embed it again")
        return _unit(query)

    def _nearest(
        self, query: NDArray[np.float32], fetch: int, chosen: _Chosen | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(scores, rows) of the nearest rows that are chosen, best first."""
        more = {} if chosen is None else {"params": chosen.parameters}
        scores, rows = self._vectors.search(query, fetch, **more)
        there = rows[0] >= 0
        return scores[0][there], rows[0][there]

    def _in_order(
        self,
        scores: NDArray[np.float32],
        rows: NDArray[np.int64],
        k: int,
        least: float | None,
        after: Place | None,
        leave_out: frozenset[str],
    ) -> list[Hit]:
        """Of the rows found, the best of each clip: the first k that are asked for."""
        order = np.lexsort((rows, -scores))
        numbers, first = np.unique(self._owners[rows[order]], return_index=True)
        best = order[first]
        keep = np.ones(len(best), np.bool_)
        if least is not None:
            keep &= scores[best] >= least
        if after is not None:
            keep &= scores[best] <= after.score
        candidates = [
            (-float(scores[at]), self.clips[number].id, int(rows[at]))
            for number, at in zip(numbers[keep], best[keep], strict=True)
        ]
        passed = (-math.inf, "") if after is None else (-after.score, after.clip)
        ordered = sorted(c for c in candidates if (c[0], c[1]) > passed and c[1] not in leave_out)
        return [self._hit(row, -score) for score, _, row in ordered[:k]]

    def _hit(self, row: int, score: float) -> Hit:
        number, start, end = self._rows[row]
        return Hit(self.clips[number], score, start, end, row)

    def _choose(self, where: Filter) -> _Chosen:
        clips = self._columns.mask(where)
        rows = clips[self._owners]
        bits = np.packbits(rows, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        return _Chosen(clips, int(rows.sum()), parameters)


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = max(float(np.linalg.norm(vector.astype(np.float64))), 1e-12)
    unit: NDArray[np.float32] = (vector / length).astype(np.float32)
    return unit


def _number(vectors: str) -> int:
    """Of the generation whose vectors have this name; 0 where it tells none."""
    number = Path(vectors).stem.removeprefix("vectors-")
    return int(number) if number.isdecimal() else 0


def _calibration(facts: Mapping[str, float] | None) -> Calibration | None:
    return None if facts is None else Calibration(facts["slope"], facts["offset"])


def _read(folder: Path) -> tuple[dict[str, Any], Any]:
    """(index.json, vectors), once more where both were replaced between the two readings."""
    facts = _facts(folder)
    try:
        return facts, faiss.read_index(str(folder / facts["vectors"]))
    except RuntimeError:
        if (folder / facts["vectors"]).is_file():
            raise
    facts = _facts(folder)
    return facts, faiss.read_index(str(folder / facts["vectors"]))


def _facts(folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / INDEX_FILE).read_text())
    if facts["format_version"] != FORMAT_VERSION:
        raise LibraryIndexError(f"{folder} was made by another release: upgrade m2d-clap")
    return dict(facts)
