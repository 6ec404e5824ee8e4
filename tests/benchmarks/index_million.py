"""How an index of many vectors builds and answers, beside bare FAISS and two other engines.

    python tests/benchmarks/index_million.py --count 1000000 --dim 768 --seed 0

Points lie around 20,000 centres drawn from a 64-dimensional Gaussian that a random matrix lifts into
`dim` dimensions: centre + 0.5 × Gaussian of the same kind + 0.1 × full-rank Gaussian, normalised.
Questions are drawn alike, and held out. Points are made block by block, from their numbers alone, so
that memory holds what is measured and not the data. The peers (`pip install 'm2d-clap[bench]'`) take the
same blocks; one that is not installed is said to be missing, and one whose answers took `--patience`
seconds altogether is asked no more: `questions` says how many it answered. Prints JSON, a line for
each system when it is built and one when all have answered.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index import Clip, Index
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.generation import make, switch
from m2d_clap.index.kinds import Wish
from m2d_clap.index.origin import Origin
from m2d_clap.index.windows import Embedded

CENTRES, RANK, BLOCK = 20_000, 64, 10_000
Vectors = NDArray[np.float32]
Ask = Callable[[Vectors], list[int]]
"""(dim,) → numbers of the ten nearest."""


class Points:
    """rows, seq, mark, clips, windows: what a generation is made of."""

    def __init__(self, count: int, dim: int, seed: int, kind: Any = "auto") -> None:
        random = np.random.default_rng(seed)
        self.rows, self.dim, self.kind, self._seed = count, dim, kind, seed
        self.seq, self.mark = 0, None
        self._centres = random.normal(size=(CENTRES, RANK)).astype(np.float32)
        self._lift = random.normal(size=(RANK, dim)).astype(np.float32)
        self._held: tuple[int, Vectors] = (-1, np.zeros((0, dim), np.float32))

    def block(self, number: int, size: int = BLOCK) -> Vectors:
        random = np.random.default_rng((self._seed, number))
        low = self._centres[random.integers(CENTRES, size=size)]
        low = low + 0.5 * random.standard_normal(low.shape, np.float32)
        points = low @ self._lift + 0.1 * random.standard_normal((size, self.dim), np.float32)
        unit: Vectors = points / np.linalg.norm(points, axis=1, keepdims=True)
        return unit

    def vector(self, row: int) -> Vectors:
        if row // BLOCK != self._held[0]:
            self._held = (row // BLOCK, self.block(row // BLOCK))
        return self._held[1][row % BLOCK]

    def blocks(self) -> Iterator[Vectors]:
        for number in range(-(-self.rows // BLOCK)):
            yield self.block(number)[: self.rows - number * BLOCK]

    def clips(self) -> Iterator[Clip]:
        for n in range(self.rows):
            yield Clip(f"{n:016x}", 10.0, (f"{n // 1000:04}/{n % 1000:03}.wav",))

    def windows(self, clip: str) -> list[Embedded]:
        return [Embedded(0.0, 10.0, self.vector(int(clip, 16)))]


def ours(points: Points, folder: Path) -> Ask:
    origin = Origin("f" * 64, Path("/model"), Path("/sounds"))
    with Catalogue.open(folder / CATALOGUE_FILE) as catalogue:
        switch(folder, make(folder, points, points.dim, origin, Wish(points.kind)), catalogue)
    index = Index.open(folder)
    print(json.dumps({"tuning": vars(index.base.vectors.tuning)}), flush=True)
    return lambda query: [int(hit.clip.id, 16) for hit in index.search(query, 10)]


def bare(points: Points, folder: Path) -> Ask:
    """The vectors of the index just made, as FAISS alone reads and searches them, its ten best and no
    more: the same kind, lists and effort."""
    index = Index.open(folder.parent / "ours")
    place = index.folder / f"generation-{index.generation}" / "vectors.faiss"
    tuning = index.base.vectors.tuning
    alone = faiss.read_index(str(place))
    parameters = tuning.parameters()

    def ask(query: Vectors) -> list[int]:
        found: list[int] = alone.search(query[None], 10, params=parameters)[1][0].tolist()
        return found

    return ask


def rescored(points: Points, folder: Path) -> Ask:
    """The same, with what `ours` does for its recall and its scores: more rows than ten, scored again
    on the exact vectors."""
    index = Index.open(folder.parent / "ours")
    place = index.folder / f"generation-{index.generation}" / "vectors.faiss"
    tuning = index.base.vectors.tuning
    alone = faiss.read_index(str(place))
    parameters = tuning.parameters()
    exact = index.base.vectors.exact() if tuning.kind != "flat" else None
    fetch = 23 if exact is None else int(23 * tuning.again) + 8

    def ask(query: Vectors) -> list[int]:
        rows = alone.search(query[None], fetch, params=parameters)[1][0]
        if exact is None:
            return rows[:10].tolist()  # type: ignore[no-any-return]
        scores = exact[rows].astype(np.float32) @ query
        return rows[np.argsort(-scores)[:10]].tolist()  # type: ignore[no-any-return]

    return ask


def lancedb(points: Points, folder: Path) -> Ask:
    import lancedb as engine
    import pyarrow as pa

    db = engine.connect(folder)
    kind = pa.list_(pa.float32(), points.dim)
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("vector", kind)])

    def batches() -> Iterator[Any]:
        at = 0
        for block in points.blocks():
            flat = pa.array(np.ascontiguousarray(block).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(flat, points.dim)
            ids = pa.array(np.arange(at, at + len(block)))
            at += len(block)
            yield pa.RecordBatch.from_arrays([ids, vectors], schema=schema)

    table = db.create_table("points", batches(), schema=schema)
    if points.rows >= 50_000:
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_HNSW_SQ")

    def ask(query: Vectors) -> list[int]:
        asked = table.search(query).distance_type("cosine").limit(10)
        if points.rows >= 50_000:
            asked = asked.nprobes(40).refine_factor(3)
        found = asked.select(["id", "_distance"]).to_arrow()
        return found.column("id").to_pylist()  # type: ignore[no-any-return]

    return ask


def milvus_lite(points: Points, folder: Path) -> Ask:
    from pymilvus import MilvusClient

    client = MilvusClient(str(folder / "milvus.db"))
    client.create_collection("points", dimension=points.dim, metric_type="COSINE")
    at = 0
    for block in points.blocks():
        for start in range(0, len(block), 1000):
            part = block[start : start + 1000]
            client.insert("points", [{"id": at + n, "vector": v} for n, v in enumerate(part)])
            at += len(part)

    def ask(query: Vectors) -> list[int]:
        found = client.search("points", data=[query.tolist()], limit=10)
        return [int(hit["id"]) for hit in found[0]]

    return ask


SYSTEMS: dict[str, Callable[[Points, Path], Ask]] = {
    "ours": ours,
    "bare": bare,
    "rescored": rescored,
    "lancedb": lancedb,
    "milvus-lite": milvus_lite,
}


def truth(points: Points, queries: Vectors) -> NDArray[np.int64]:
    """(queries, 10): the rows that exact search finds."""
    scores = np.full((len(queries), 10), -np.inf, np.float32)
    rows = np.zeros((len(queries), 10), np.int64)
    at = 0
    for block in points.blocks():
        both = np.concatenate([scores, queries @ block.T], axis=1)
        names = np.concatenate(
            [rows, np.broadcast_to(np.arange(at, at + len(block)), (len(queries), len(block)))],
            axis=1,
        )
        best = np.argpartition(-both, 9, axis=1)[:, :10]
        scores, rows = (np.take_along_axis(x, best, axis=1) for x in (both, names))
        at += len(block)
    return rows


def mebibytes(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def resident() -> float:
    """MiB of this process now, without what is only mapped."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", default="auto")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--folder", type=Path, help="where to work; removed afterwards")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument(
        "--patience", type=float, default=300, help="seconds, of a system's answers"
    )
    given = parser.parse_args()
    points = Points(given.count, given.dim, given.seed, given.kind)
    queries = points.block(1 << 40, given.questions)
    nearest = [set(row) for row in truth(points, queries).tolist()]
    work = Path(tempfile.mkdtemp(dir=given.folder))
    built: dict[str, tuple[Ask, dict[str, float]]] = {}
    try:
        for name in given.systems.split(","):
            (work / name).mkdir()
            start, before = time.perf_counter(), resident()
            try:
                ask = SYSTEMS[name](points, work / name)
            except ImportError as error:
                print(json.dumps({"system": name, "missing": str(error)}), flush=True)
                continue
            seconds = time.perf_counter() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            figures = {"build_s": seconds, "held_mib": resident() - before, "peak_mib": peak}
            figures |= {"disk_mib": mebibytes(work / name)}
            built[name] = ask, figures
            print(_line({"built": name} | figures), flush=True)
        took: dict[str, list[float]] = {name: [] for name in built}
        right = dict.fromkeys(built, 0)
        for query, expected in zip(queries, nearest, strict=True):
            for name, (ask, _) in built.items():  # in turns: each on the same machine
                if sum(took[name]) > given.patience / 2:
                    continue
                for _ in range(2):  # the second counts: what the one before left is not its cost
                    start = time.perf_counter()
                    found = ask(query)
                    seconds = time.perf_counter() - start
                took[name].append(seconds)
                right[name] += len(expected & set(found))
        for name, (_, figures) in built.items():
            p50, p95 = (float(1000 * np.quantile(took[name], q)) for q in (0.5, 0.95))
            asked = len(took[name])
            line = {"system": name, "questions": asked, "recall@10": right[name] / (10 * asked)}
            line |= {"p50_ms": p50, "p95_ms": p95}
            print(_line(line | figures))
    finally:
        shutil.rmtree(work)


def _line(figures: dict[str, Any]) -> str:
    return json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()})


if __name__ == "__main__":
    main()
