"""A generation that is open: clips, rows and vectors as they lie on disk, mapped and never changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.calibration import Calibration
from m2d_clap.index.clips import Clip, Clips
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.kinds import AUTO, Tuning, Wish
from m2d_clap.index.texts import load
from m2d_clap.index.vectors import Vectors

FORMAT_VERSION = 2
INDEX_FILE = "index.json"
VECTORS_FILE, EXACT_FILE = "vectors.faiss", "exact.f16"


@dataclass(frozen=True, eq=False)
class Base:
    """owners: (rows,) the number of each row's clip; times: (rows, 2) start and end in seconds; seq:
    the last change that it holds; wish: the kind that was asked for; calibration: between sounds,
    None where there are too few."""

    clips: Clips
    owners: NDArray[np.int64]
    times: NDArray[np.float64]
    vectors: Vectors
    calibration: Calibration | None = None
    number: int = 0
    seq: int = 0
    wish: Wish = AUTO

    def __post_init__(self) -> None:
        if not len(self.vectors) == len(self.owners) == len(self.times):
            raise ValueError(f"{len(self.vectors)} vectors for {len(self.owners)} rows")

    @classmethod
    def of(
        cls,
        clips: Iterable[Clip],
        owners: Sequence[int],
        times: Sequence[tuple[float, float]],
        vectors: NDArray[np.float32],
        **more: Any,
    ) -> "Base":
        """In memory, flat. vectors: (rows, dim), of unit length."""
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(np.ascontiguousarray(vectors, np.float32))
        return cls(
            Clips.of(clips),
            np.array(owners, np.int64),
            np.array(times, np.float64).reshape(-1, 2),
            Vectors(flat, Tuning(recall=1.0)),
            **more,
        )

    @classmethod
    def open(cls, folder: Path, facts: Mapping[str, Any]) -> "Base":
        """folder: of the index; facts: its index.json.

        Raises FileNotFoundError where the generation is gone, and OSError, ValueError, KeyError,
        TypeError or RuntimeError where it is damaged.
        """
        if facts["format_version"] == 1:
            return _of_release_0_1(folder, facts)
        if facts["format_version"] != FORMAT_VERSION:
            raise LibraryIndexError(f"{folder} was made by another release: upgrade m2d-clap")
        place = folder / facts["generation"]
        tuning = Tuning(**facts["tuning"])
        index = _mapped(place / VECTORS_FILE)
        exact = None
        if tuning.kind != "flat":
            shape = (int(index.ntotal), int(index.d))
            # As a plain array, whose slices cost a tenth of a memmap's.
            exact = np.memmap(place / EXACT_FILE, np.float16, "r", shape=shape).view(np.ndarray)
            if (place / EXACT_FILE).stat().st_size != exact.nbytes:
                raise ValueError(f"{EXACT_FILE} is of another size")
        times: Any = load(place / "times.npy")
        return cls(
            Clips.open(place),
            load(place / "owners.npy"),
            times,
            Vectors(index, tuning, exact),
            calibration_of(facts),
            number_of(facts["generation"]),
            int(facts["seq"]),
            Wish(**facts["wish"]),
        )


def number_of(generation: str) -> int:
    """Of a generation's folder, or of the vectors of release 0.1."""
    number = Path(generation).stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def calibration_of(facts: Mapping[str, Any]) -> Calibration | None:
    learned = facts.get("calibration")
    return None if learned is None else Calibration(learned["slope"], learned["offset"])


def _mapped(file: Path) -> Any:
    """Lists, flat vectors and codes are used where they lie. FAISS's older way of mapping lists starts
    32 threads a search to read ahead, which costs more than the search."""
    if not file.is_file():
        raise FileNotFoundError(file)
    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)


def _of_release_0_1(folder: Path, facts: Mapping[str, Any]) -> Base:
    """Everything in one JSON beside flat vectors."""
    rows = facts["rows"]
    clips = [
        Clip(c["id"], c["seconds"], tuple(c["paths"]), c.get("metadata", {}))
        for c in facts["clips"]
    ]
    flat = _mapped(folder / facts["vectors"])
    return Base(
        Clips.of(clips),
        np.array([number for number, _, _ in rows], np.int64),
        np.array([row[1:] for row in rows], np.float64).reshape(-1, 2),
        Vectors(flat, Tuning(recall=1.0)),
        calibration_of(facts),
        number_of(facts["vectors"]),
    )
