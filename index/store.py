"""The searchable index: a FAISS generation and the sounds its rows belong to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.origin import Origin

INDEX_FILE = "index.json"
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
    """Read-only, and safe to search from several threads.

    facts: index.json; vectors: the FAISS index whose row i is `facts["rows"][i]`.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], vectors: Any) -> None:
        self.folder = folder
        self.fingerprint: str = facts["fingerprint"]
        self.checkpoint = Path(facts["checkpoint"])
        self.library = Path(facts["library"])
        self._clips = [Clip(c["id"], c["seconds"], tuple(c["paths"])) for c in facts["clips"]]
        self._by_id = {clip.id: clip for clip in self._clips}
        # (clip number, start, end) of every row
        self._rows: list[tuple[int, float, float]] = [(n, s, e) for n, s, e in facts["rows"]]
        self._vectors = vectors
        self.generation = int(Path(facts["vectors"]).stem.split("-")[1])
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
        return len(self._clips)

    @property
    def dim(self) -> int:
        return int(self._vectors.d)

    def check_model(self, fingerprint: str, checkpoint: Path) -> None:
        """Raises LibraryIndexError, with the command that mends it, where the model is another."""
        made = Origin(self.fingerprint, self.checkpoint, self.library)
        made.refuse_other(Origin(fingerprint, checkpoint.resolve(), self.library), self.folder)

    @property
    def windows(self) -> int:
        """How many vectors are searched."""
        return len(self._rows)

    def clip(self, clip_id: str) -> Clip | None:
        return self._by_id.get(clip_id)

    def file(self, clip: Clip) -> Path:
        """Where the clip's sound lies."""
        return self.library / clip.path

    def search(self, embedding: NDArray[np.float32], k: int = 10) -> list[Hit]:
        """The k nearest clips to an un-normalised embedding (dim,), best first.

        Raises LibraryIndexError where the embedding has another length or is not finite, or k < 1.
        """
        query = np.ascontiguousarray(embedding, np.float32).reshape(1, -1)
        if query.shape[1] != self.dim:
            raise LibraryIndexError(f"the query has {query.shape[1]} numbers, not {self.dim}")
        if not np.isfinite(query).all():
            raise LibraryIndexError("the query holds numbers that are not finite: embed it again")
        if k < 1:
            raise LibraryIndexError(f"k is {k}: ask for at least one hit")
        length = max(float(np.linalg.norm(query.astype(np.float64))), 1e-12)
        query = (query / length).astype(np.float32)
        wanted, fetch = min(k, len(self)), min(k, len(self._rows))
        while True:  # several windows of one clip may stand in the way
            hits = self._best(query, fetch, wanted)
            if len(hits) == wanted or fetch == len(self._rows):
                return hits
            fetch = min(2 * fetch, len(self._rows))

    def _best(self, query: NDArray[np.float32], fetch: int, wanted: int) -> list[Hit]:
        """Of the `fetch` nearest rows, the best of each clip."""
        hits: dict[int, Hit] = {}
        if fetch:
            scores, rows = self._vectors.search(query, fetch)
            for score, row in zip(scores[0], rows[0], strict=True):
                number, start, end = self._rows[row]
                if number not in hits and len(hits) < wanted:
                    hits[number] = Hit(self._clips[number], float(score), start, end)
        return list(hits.values())


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
