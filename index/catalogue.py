"""The truth about a library: SQLite rows of files, their sounds and embedded windows.

A sound is known by its content, so a file that moved, or is there twice, is embedded once. Windows
are written batch by batch; the sound counts as embedded when its row in `clips` is written, which
is in the transaction of its last window or a later one.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.captions import Captions
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.origin import Origin
from m2d_clap.index.walk import File

CATALOGUE_FILE = "catalogue.sqlite"
_APPLICATION, _FORMAT = 0x4D32434C, 1  # "M2CL" in the file's header tells our files from others
_SCHEMA = f"""
BEGIN;
CREATE TABLE origin (name TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE clips (id TEXT PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, clip TEXT NOT NULL);
CREATE TABLE broken (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE windows (
    clip TEXT NOT NULL, position INTEGER NOT NULL,
    start REAL NOT NULL, "end" REAL NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (clip, position));
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
COMMIT;
"""


@dataclass(frozen=True)
class Embedded:
    """A window's place in its sound, in seconds, and its unit vector (dim,) float32."""

    start: float
    end: float
    vector: NDArray[np.float32]


class Catalogue:
    """Every method that writes is one transaction, on disk when it returns."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @classmethod
    @contextmanager
    def open(cls, file: Path) -> Iterator["Catalogue"]:
        """Opens or makes a catalogue; no one else can open it meanwhile.

        Raises LibraryIndexError, inside the `with` too, where the file is damaged, is something
        else, cannot be written, or is in use.
        """
        try:
            with closing(sqlite3.connect(file, timeout=1.0)) as db:
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
                tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                mark = db.execute("PRAGMA application_id").fetchone()[0]
                if tables and mark != _APPLICATION:
                    raise LibraryIndexError(f"{file} is not ours: choose another --out")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                if not tables:
                    db.executescript(_SCHEMA)
                if db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
                    raise LibraryIndexError(
                        f"{file.parent} was made by another release of m2d-clap: choose another "
                        "--out, or delete it and give the same command again"
                    )
                yield cls(db)
        except sqlite3.DatabaseError as error:
            raise _explained(file, error) from error

    def claim(self, given: Origin, folder: Path) -> None:
        """Records what the index is made from. Raises LibraryIndexError where it was another model."""
        found = {n: json.loads(v) for n, v in self._db.execute("SELECT name, json FROM origin")}
        if found:
            paths = Path(found["checkpoint"]), Path(found["library"])
            Origin(found["fingerprint"], *paths).refuse_other(given, folder)
        facts = {name: str(value) for name, value in vars(given).items()}
        if facts == found:
            return
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO origin VALUES (?, ?)",
                # JSON, because a path on disk need not be UTF-8 and SQLite's text must be
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def known(self, file: File) -> bool:
        """Whether this path was seen with this size and time, and its sound is embedded."""
        row = self._db.execute(
            "SELECT 1 FROM files JOIN clips ON clip = id "
            "WHERE path = ? AND size = ? AND mtime_ns = ?",
            (file.path, file.size, file.mtime_ns),
        ).fetchone()
        return row is not None

    def broken(self, file: File) -> str | None:
        """Why this path, with this size and time, is no sound."""
        row = self._db.execute(
            "SELECT reason FROM broken WHERE path = ? AND size = ? AND mtime_ns = ?",
            (file.path, file.size, file.mtime_ns),
        ).fetchone()
        return None if row is None else str(row[0])

    def complete(self) -> set[str]:
        """Ids of the sounds that are embedded to their end."""
        return {clip for (clip,) in self._db.execute("SELECT id FROM clips")}

    def begun(self) -> dict[str, int]:
        """Ids of the sounds that are not, with how many of their first windows are there."""
        return dict(
            self._db.execute(
                "SELECT clip, count(*) FROM windows "
                "WHERE clip NOT IN (SELECT id FROM clips) GROUP BY clip"
            )
        )

    def add(
        self,
        windows: Iterable[tuple[str, int, Embedded]] = (),
        clips: Iterable[tuple[str, float]] = (),
        files: Iterable[tuple[File, str]] = (),
        broken: Iterable[tuple[File, str]] = (),
    ) -> None:
        """(clip, position, window), (clip, seconds), (file, clip) and (file, reason)."""
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?)",
                (
                    (clip, position, w.start, w.end, w.vector.astype("<f4").tobytes())
                    for clip, position, w in windows
                ),
            )
            self._db.executemany("INSERT OR REPLACE INTO clips VALUES (?, ?)", clips)
            self._put("files", "broken", files)
            self._put("broken", "files", broken)

    def _put(self, table: str, other: str, rows: Iterable[tuple[File, str]]) -> None:
        for file, what in rows:
            self._db.execute(f"DELETE FROM {other} WHERE path = ?", (file.path,))
            self._db.execute(
                f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)",
                (file.path, file.size, file.mtime_ns, what),
            )

    def keep_only(self, paths: set[str]) -> int:
        """Forgets files that are gone, and sounds no file holds; returns how many files."""
        gone = [(p,) for (p,) in self._db.execute("SELECT path FROM files") if p not in paths]
        mended = [(p,) for (p,) in self._db.execute("SELECT path FROM broken") if p not in paths]
        with self._db:
            self._db.executemany("DELETE FROM files WHERE path = ?", gone)
            self._db.executemany("DELETE FROM broken WHERE path = ?", mended)
            self._db.execute("DELETE FROM clips WHERE id NOT IN (SELECT clip FROM files)")
            self._db.execute("DELETE FROM files WHERE clip NOT IN (SELECT id FROM clips)")
            self._db.execute("DELETE FROM windows WHERE clip NOT IN (SELECT id FROM clips)")
        return len(gone)

    @property
    def captions(self) -> Captions:
        """Of its sounds, where they were asked for."""
        return Captions(self._db)

    def clips(self) -> list[tuple[str, float, tuple[str, ...]]]:
        """(id, seconds, paths), ordered by first path."""
        paths: dict[str, list[str]] = {}
        for path, clip in self._db.execute("SELECT path, clip FROM files ORDER BY path"):
            paths.setdefault(clip, []).append(path)
        seconds = dict(self._db.execute("SELECT id, seconds FROM clips"))
        return [(c, seconds[c], tuple(files)) for c, files in paths.items() if c in seconds]

    def windows(self, clip: str) -> list[Embedded]:
        """The windows of a clip in order."""
        rows = self._db.execute(
            'SELECT start, "end", vector FROM windows WHERE clip = ? ORDER BY position', (clip,)
        )
        return [Embedded(s, e, np.frombuffer(v, "<f4").astype(np.float32)) for s, e, v in rows]


def _explained(file: Path, error: sqlite3.DatabaseError) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LibraryIndexError(
            f"another `m2d-clap index` is at work on {file.parent}: let it end, or stop it"
        )
    kinds = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")
    if name.startswith(kinds):
        return LibraryIndexError(
            f"{file} cannot be written ({error}): make room, or choose another --out"
        )
    return LibraryIndexError(
        f"{file} is damaged ({error}): delete the folder {file.parent} and give the same command "
        "again, or choose another --out"
    )
