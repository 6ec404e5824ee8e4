"""The searchable index: a FAISS generation and the sounds its rows belong to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.errors import LibraryIndexError

INDEX_FILE, CATALOGUE_FILE = "index.json", "catalogue.sqlite"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Clip:
    """A sound of the library. paths: every file that holds it, relative to the library."""

    id: str
    seconds: float
    paths: tuple[str, ...]

    @property
    def path(self) -> str:
        return self.paths[0]


@dataclass(frozen=True)
class Hit:
    """A clip, the cosine of its best window, and where that lies, in seconds."""

    clip: Clip
    score: float
    start: float
    end: float


class Index:
    """Read-only, and safe to search from several threads."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint: str = facts["fingerprint"]
        self.checkpoint = Path(facts["checkpoint"])
        self.library = Path(facts["library"])
        self._clips = [Clip(c["id"], c["seconds"], tuple(c["paths"])) for c in facts["clips"]]
        self._by_id = {clip.id: clip for clip in self._clips}
        # (clip number, start, end) of every row
        self._rows: list[tuple[int, float, float]] = [tuple(r) for r in facts["rows"]]
        self._vectors: Any = faiss.read_index(str(folder / facts["vectors"]))

    @classmethod
    def open(cls, folder: Path) -> "Index":
        """Raises LibraryIndexError saying how to make one where there is none."""
        try:
            facts = json.loads((folder / INDEX_FILE).read_text())
            if facts["format_version"] != FORMAT_VERSION:
                raise LibraryIndexError(f"{folder} was made by another release: upgrade m2d-clap")
            return cls(folder, facts)
        except FileNotFoundError as error:
            raise LibraryIndexError(
                f"{folder} holds no finished index; make one with: "
                f"m2d-clap index LIBRARY --out {folder}"
            ) from error
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise LibraryIndexError(f"the index {folder} is damaged: {error}") from error

    def __len__(self) -> int:
        return len(self._clips)

    @property
    def dim(self) -> int:
        return int(self._vectors.d)

    def clip(self, clip_id: str) -> Clip | None:
        return self._by_id.get(clip_id)

    def file(self, clip: Clip) -> Path:
        """Where the clip's sound lies."""
        return self.library / clip.path

    def search(self, embedding: NDArray[np.float32], k: int = 10) -> list[Hit]:
        """The k nearest clips to an un-normalised embedding (dim,), best first."""
        query = np.ascontiguousarray(embedding, np.float32).reshape(1, -1)
        if query.shape[1] != self.dim:
            raise LibraryIndexError(f"the query has {query.shape[1]} numbers, not {self.dim}")
        query = query / max(float(np.linalg.norm(query)), 1e-12)
        hits: dict[int, Hit] = {}
        wanted, fetch = min(k, len(self)), min(k, len(self._rows))
        while len(hits) < wanted:  # several windows of one clip may stand in the way
            scores, rows = self._vectors.search(query, fetch)
            hits = {}
            for score, row in zip(scores[0], rows[0], strict=True):
                number, start, end = self._rows[row]
                if number not in hits and len(hits) < wanted:
                    hits[number] = Hit(self._clips[number], float(score), start, end)
            fetch = min(2 * fetch, len(self._rows))
        return list(hits.values())


def write_generation(
    folder: Path, catalogue: Catalogue, dim: int, facts: dict[str, Any]
) -> dict[str, Any]:
    """Builds the vectors aside, then switches to them in one rename; returns index.json's facts."""
    vectors = faiss.IndexFlatIP(dim)
    clips: list[dict[str, Any]] = []
    rows: list[tuple[int, float, float]] = []
    for number, (clip, seconds, paths) in enumerate(catalogue.clips()):
        embedded = catalogue.windows(clip)
        vectors.add(np.stack([e.vector for e in embedded]))
        rows.extend((number, e.start, e.end) for e in embedded)
        clips.append({"id": clip, "seconds": seconds, "paths": paths})
    number = 1 + max((int(f.stem.split("-")[1]) for f in folder.glob("vectors-*.faiss")), default=0)
    name = f"vectors-{number}.faiss"
    faiss.write_index(vectors, str(folder / name))
    whole = {"format_version": FORMAT_VERSION, **facts, "vectors": name}
    whole |= {"clips": clips, "rows": rows}
    aside = folder / f"{INDEX_FILE}.part"
    aside.write_text(json.dumps(whole))
    aside.replace(folder / INDEX_FILE)
    for old in folder.glob("vectors-*.faiss"):
        if old.name != name:
            old.unlink()
    return whole
