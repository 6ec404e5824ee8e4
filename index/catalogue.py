"""The truth about a library: SQLite rows of files, their sounds and embedded windows.

A sound is known by its content, so a file that moved, or is there twice, is embedded once. Windows
are written batch by batch; the sound counts as embedded when its row in `clips` is written, which
is in the transaction of its last window or a later one.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from m2d_clap.index.captions import Captions
from m2d_clap.index.changes import STORED, Changes, described
from m2d_clap.index.clips import Clip
from m2d_clap.index.errors import IndexBusyError, LibraryIndexError
from m2d_clap.index.facts import Facts
from m2d_clap.index.lock import held
from m2d_clap.index.mark import changing, mark
from m2d_clap.index.origin import Origin
from m2d_clap.index.schema import APPLICATION, FORMAT, migrate, stand_in
from m2d_clap.index.walk import INDEX_MARK, File
from m2d_clap.index.windows import Embedded

CATALOGUE_FILE = INDEX_MARK
LOCK_FILE = "writing.lock"
_UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_FULL = sqlite3.SQLITE_IOERR_SHMSIZE  # no room even for what readers write beside the file


class Catalogue:
    """Every method that writes is one transaction, on disk when it returns."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.changes = Changes(db)

    @classmethod
    @contextmanager
    def open(cls, file: Path, patience: float = 1.0) -> Iterator["Catalogue"]:
        """Opens or makes a catalogue, or makes an older release's into one of this; no one else can
        open it to write meanwhile.

        Raises LibraryIndexError, inside the `with` too, where the file is damaged, is something
        else, cannot be written, or is in use.
        """
        try:
            with (
                held(file.with_name(LOCK_FILE), patience),
                closing(sqlite3.connect(file, timeout=patience)) as db,
            ):
                tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                mark = db.execute("PRAGMA application_id").fetchone()[0]
                if tables and mark != APPLICATION:
                    raise LibraryIndexError(f"{file} is not ours: choose another --out")
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                if db.execute("PRAGMA user_version").fetchone()[0] > FORMAT:
                    raise LibraryIndexError(
                        f"{file.parent} was made by another release of m2d-clap, newer than this "
                        "one: upgrade m2d-clap, or choose another --out"
                    )
                migrate(db)
                yield cls(db)
        except sqlite3.DatabaseError as error:
            raise _explained(file, error) from error

    @classmethod
    @contextmanager
    def reading(cls, file: Path) -> Iterator["Catalogue"]:
        """As it is now, whoever writes to it meanwhile. Raises LibraryIndexError as `open` does."""
        try:
            with closing(_read_only(file)) as db:
                stand_in(db)
                db.execute("BEGIN")
                yield cls(db)
        except sqlite3.DatabaseError as error:
            raise _explained(file, error) from error

    def claim(self, given: Origin, place: Path | str) -> None:
        """Records what the index is made from. Raises LibraryIndexError where it was another model."""
        found = self.origin()
        if found is not None:
            found.refuse_other(given, place)
        if found == given:
            return
        facts = {name: str(value) for name, value in vars(given).items()}
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO origin VALUES (?, ?)",
                # JSON, because a path on disk need not be UTF-8 and SQLite's text must be
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def known(self, file: File) -> bool:
        """Whether this path was seen with this size and time, and its sound is embedded."""
        row = self._db.execute(
            "SELECT 1 FROM files WHERE path = ? AND size = ? AND mtime_ns = ? AND "
            "(clip IN (SELECT id FROM clips) OR clip IN (SELECT clip FROM deleted))",
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

    def has(self, clip: str) -> bool:
        """Whether a sound is embedded to its end."""
        found = self._db.execute("SELECT 1 FROM clips WHERE id = ?", (clip,)).fetchone()
        return found is not None

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
        facts: Iterable[tuple[str, str, Facts]] = (),
        headers: Iterable[tuple[str, str, Facts]] = (),
    ) -> None:
        """(clip, position, window), (clip, seconds), (file, clip), (file, reason) and (clip,
        sha-256, facts); headers: the same, of clips that were not decoded: where none are there."""
        with changing(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?)",
                (
                    (clip, position, w.start, w.end, w.vector.astype("<f4").tobytes())
                    for clip, position, w in windows
                ),
            )
            self._db.executemany("INSERT OR REPLACE INTO clips VALUES (?, ?)", clips)
            for conflict, told in (("REPLACE", facts), ("IGNORE", headers)):
                self._db.executemany(
                    f"INSERT OR {conflict} INTO facts VALUES (?, ?, ?)",
                    ((clip, sha256, _json(known)) for clip, sha256, known in told),
                )
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
        with changing(self._db):
            self._db.executemany("DELETE FROM files WHERE path = ?", gone)
            self._db.executemany("DELETE FROM broken WHERE path = ?", mended)
            self._db.execute(
                "DELETE FROM clips WHERE id NOT IN (SELECT clip FROM files) "
                "AND id NOT IN (SELECT clip FROM uploads)"
            )
            self._db.execute(
                "DELETE FROM files WHERE clip NOT IN (SELECT id FROM clips) "
                "AND clip NOT IN (SELECT clip FROM deleted)"
            )
            self._db.execute("DELETE FROM windows WHERE clip NOT IN (SELECT id FROM clips)")
            self._db.execute("DELETE FROM facts WHERE clip NOT IN (SELECT id FROM clips)")
            self.captions.forget_gone()
        return len(gone)

    @property
    def captions(self) -> Captions:
        """Of its sounds, where they were asked for."""
        return Captions(self._db)

    def paths(self) -> dict[str, str]:
        """The clip of every file."""
        return dict(self._db.execute("SELECT path, clip FROM files"))

    def stamps(self) -> list[tuple[str, int, int, str]]:
        """(path, size, mtime_ns, clip) of every file."""
        return self._db.execute(
            "SELECT path, size, mtime_ns, clip FROM files ORDER BY path"
        ).fetchall()

    def undescribed(self) -> set[str]:
        """Paths of sounds that an older release embedded: their facts have never been read."""
        found = self._db.execute(
            "SELECT path FROM files WHERE clip NOT IN (SELECT clip FROM facts) "
            "AND clip NOT IN (SELECT clip FROM deleted)"
        )
        return {path for (path,) in found}

    def tell(self, sidecars: Mapping[str, Facts], kept: Collection[str] = ()) -> None:
        """What is said of each path, in place of what was; that of paths in `kept` stays."""
        news = self.untold(sidecars, kept)
        if not news:
            return
        with changing(self._db):
            gone = [(path,) for path in news - sidecars.keys()]
            self._db.executemany("DELETE FROM sidecars WHERE path = ?", gone)
            self._db.executemany(
                "INSERT OR REPLACE INTO sidecars VALUES (?, ?)",
                [(path, _json(sidecars[path])) for path in news & sidecars.keys()],
            )

    def untold(self, sidecars: Mapping[str, Facts], kept: Collection[str] = ()) -> set[str]:
        """Paths of which `tell` would change what is said."""
        old = dict(self._db.execute("SELECT path, json FROM sidecars"))
        news = {path for path, facts in sidecars.items() if old.get(path) != _json(facts)}
        return news | {path for path in old if path not in sidecars and path not in kept}

    def clips(self) -> Iterator[Clip]:
        """Every sound embedded to its end, uploads too, by first path."""
        paths: dict[str, list[str]] = {}
        for path, clip in self._db.execute("SELECT path, clip FROM files ORDER BY path"):
            paths.setdefault(clip, []).append(path)
        seconds = dict(self._db.execute("SELECT id, seconds FROM clips"))
        first = {clip: upload.path for clip, upload in self.changes.uploads().items()}
        first |= {clip: files[0] for clip, files in paths.items()}
        for clip in sorted(first.keys() & seconds.keys(), key=first.__getitem__):
            yield described(self._db, clip, seconds[clip], paths.get(clip, ()))

    def count(self) -> tuple[int, int]:
        """How many `clips` there are, and how many windows of them."""
        # While a run is at it, a file that changed leaves a sound behind that no file holds.
        there = (
            "SELECT id FROM clips WHERE id IN (SELECT clip FROM files) "
            "OR id IN (SELECT clip FROM uploads)"
        )
        clips = self._db.execute(f"SELECT count(*) FROM ({there})").fetchone()[0]
        windows = self._db.execute(
            f"SELECT count(*) FROM windows WHERE clip IN ({there})"
        ).fetchone()[0]
        return int(clips), int(windows)

    def sizes(self) -> dict[str, int]:
        """How many windows each sound has that is embedded to its end."""
        return dict(
            self._db.execute(
                "SELECT clip, count(*) FROM windows "
                "WHERE clip IN (SELECT id FROM clips) GROUP BY clip"
            )
        )

    def told(self, clip: str) -> dict[str, Any]:
        """What is behind `metadata`: sha256 and facts (None and {} where they were never read), the
        files that hold the clip, and what is said beside each."""
        one = "SELECT sha256, json FROM facts WHERE clip = ?"
        sha256, facts = self._db.execute(one, (clip,)).fetchone() or (None, "{}")
        files = self._db.execute(
            "SELECT path, size, mtime_ns FROM files WHERE clip = ? ORDER BY path", (clip,)
        ).fetchall()
        said = self._db.execute(
            "SELECT path, json FROM files JOIN sidecars USING (path) WHERE clip = ?", (clip,)
        )
        return {
            "files": [{"path": p, "size": size, "mtime_ns": mtime} for p, size, mtime in files],
            "sha256": sha256,
            "facts": json.loads(facts),
            "sidecars": {path: json.loads(text) for path, text in said},
        }

    def mend(self, statement: str, *values: str | int) -> int:
        """How many rows a statement of `check.py` took away."""
        with changing(self._db):
            return self._db.execute(statement, values).rowcount

    def integrity(self) -> str | None:
        """What SQLite finds wrong with its file."""
        found = str(self._db.execute("PRAGMA integrity_check(1)").fetchone()[0])
        return None if found == "ok" else found

    def origin(self) -> Origin | None:
        """What the index is made from; None before it was claimed."""
        found = {n: json.loads(v) for n, v in self._db.execute("SELECT name, json FROM origin")}
        if "fingerprint" not in found:
            return None
        return Origin(found["fingerprint"], Path(found["checkpoint"]), Path(found["library"]))

    def mark(self) -> str | None:
        """Of what it holds, see `mark.py`."""
        return mark(self._db)

    def windows(self, clip: str) -> list[Embedded]:
        """The windows of a clip in order."""
        rows = self._db.execute(
            'SELECT start, "end", vector FROM windows WHERE clip = ? ORDER BY position', (clip,)
        )
        return [Embedded(s, e, np.frombuffer(v, "<f4").astype(np.float32)) for s, e, v in rows]


def _json(facts: Facts) -> str:
    return json.dumps(dict(facts))


def _read_only(file: Path) -> sqlite3.Connection:
    """Where nothing can be written, not even beside the file, it is read as it lies: then no one
    here writes to it either."""
    place = file.resolve().as_uri()
    db = sqlite3.connect(f"{place}?mode=ro", uri=True, timeout=1.0)
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        code = error.sqlite_errorcode
        if code & 0xFF not in _UNWRITABLE and code != _FULL:
            raise
        db = sqlite3.connect(f"{place}?mode=ro&immutable=1", uri=True)
    return db


def _explained(file: Path, error: sqlite3.DatabaseError) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return IndexBusyError(
            f"another `m2d-clap index`, or another program, is at work on {file.parent}: "
            "let it end, or stop it, and try again"
        )
    kinds = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_PERM")
    if name.startswith(kinds):
        return LibraryIndexError(
            f"{file} cannot be written ({error}): make room, or choose another --out"
        )
    return LibraryIndexError(
        f"{file} is damaged ({error}): restore a backup, or move the folder {file.parent} aside "
        f"and index again; sounds that the service added lie in its `{STORED}/`"
    )
