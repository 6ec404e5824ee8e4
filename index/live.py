"""Sounds added to, and deleted from, an index that is being served: on disk before anyone is told."""

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.changes import FOLDER, STORED, Upload
from m2d_clap.index.errors import IndexBusyError, LibraryIndexError
from m2d_clap.index.interface import SearchIndex
from m2d_clap.index.reading import ID_LENGTH
from m2d_clap.index.windows import Embedded
from m2d_clap.model.files import to_disk

_PATIENCE = 5.0  # seconds for another change, which takes a fraction of one
_LONGEST_NAME = 100
_ENDING = re.compile(r"\.[a-z0-9]{1,8}")


@dataclass(frozen=True)
class Heard:
    """A sound that was uploaded and embedded. content: SHA-256 of its bytes, in hex; name: the
    file's, as it was given; metadata: JSON values; model: fingerprint of the one that embedded it."""

    content: str
    name: str
    seconds: float
    windows: Sequence[Embedded]
    metadata: Mapping[str, Any]
    model: str

    @property
    def id(self) -> str:
        """As a file of the library with the same bytes has."""
        return self.content[:ID_LENGTH]


@dataclass(frozen=True)
class Limits:
    """What may lie beside a generation before another one is made: rows, or a share of its own (and
    no fewer than `least`), and the share of its clips that may be deleted."""

    rows: int = 4096
    share: float = 0.1
    least: int = 256

    @classmethod
    def of(cls, rows: int) -> "Limits":
        """Never more than so many rows; the share counts above a sixteenth of them."""
        return cls(rows, least=max(1, rows // 16))

    def passed(self, index: SearchIndex) -> bool:
        share = self.share * max(index.windows - index.beside, 0)
        return index.beside > min(self.rows, max(self.least, share)) or index.gone > max(
            self.least, self.share * len(index)
        )


def add(folder: Path, heard: Heard, file: BinaryIO) -> bool:
    """Stores a sound; whether it was not there yet.

    On disk when this returns. Raises IndexBusyError where something else is writing, or an index of
    another model has taken the place of the one it was embedded for, and LibraryIndexError where the
    folder cannot be written.
    """
    with _writing(folder) as catalogue:
        origin = catalogue.origin()
        if origin is not None and origin.fingerprint != heard.model:
            raise IndexBusyError(f"the index {folder} is of another model now: try again soon")
        if catalogue.has(heard.id):
            return False
        name = _plain(heard.name)
        ending = Path(name).suffix.lower()
        if not _ENDING.fullmatch(ending):
            ending = ""
        stored = Path(STORED) / heard.content[:2] / f"{heard.content}{ending}"
        _store(file, folder / stored)
        path = f"{FOLDER}/{heard.id}/{name}"
        upload = Upload(path, stored.as_posix(), heard.metadata)
        catalogue.changes.add(heard.id, heard.seconds, heard.windows, upload)
    return True


def delete(folder: Path, clip: str) -> bool:
    """Whether there was such a sound. A file in the library stays, and is left out from now on.

    On disk when this returns. Raises as `add` does.
    """
    with _writing(folder) as catalogue:
        upload = catalogue.changes.upload(clip)
        there = catalogue.changes.delete(clip)
        if there and upload is not None:
            (folder / upload.stored).unlink(missing_ok=True)
    return there


def deleted(folder: Path) -> dict[str, list[str]]:
    """Sounds of the library that were deleted, by id: the paths of their files, which are left out.

    Raises LibraryIndexError where the folder holds no index.
    """
    with Catalogue.reading(folder / CATALOGUE_FILE) as catalogue:
        return catalogue.changes.left_out()


def undelete(folder: Path, wanted: Collection[str] | None = None) -> dict[str, list[str]]:
    """Takes deleted sounds back, by id or path; None: all. The next run of `m2d-clap index` reads their
    files again. Returns those, as `deleted` does.

    Raises LibraryIndexError, and changes nothing, where one of them is not deleted; else as `add`.
    """
    with _writing(folder) as catalogue:
        known = catalogue.changes.left_out()
        names = {name: clip for clip, paths in known.items() for name in (clip, *paths)}
        for name in wanted or ():
            if name not in names:
                raise LibraryIndexError(
                    f"{name} is no deleted sound: `m2d-clap library deleted {folder}` lists them"
                )
        back = set(known) if wanted is None else {names[name] for name in wanted}
        catalogue.changes.take_back(back)
    return {clip: paths for clip, paths in known.items() if clip in back}


@contextmanager
def _writing(folder: Path) -> Iterator[Catalogue]:
    file = folder / CATALOGUE_FILE
    if not file.is_file():
        raise LibraryIndexError(
            f"{file} is not there, so that nothing can be added or deleted: give the `m2d-clap "
            "index` command that made the index again"
        )
    try:
        with Catalogue.open(file, _PATIENCE) as catalogue:
            yield catalogue
    except OSError as error:
        raise LibraryIndexError(f"{folder} cannot be written ({error.strerror})") from error


def _store(file: BinaryIO, place: Path) -> None:
    """Under its name only when it is whole and on disk."""
    place.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(prefix=".", dir=place.parent)
    try:
        with os.fdopen(descriptor, "wb") as written:
            file.seek(0)
            shutil.copyfileobj(file, written)
        to_disk(Path(aside))
        Path(aside).replace(place)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    to_disk(place.parent, place.parent.parent, place.parent.parent.parent)


def _plain(name: str) -> str:
    """A file's name without folders and without what cannot be shown; the end is kept."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(c if c.isprintable() else "_" for c in last).strip().lstrip(".")
    shown = shown.encode("utf-8", "replace").decode()
    stem, dot, ending = shown.rpartition(".")
    if not (stem and ending.isalnum() and ending.isascii() and len(ending) <= 8):
        stem, dot, ending = shown, "", ""
    return f"{stem[:_LONGEST_NAME] or 'sound'}{dot}{ending}"
