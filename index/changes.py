"""What was added and deleted while the index was served, in the catalogue, beside its files.

Every change has a number. A generation knows the last one it holds; what came later lies beside it,
and is read from here: of each sound touched since, whether it is there now and what it is.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from m2d_clap.index.captions import Captions
from m2d_clap.index.clips import Clip
from m2d_clap.index.mark import changing
from m2d_clap.index.metadata import metadata
from m2d_clap.index.windows import Embedded

STORED = "sounds"
"""Where the index folder keeps uploads."""
FOLDER = "uploads"
"""Uploaded sounds have paths below it, which name them; where they lie is `Clip.stored`."""


@dataclass(frozen=True)
class Upload:
    """A sound that was uploaded. path: what it is listed as; stored: where the index folder keeps it."""

    path: str
    stored: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Added:
    """A sound that is there, with its windows."""

    clip: Clip
    windows: Sequence[Embedded]


class Changes:
    """Over the catalogue's connection. Methods that write are one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def there(self) -> bool:
        """Whether this catalogue has such tables; older ones have none until they are written to."""
        return self._first("SELECT 1 FROM sqlite_master WHERE name = 'changes'") is not None

    def last(self) -> int:
        """The number of the last change; 0 before the first."""
        if not self.there():
            return 0
        row = self._first("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        return 0 if row is None else int(row[0])

    def forgotten(self) -> int:
        """The last change that is no longer recorded; every later one is."""
        oldest = self._first("SELECT min(seq) FROM changes")[0] if self.there() else None
        return self.last() if oldest is None else int(oldest) - 1

    def since(self, seq: int) -> dict[str, Added | None]:
        """Every sound touched after the change `seq`, as it is now; None: it is not there."""
        if not self.there():
            return {}
        touched = self._db.execute("SELECT DISTINCT clip FROM changes WHERE seq > ?", (seq,))
        return {clip: self.added(clip) for (clip,) in touched.fetchall()}

    def added(self, clip: str) -> Added | None:
        """A sound with its windows, where it is embedded to its end."""
        row = self._first("SELECT seconds FROM clips WHERE id = ?", clip)
        if row is None:
            return None
        found = self._db.execute("SELECT path FROM files WHERE clip = ? ORDER BY path", (clip,))
        known = described(self._db, clip, row[0], [p for (p,) in found])
        rows = self._db.execute(
            'SELECT start, "end", vector FROM windows WHERE clip = ? ORDER BY position', (clip,)
        )
        windows = [Embedded(s, e, np.frombuffer(v, "<f4").astype(np.float32)) for s, e, v in rows]
        return Added(known, windows)

    def upload(self, clip: str) -> Upload | None:
        """What is known of a sound as an upload."""
        row = self._first("SELECT path, stored, metadata FROM uploads WHERE clip = ?", clip)
        return None if row is None else Upload(row[0], row[1], json.loads(row[2]))

    def uploads(self) -> dict[str, Upload]:
        """Every sound that was uploaded."""
        if not self.there():
            return {}
        rows = self._db.execute("SELECT clip, path, stored, metadata FROM uploads")
        return {clip: Upload(path, stored, json.loads(more)) for clip, path, stored, more in rows}

    def deleted(self) -> set[str]:
        """Sounds of the library that were deleted: their files are left out."""
        return {clip for (clip,) in self._db.execute("SELECT clip FROM deleted")}

    def left_out(self) -> dict[str, list[str]]:
        """The files of each of these; none where they have gone, too."""
        rows = self._db.execute(
            "SELECT deleted.clip, path FROM deleted LEFT JOIN files ON files.clip = deleted.clip "
            "ORDER BY path, deleted.clip"
        )
        found: dict[str, list[str]] = {}
        for clip, path in rows:
            found.setdefault(clip, []).extend([] if path is None else [path])
        return found

    def add(self, clip: str, seconds: float, windows: Iterable[Embedded], upload: Upload) -> None:
        with changing(self._db):
            self._db.execute("DELETE FROM windows WHERE clip = ?", (clip,))
            self._db.executemany(
                "INSERT INTO windows VALUES (?, ?, ?, ?, ?)",
                [
                    (clip, position, w.start, w.end, w.vector.astype("<f4").tobytes())
                    for position, w in enumerate(windows)
                ],
            )
            self._db.execute(
                "INSERT OR REPLACE INTO clips (id, seconds) VALUES (?, ?)", (clip, seconds)
            )
            self._put(clip, upload)
            self._db.execute("DELETE FROM deleted WHERE clip = ?", (clip,))
            self._db.execute("INSERT INTO changes (clip) VALUES (?)", (clip,))

    def delete(self, clip: str) -> bool:
        """Whether it was there. Its files in the library stay, and are left out from now on."""
        with changing(self._db):
            gone = self._db.execute("DELETE FROM clips WHERE id = ?", (clip,)).rowcount
            if not gone:
                return False
            self._db.execute("DELETE FROM windows WHERE clip = ?", (clip,))
            self._db.execute("DELETE FROM facts WHERE clip = ?", (clip,))
            self._db.execute("DELETE FROM uploads WHERE clip = ?", (clip,))
            Captions(self._db).forget(clip)
            self._db.execute(
                "INSERT OR IGNORE INTO deleted "
                "SELECT ? WHERE EXISTS (SELECT 1 FROM files WHERE clip = ?)",
                (clip, clip),
            )
            self._db.execute("INSERT INTO changes (clip) VALUES (?)", (clip,))
        return True

    def note(self, clip: str, upload: Upload) -> None:
        """Says of a sound that it was uploaded."""
        with changing(self._db):
            self._put(clip, upload)

    def _put(self, clip: str, upload: Upload) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?)",
            (clip, upload.path, upload.stored, json.dumps(dict(upload.metadata))),
        )

    def leave_out(self, clips: Iterable[str]) -> None:
        """Has sounds of the library left out that were deleted from another index of it."""
        with changing(self._db):
            self._db.executemany(
                "INSERT OR IGNORE INTO deleted VALUES (?)", [(clip,) for clip in clips]
            )

    def take_back(self, clips: Iterable[str]) -> None:
        """Leaves files of deleted sounds out no longer: the next run over the library reads them."""
        with changing(self._db):
            self._db.executemany("DELETE FROM deleted WHERE clip = ?", [(clip,) for clip in clips])

    def forget(self, seq: int) -> None:
        """Drops the record of changes up to `seq`, which every generation still in use holds."""
        with self._db:
            self._db.execute("DELETE FROM changes WHERE seq <= ?", (seq,))

    def _first(self, question: str, *values: str) -> Any:
        return self._db.execute(question, values).fetchone()


def described(db: sqlite3.Connection, clip: str, seconds: float, paths: Sequence[str]) -> Clip:
    """A clip of the library, of an upload, or of both."""
    upload = Changes(db).upload(clip)
    if upload is None:
        return Clip(clip, seconds, tuple(paths), metadata(db, clip))
    known = metadata(db, clip, upload.metadata)
    return Clip(clip, seconds, (*paths, upload.path), known, upload.stored)
