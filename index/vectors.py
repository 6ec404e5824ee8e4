"""The vectors of a generation, of any kind, asked alike: the nearest rows, best first, truly scored."""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.kinds import Rows, Tuning

ENOUGH = 4
"""Where more than one in so many of the rows admitted is wanted, all of them are scored."""
SCANNED = 2048
"""Where fewer rows than these are admitted they are scored one by one: quicker, and exact."""

Scores = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Chosen:
    """Which rows may be found. mask: (rows,); count: how many; selector: FAISS's."""

    mask: NDArray[np.bool_]
    count: int
    selector: Any

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "Chosen":
        bits = np.packbits(mask, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
        return cls(mask, int(mask.sum()), selector)


class Vectors:
    """index: FAISS's; exact: (rows, dim) unit vectors, None where the index itself holds them."""

    def __init__(self, index: Any, tuning: Tuning, exact: Rows | None = None) -> None:
        self.tuning = tuning
        self.dim = int(index.d)
        self._index = index
        self._usual = tuning.parameters()
        self._exact = exact
        self._count = int(index.ntotal)
        if exact is not None:
            if exact.shape != (self._count, self.dim):
                raise ValueError(f"{len(exact)} exact vectors for {self._count} rows")
            self._scan = where_they_lie(exact)
            self._refined = faiss.IndexRefine(index, self._scan)

    def __len__(self) -> int:
        return self._count

    def rows(self, rows: Numbers) -> NDArray[np.float32]:
        """(rows, dim): their unit vectors."""
        if self._exact is not None:
            return self._exact[rows].astype(np.float32)
        found: NDArray[np.float32] = self._index.reconstruct_batch(rows)
        return found.reshape(-1, self.dim)

    def exact(self) -> Rows:
        """(rows, dim): all of them; mapped where they lie on disk."""
        return self.rows(np.arange(self._count)) if self._exact is None else self._exact

    def nearest(
        self, query: NDArray[np.float32], fetch: int, chosen: Chosen | None = None
    ) -> tuple[Scores, Numbers]:
        """(scores, rows) of the `fetch` rows with the highest inner product to the query (1, dim).

        Kinds that are not exact may miss some; what they give is scored exactly. As many come as
        were asked for, or as are admitted.
        """
        admitted = self._count if chosen is None else chosen.count
        fetch = min(fetch, admitted)
        if fetch == 0:
            return np.zeros(0, np.float32), np.zeros(0, np.int64)
        found = None
        if self._exact is not None:
            found = self._refine(query, fetch, admitted, chosen)
        if found is None:
            every = self._index if self._exact is None else self._scan
            only = None if chosen is None else faiss.SearchParameters(sel=chosen.selector)  # type: ignore[call-arg]
            found = _there(every.search(query, fetch, params=only))
        return found

    def _refine(
        self, query: NDArray[np.float32], fetch: int, admitted: int, chosen: Chosen | None
    ) -> tuple[Scores, Numbers] | None:
        """The best of some more than are wanted; None where scoring all that are admitted is better."""
        wanted = min(admitted, math.ceil(fetch * self.tuning.again) + 8)
        if admitted <= SCANNED or ENOUGH * wanted > admitted:
            return None
        tuning = self.tuning
        # As many admitted rows are looked at as without a filter, and more than are wanted.
        more = max(1.0, self._count / admitted, self._reach(wanted, admitted))
        selector = None if chosen is None else chosen.selector
        while True:
            usual = more == 1 and selector is None
            parameters = faiss.IndexRefineSearchParameters(  # type: ignore[call-arg]
                k_factor=(wanted + 0.5) / fetch,  # FAISS rounds down
                base_index_params=self._usual if usual else tuning.parameters(more, selector),
            )
            scores, rows = _there(self._refined.search(query, fetch, params=parameters))
            if len(rows) == fetch:
                return scores, rows
            if tuning.whole(more, self._count):
                return None
            more *= 4

    def _reach(self, wanted: int, admitted: int) -> float:
        if self.tuning.kind == "hnsw":
            return 2 * wanted / self.tuning.effort
        return 2 * wanted * self.tuning.lists / (admitted * self.tuning.probes)


def where_they_lie(rows: Rows) -> Any:
    """FAISS's flat index over rows that are in memory or mapped: none is copied, so that they have to
    outlive it."""
    inner, dim = faiss.METRIC_INNER_PRODUCT, rows.shape[1]
    half = faiss.ScalarQuantizer.QT_fp16
    index: Any = faiss.IndexFlat(dim, inner)
    if rows.dtype == np.float16:
        index = faiss.IndexScalarQuantizer(dim, half, inner)
    index.codes.is_owned = False
    index.codes.c_ptr = faiss.swig_ptr(rows.reshape(-1).view(np.uint8))
    index.codes.c_size = rows.nbytes
    index.ntotal = len(rows)
    return index


def _there(found: tuple[NDArray[np.float32], Numbers]) -> tuple[Scores, Numbers]:
    """Of one query's answer, what is not FAISS's mark for nothing."""
    scores, rows = found[0][0], found[1][0]
    if rows[-1] >= 0:  # the marks are at the end
        return scores, rows
    there = rows >= 0
    return scores[there], rows[there]
