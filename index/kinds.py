"""Kinds of vector index: which one fits, how it is built, and how hard it has to search.

    flat     every vector, float32: exact
    ivf-sq8  lists around centres, 8 bits a number; the best are scored again on exact vectors
    hnsw     a graph of neighbours over the same 8 bits; scored again
    pq       lists around centres, about a bit a number; scored again

The exact vectors of all but `flat` are float16 on disk, and mapped. Everything is built in blocks, so
that memory holds the index itself and no copy of the vectors.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

Kind = Literal["flat", "ivf-sq8", "hnsw", "pq"]
Asked = Literal["auto", "flat", "ivf-sq8", "hnsw", "pq"]

FLAT_ROWS = 50_000
"""Up to here exact search costs a few milliseconds, and `auto` looks no further."""
BLOCK = 16_384
_GRAPH = 32  # neighbours of a node (M)
_SEED = 8

Rows = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True)
class Wish:
    """What kind is asked for. memory: bytes that the searched part may take; None: half of what the
    machine has."""

    kind: Asked = "auto"
    memory: int | None = None

    def choose(self, rows: int, dim: int) -> Kind:
        if self.kind != "auto":
            return self.kind
        if rows <= FLAT_ROWS and bytes_a_vector("flat", dim) * rows <= self.bytes:
            return "flat"
        return "ivf-sq8" if bytes_a_vector("ivf-sq8", dim) * rows <= self.bytes else "pq"

    @property
    def bytes(self) -> int:
        return _half() if self.memory is None else self.memory


AUTO = Wish()


@dataclass(frozen=True)
class Tuning:
    """How a kind is searched. probes: of how many of its `lists`; effort: HNSW's ef; again: how many
    rows are scored again for each one wanted; recall: @10, as measured when it was built; trained:
    rows there were when its centres were learned."""

    kind: Kind = "flat"
    lists: int = 1
    probes: int = 1
    effort: int = 64
    again: float = 1.0
    recall: float | None = None
    trained: int = 0

    def parameters(self, more: float = 1.0, selector: Any = None) -> Any:
        """FAISS's; `more` times as hard as usual."""
        chosen = {} if selector is None else {"sel": selector}
        if self.kind == "flat":
            return faiss.SearchParameters(**chosen) if chosen else None
        if self.kind == "hnsw":
            effort = min(math.ceil(self.effort * more), 1 << 30)
            graph: Any = faiss.SearchParametersHNSW  # type: ignore[attr-defined]
            return graph(efSearch=effort, **chosen)
        probes = min(math.ceil(self.probes * more), self.lists)
        return faiss.SearchParametersIVF(nprobe=probes, **chosen)  # type: ignore[call-arg]

    def whole(self, more: float, rows: int) -> bool:
        """Whether a search that is `more` times as hard leaves nothing out."""
        if self.kind == "hnsw":
            return self.effort * more >= 2 * rows
        return self.kind == "flat" or self.probes * more >= self.lists


def bytes_a_vector(kind: Kind, dim: int) -> int:
    """Of the searched part; the exact vectors beside it take 2 · dim more, on disk."""
    links = 2 * _GRAPH * 4 + 12
    return {"flat": 4 * dim, "ivf-sq8": dim + 8, "hnsw": dim + links, "pq": _parts(dim) + 8}[kind]


def empty(kind: Kind, rows: int, dim: int) -> tuple[Any, Tuning]:
    """An untrained index for about so many rows, and how it is searched until that is measured."""
    inner = faiss.METRIC_INNER_PRODUCT
    eight = faiss.ScalarQuantizer.QT_8bit
    lists = max(1, min(round(4 * math.sqrt(rows)), rows // 39, 1 << 16))
    tuning = Tuning(kind, lists, trained=rows)
    if kind == "flat":
        return faiss.IndexFlatIP(dim), replace(tuning, recall=1.0)
    if kind == "hnsw":
        graph: Any = faiss.IndexHNSWSQ(dim, eight, _GRAPH, inner)  # type: ignore[arg-type]
        graph.hnsw.efConstruction = 100
        return graph, replace(tuning, again=2.0)
    centres = faiss.IndexFlatIP(dim)
    index: Any
    if kind == "ivf-sq8":
        index = faiss.IndexIVFScalarQuantizer(centres, dim, lists, eight, inner)
        again = 1.5
    else:
        bits = max(1, min(8, int(math.log2(max(rows, 2)))))
        index = faiss.IndexIVFPQ(centres, dim, lists, _parts(dim), bits, inner)
        index.pq.cp.min_points_per_centroid = 1
        again = 64.0
    index.cp.min_points_per_centroid = 1
    index.cp.spherical = True  # else long centres, of dense places, are given what is not theirs
    index.cp.niter = 8
    index.cp.seed = _SEED
    return index, replace(tuning, again=again)


def fill(index: Any, tuning: Tuning, rows: Rows) -> None:
    """Trains, where that is still to be done, and adds every row, block by block."""
    if not index.is_trained and len(rows):
        wanted = min(len(rows), max(40 * tuning.lists, 10_000), 160_000)
        drawn = np.sort(np.random.default_rng(_SEED).choice(len(rows), wanted, replace=False))
        index.train(np.ascontiguousarray(rows[drawn], np.float32))
    for block in blocks(rows):
        index.add(block)


def blocks(rows: Rows, size: int = BLOCK) -> Iterator[NDArray[np.float32]]:
    """Rows as float32, some at a time."""
    for start in range(0, len(rows), size):
        yield np.ascontiguousarray(rows[start : start + size], np.float32)


def _parts(dim: int) -> int:
    """Sub-vectors of a product quantiser: of eight numbers, or as near to that as divides."""
    return dim // max(size for size in range(1, 9) if dim % size == 0)


def _half() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
