"""A copy of an index that can be taken while it is served, and the way back.

The catalogue is copied by SQLite's backup, the generation that is served and the uploads, which
never change once they are written, by hard links where both lie on one disk. `backup.json` holds the sha-256 of each.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from m2d_clap.index.base import INDEX_FILE
from m2d_clap.index.catalogue import CATALOGUE_FILE, LOCK_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.generation import current
from m2d_clap.index.lock import held
from m2d_clap.index.store import Index
from m2d_clap.index.swap import put_in_place, refuse_mount
from m2d_clap.model.files import to_disk

BACKUP_FILE = "backup.json"
_FORMAT = 1
_PATIENCE = 5.0  # seconds for a change that the service is writing
_TRIES = 5  # as the index may be replaced while its files are linked
_CHECK = "`m2d-clap index LIBRARY --out INDEX --check` verifies it"
# Read as it lies, what another one is writing would be left out of the copy.
_WRITABLE = "mount the index writable for the backup, which others may be writing to"
_LATER = "let `m2d-clap index` end first"
_ROOM = "make room, or name another folder"
_ADVICE = {
    "SQLITE_BUSY": _LATER,
    "SQLITE_LOCKED": _LATER,
    "SQLITE_CANTOPEN": _WRITABLE,
    "SQLITE_READONLY": _WRITABLE,
    "SQLITE_FULL": _ROOM,
    "SQLITE_IOERR": _ROOM,
}
_OURS = ("-wal", "-shm", "-journal", ".part", ".lock")


def back_up(folder: Path, to: Path) -> int:
    """Copies the index `folder` to the new folder `to`; returns how many bytes it holds.

    Raises LibraryIndexError where `folder` is no index, `to` is there, or cannot be written.
    """
    Index.open(folder)  # what cannot be opened is not worth keeping
    if to.exists():
        raise LibraryIndexError(f"{to} is there already: name a new folder for the backup")
    with _explained(to), _aside(to) as part:
        for tried in range(_TRIES):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            try:
                _copy(folder, part)
                Index.open(part)
            except (FileNotFoundError, LibraryIndexError):
                if tried == _TRIES - 1:
                    raise
                continue
            break
        sums = {name: _sha256(part / name) for name in sorted(_files(part))}
        whole = {"format_version": _FORMAT, "sha256": sums}
        (part / BACKUP_FILE).write_text(json.dumps(whole))
        to_disk(part, *part.rglob("*"))
        put_in_place(part, to)
        to_disk(to.parent)
    return sum(file.stat().st_size for file in to.rglob("*") if file.is_file())


def restore(backup: Path, to: Path, replace: bool = False) -> Path | None:
    """Makes the index `to` of a backup, once every byte of it was verified.

    Where there is something at `to`, it is refused, or with `replace` kept beside it; then its new
    path is returned. Raises LibraryIndexError.
    """
    try:
        whole: dict[str, Any] = json.loads((backup / BACKUP_FILE).read_text())
        sums: dict[str, str] = whole["sha256"]
        newer = whole["format_version"] > _FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LibraryIndexError(
            f"{backup} is no backup, or not a whole one: make one with "
            "`m2d-clap library backup INDEX FOLDER`"
        ) from error
    if newer:
        raise LibraryIndexError(f"{backup} was made by a newer release: upgrade m2d-clap")
    refuse_mount(to)
    if to.exists() and not replace:
        raise LibraryIndexError(f"{to} is there already: name another folder, or add --replace")
    bad = [name for name, known in sums.items() if not _is(backup / name, known)]
    if bad:
        raise LibraryIndexError(
            f"{backup} is damaged: {', '.join(bad[:5])} is not as it was written; nothing was "
            "changed. Use another backup"
        )
    with _explained(to), _aside(to) as part:
        part.mkdir(parents=True)
        for name in sums:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            # never linked: what is written to the index must not reach the backup
            shutil.copy2(backup / name, part / name)
        to_disk(part, *part.rglob("*"))
        with contextlib.ExitStack() as alone:
            if to.is_dir():  # what is written to it goes by its path, and would land in the other
                alone.enter_context(held(to / LOCK_FILE, _PATIENCE))
            before = put_in_place(part, to)
        to_disk(to.parent)
        return before


def _copy(folder: Path, part: Path) -> None:
    """Raises FileNotFoundError where the index was replaced, or an upload deleted, meanwhile."""
    facts = (folder / INDEX_FILE).read_bytes()
    served = current(folder)
    uri = f"{(folder / CATALOGUE_FILE).resolve().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as live,
        closing(sqlite3.connect(part / CATALOGUE_FILE)) as copy,
    ):
        live.backup(copy)
    with Catalogue.reading(part / CATALOGUE_FILE) as catalogue:
        sounds = [upload.stored for upload in catalogue.changes.uploads().values()]
    names = [name for name in (served.get("generation"), served.get("vectors")) if name]
    own = [file for name in names for file in (folder / name, *(folder / name).rglob("*"))]
    for file in (*own, *(folder / sound for sound in sounds)):
        if file.is_dir():
            continue
        copied = part / file.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, copied)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, or one that knows no links
            shutil.copy2(file, copied)
    if (folder / INDEX_FILE).read_bytes() != facts:
        raise FileNotFoundError(folder / INDEX_FILE)
    (part / INDEX_FILE).write_bytes(facts)


def _files(folder: Path) -> Iterator[str]:
    for file in folder.rglob("*"):
        if file.is_file() and not file.name.endswith(_OURS) and file.name != BACKUP_FILE:
            yield file.relative_to(folder).as_posix()


@contextlib.contextmanager
def _aside(to: Path) -> Iterator[Path]:
    """Where what is to become `to` is made; nothing of it stays, however that ends."""
    part = to.with_name(f"{to.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is(file: Path, known: str) -> bool:
    try:
        return _sha256(file) == known
    except OSError:
        return False


@contextlib.contextmanager
def _explained(to: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "")
        advice = next((text for kind, text in _ADVICE.items() if name.startswith(kind)), _CHECK)
        raise LibraryIndexError(f"the catalogue could not be copied ({error}): {advice}") from error
    except OSError as error:
        raise LibraryIndexError(
            f"{to} cannot be written ({error.strerror}): make room, or name another folder"
        ) from error
