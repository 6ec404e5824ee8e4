"""The vectors of a generation, of any kind, asked alike: the nearest rows, best first, truly scored."""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.kinds import Rows, Tuning, blocks

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
        if exact is not None and exact.shape != (self._count, self.dim):
            raise ValueError(f"{len(exact)} exact vectors for {self._count} rows")

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
        if self._exact is None:
            parameters = None if chosen is None else self.tuning.parameters(1, chosen.selector)
            scores, rows = self._index.search(query, fetch, params=parameters)
            there = rows[0] >= 0
            return scores[0][there], rows[0][there]
        rows = self._candidates(query, fetch, admitted, chosen)
        if rows is None:
            return self._scanned(self._exact, query, fetch, chosen)
        scores = self._exact[rows].astype(np.float32) @ query[0]
        best = np.argsort(-scores, kind="stable")[:fetch]
        return scores[best], rows[best]

    def _candidates(
        self, query: NDArray[np.float32], fetch: int, admitted: int, chosen: Chosen | None
    ) -> Numbers | None:
        """Rows worth scoring; None where scoring all that are admitted is better."""
        wanted = min(admitted, math.ceil(fetch * self.tuning.again) + 8)
        if admitted <= SCANNED or ENOUGH * wanted > admitted:
            return None
        tuning = self.tuning
        # As many admitted rows are looked at as without a filter, and more than are wanted.
        more = max(1.0, self._count / admitted, self._reach(wanted, admitted))
        selector = None if chosen is None else chosen.selector
        while True:
            usual = more == 1 and selector is None
            parameters = self._usual if usual else tuning.parameters(more, selector)
            rows = self._index.search(query, wanted, params=parameters)[1][0]
            rows = rows[rows >= 0]
            if len(rows) >= fetch:
                return rows  # type: ignore[no-any-return]
            if tuning.whole(more, self._count):
                return None
            more *= 4

    def _reach(self, wanted: int, admitted: int) -> float:
        if self.tuning.kind == "hnsw":
            return 2 * wanted / self.tuning.effort
        return 2 * wanted * self.tuning.lists / (admitted * self.tuning.probes)

    def _scanned(
        self, exact: Rows, query: NDArray[np.float32], fetch: int, chosen: Chosen | None
    ) -> tuple[Scores, Numbers]:
        if chosen is None:
            rows = np.arange(self._count)
            parts = [block @ query[0] for block in blocks(exact)]
        else:
            rows = np.flatnonzero(chosen.mask)
            cut = range(0, len(rows), 4096)
            parts = [exact[rows[at : at + 4096]].astype(np.float32) @ query[0] for at in cut]
        scores = np.concatenate(parts)
        near = np.arange(len(scores))
        if fetch < len(scores):
            near = np.argpartition(-scores, fetch - 1)[:fetch]
        near = near[np.argsort(-scores[near], kind="stable")]
        return scores[near], rows[near]
