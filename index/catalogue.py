"""The truth about a library: SQLite rows of files, their sounds and embedded windows.

A sound is known by its content, so a file that moved, or is there twice, is embedded once.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SCHEMA = """
CREATE TABLE IF NOT EXISTS clips (id TEXT PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    clip TEXT NOT NULL REFERENCES clips (id));
CREATE TABLE IF NOT EXISTS windows (
    clip TEXT NOT NULL REFERENCES clips (id), position INTEGER NOT NULL,
    start REAL NOT NULL, "end" REAL NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (clip, position));
"""


@dataclass(frozen=True)
class File:
    """A file of the library. path: relative to it, with forward slashes."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Embedded:
    """A window's place in its sound, in seconds, and its unit vector (dim,) float32."""

    start: float
    end: float
    vector: NDArray[np.float32]


class Catalogue:
    """Every method that writes is one transaction, on disk when it returns."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def known(self, file: File) -> bool:
        """Whether this path was seen with this size and time."""
        row = self._db.execute(
            "SELECT 1 FROM files WHERE path = ? AND size = ? AND mtime_ns = ?",
            (file.path, file.size, file.mtime_ns),
        ).fetchone()
        return row is not None

    def has_clip(self, clip: str) -> bool:
        found = self._db.execute("SELECT 1 FROM clips WHERE id = ?", (clip,)).fetchone()
        return found is not None

    def add(self, found: Iterable[tuple[File, str, list[Embedded]]]) -> None:
        """Files with their clip id; windows empty where the clip is already there."""
        with self._db:
            for file, clip, windows in found:
                if windows:
                    self._db.execute(
                        "INSERT OR IGNORE INTO clips VALUES (?, ?)", (clip, windows[-1].end)
                    )
                self._db.execute(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                    (file.path, file.size, file.mtime_ns, clip),
                )
                self._db.executemany(
                    "INSERT OR IGNORE INTO windows VALUES (?, ?, ?, ?, ?)",
                    [
                        (clip, position, w.start, w.end, w.vector.astype("<f4").tobytes())
                        for position, w in enumerate(windows)
                    ],
                )

    def keep_only(self, paths: set[str]) -> int:
        """Forgets files that are gone, and sounds no file holds; returns how many files."""
        gone = [(p,) for (p,) in self._db.execute("SELECT path FROM files") if p not in paths]
        with self._db:
            self._db.executemany("DELETE FROM files WHERE path = ?", gone)
            self._db.execute("DELETE FROM windows WHERE clip NOT IN (SELECT clip FROM files)")
            self._db.execute("DELETE FROM clips WHERE id NOT IN (SELECT clip FROM files)")
        return len(gone)

    def clips(self) -> list[tuple[str, float, tuple[str, ...]]]:
        """(id, seconds, paths), ordered by first path."""
        paths: dict[str, list[str]] = {}
        for path, clip in self._db.execute("SELECT path, clip FROM files ORDER BY path"):
            paths.setdefault(clip, []).append(path)
        seconds = dict(self._db.execute("SELECT id, seconds FROM clips"))
        return [(clip, seconds[clip], tuple(files)) for clip, files in paths.items()]

    def windows(self, clip: str) -> list[Embedded]:
        """The windows of a clip in order."""
        rows = self._db.execute(
            'SELECT start, "end", vector FROM windows WHERE clip = ? ORDER BY position', (clip,)
        )
        return [Embedded(s, e, np.frombuffer(v, "<f4").astype(np.float32)) for s, e, v in rows]
