"""A new generation of the index: built aside, switched to in one rename."""

import json
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from m2d_clap.index.calibration import Calibration, drawn, of_sounds
from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.origin import Origin
from m2d_clap.index.store import FORMAT_VERSION, INDEX_FILE


def write_generation(
    folder: Path, catalogue: Catalogue, dim: int, origin: Origin
) -> tuple[int, int]:
    """Writes every embedded clip as vectors and index.json; returns how many clips and rows.

    The generation before stays, for a reader that has just read its index.json; older ones go.
    """
    vectors = faiss.IndexFlatIP(dim)
    clips: list[dict[str, Any]] = []
    rows: list[tuple[int, float, float]] = []
    for number, (clip, seconds, paths) in enumerate(catalogue.clips()):
        embedded = catalogue.windows(clip)
        vectors.add(np.stack([e.vector for e in embedded]))
        rows.extend((number, e.start, e.end) for e in embedded)
        known = {"id": clip, "seconds": seconds, "paths": paths}
        clips.append({**known, "metadata": catalogue.metadata(clip)})
    number = 1 + max((int(f.stem.split("-")[1]) for f in folder.glob("vectors-*.faiss")), default=0)
    name, before = f"vectors-{number}.faiss", _current(folder)
    facts = {key: str(value) for key, value in vars(origin).items()}
    whole = {"format_version": FORMAT_VERSION, **facts, "vectors": name}
    whole |= {"clips": clips, "rows": rows}
    if (calibration := _calibrate(vectors, rows)) is not None:
        whole["calibration"] = vars(calibration)
    aside = folder / f"{INDEX_FILE}.part"
    try:
        faiss.write_index(vectors, str(folder / name))
    except RuntimeError as error:
        raise LibraryIndexError(f"{folder / name} cannot be written: {error}") from error
    aside.write_text(json.dumps(whole))
    _to_disk(folder / name)
    _to_disk(aside)
    aside.replace(folder / INDEX_FILE)
    _to_disk(folder)
    for old in folder.glob("vectors-*.faiss"):
        if old.name not in (name, before):
            old.unlink()
    return len(clips), len(rows)


def _calibrate(vectors: Any, rows: list[tuple[int, float, float]]) -> Calibration | None:
    sample = drawn(len(rows))
    if not sample:
        return None
    of_rows = vectors.reconstruct_batch(np.array(sample, np.int64))
    return of_sounds(of_rows, np.array([rows[row][0] for row in sample], np.int64))


def _current(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / INDEX_FILE).read_text())["vectors"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_disk(path: Path) -> None:
    """fsync of a file or folder, so that a power cut cannot undo what came before the rename."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
