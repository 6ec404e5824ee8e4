"""A new generation of the index: a folder built aside, renamed into place, switched to in one rename.

    index.json            which generation counts, and what it was made from and with
    generation-7/         clips and rows as columns, vectors.faiss, exact.f16 (see `kinds`)
    catalogue.sqlite      the truth, from which generations are made
    sounds/               uploads, named by their content

Who has opened a generation keeps it, though its folder be removed: its files are mapped.
"""

import json
import os
import shutil
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
from numpy.typing import NDArray

from m2d_clap.index import kinds
from m2d_clap.index.base import (
    EXACT_FILE,
    FORMAT_VERSION,
    INDEX_FILE,
    VECTORS_FILE,
    Base,
    number_of,
)
from m2d_clap.index.calibration import Calibration, drawn, of_sounds
from m2d_clap.index.catalogue import LOCK_FILE, Catalogue
from m2d_clap.index.changes import STORED
from m2d_clap.index.clips import Clip, Clips
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.kinds import Kind, Rows, Tuning, Wish
from m2d_clap.index.lock import held
from m2d_clap.index.origin import Origin
from m2d_clap.index.recall import tuned
from m2d_clap.index.texts import load, save
from m2d_clap.index.windows import Embedded
from m2d_clap.model.files import to_disk, whole


class Contents(Protocol):
    """What a generation is made of. rows: about how many windows; seq: its last change; mark: of a
    catalogue's contents; clips: by first path."""

    rows: int
    seq: int
    mark: str | None

    def clips(self) -> Iterator[Clip]: ...
    def windows(self, clip: str) -> list[Embedded]: ...


class OfCatalogue:
    """Everything that a catalogue holds."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.rows = catalogue.count()[1]
        self.seq = catalogue.changes.last()
        self.mark = catalogue.mark()

    def clips(self) -> Iterator[Clip]:
        return self._catalogue.clips()

    def windows(self, clip: str) -> list[Embedded]:
        return self._catalogue.windows(clip)


@dataclass(frozen=True)
class Made:
    """A generation that is written and not switched to. place: where it lies, under a name of its
    own; facts: for index.json; writing: holds the place, until it is closed."""

    place: Path
    facts: dict[str, Any]
    clips: int
    rows: int
    writing: ExitStack


def write_generation(
    folder: Path, catalogue: Catalogue, dim: int, origin: Origin, wish: Wish | None = None
) -> tuple[int, int]:
    """Makes a generation of every embedded clip and switches to it; returns how many clips and rows.

    wish: None is what was asked for before. The caller holds the catalogue, open to be written.
    Raises LibraryIndexError where the folder cannot be written.
    """
    made = make(folder, OfCatalogue(catalogue), dim, origin, wish)
    switch(folder, made, catalogue)
    return made.clips, made.rows


def unchanged(
    folder: Path, catalogue: Catalogue, origin: Origin, wish: Wish | None = None
) -> tuple[int, int] | None:
    """How many clips and rows the generation holds that counts, where it is whole, is what is asked
    for, and the catalogue holds just the same; else None."""
    facts, mark = current(folder), catalogue.mark()
    asked: dict[str, Any] = {key: str(value) for key, value in vars(origin).items()}
    asked["mark"] = mark
    if wish is not None:
        asked["wish"] = vars(wish)
    if mark is None or any(facts.get(key) != value for key, value in asked.items()):
        return None
    try:
        base = Base.open(folder, facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None
    return len(base.clips), len(base.vectors)


def make(
    folder: Path, contents: Contents, dim: int, origin: Origin, wish: Wish | None = None
) -> Made:
    """Writes a generation aside. Nobody need stop writing to the catalogue meanwhile."""
    _sweep_made(folder)
    before = current(folder)
    wish = wish or (Wish(**before["wish"]) if before.get("wish") else Wish())
    kind = wish.choose(contents.rows, dim) if contents.rows > 1 else "flat"
    place = folder / f"making-{os.urandom(4).hex()}"
    try:
        place.mkdir()
        with ExitStack() as writing:
            try:
                writing.enter_context(held(place / LOCK_FILE, 0.0))
                owners = _write_rows(place, contents, dim, kind)
                exact = _exact(place, dim, kind)
                tuning = _write_vectors(folder, place, exact, kind, before)
                calibration = _calibrate(exact, owners)
                if kind == "flat":
                    (place / EXACT_FILE).unlink()
                to_disk(place)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
            still = writing.pop_all()
    except RuntimeError as error:
        raise LibraryIndexError(f"{place} cannot be written: {error}") from error
    facts: dict[str, Any] = {"format_version": FORMAT_VERSION}
    facts |= {key: str(value) for key, value in vars(origin).items()}
    facts |= {"seq": contents.seq, "dim": dim, "wish": vars(wish), "tuning": vars(tuning)}
    facts["mark"] = contents.mark
    if calibration is not None:
        facts["calibration"] = vars(calibration)
    clips = int(owners[-1]) + 1 if len(owners) else 0
    return Made(place, facts, clips, len(owners), still)


def switch(folder: Path, made: Made, catalogue: Catalogue) -> None:
    """What was made becomes what counts, at once and for good; the one before stays for a reader
    that has just read its name, older ones go. The catalogue is open to be written."""
    before = current(folder)
    numbers = [number_of(f.name) for f in (*folder.glob("generation-*"), *folder.glob("vectors-*"))]
    name = f"generation-{1 + max(numbers, default=0)}"
    (made.place / LOCK_FILE).unlink()
    made.place.rename(folder / name)
    made.writing.close()
    to_disk(folder)
    with whole(folder / INDEX_FILE) as aside:
        aside.write_text(json.dumps(made.facts | {"generation": name}))
    catalogue.changes.forget(int(before.get("seq", 0)))
    _only(folder, {name, before.get("generation"), before.get("vectors")})
    sweep(folder, catalogue)


def _sweep_made(folder: Path) -> None:
    for left in folder.glob("making-*"):
        with suppress(LibraryIndexError), held(left / LOCK_FILE, 0.0):  # else one is at it still
            shutil.rmtree(left, ignore_errors=True)


def sweep(folder: Path, catalogue: Catalogue) -> None:
    """Takes away what was cut short, generations and uploads. The catalogue is open to be written."""
    _sweep_made(folder)
    known = {upload.stored for upload in catalogue.changes.uploads().values()}
    for file in (folder / STORED).glob("*/*"):
        if file.relative_to(folder).as_posix() not in known:
            file.unlink(missing_ok=True)


def current(folder: Path) -> dict[str, Any]:
    """What index.json says; nothing where it cannot be read."""
    try:
        facts = json.loads((folder / INDEX_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write_rows(place: Path, contents: Contents, dim: int, kind: Kind) -> NDArray[np.int64]:
    """Clips, rows and exact vectors, clip by clip. Returns the number of each row's clip."""
    counts, times = array("q"), array("d")
    number = np.dtype(_exact_number(kind))
    with (place / EXACT_FILE).open("wb") as file:

        def written() -> Iterator[Clip]:
            for clip in contents.clips():
                if windows := contents.windows(clip.id):
                    counts.append(len(windows))
                    times.extend(t for w in windows for t in (w.start, w.end))
                    file.write(np.stack([w.vector for w in windows]).astype(number).tobytes())
                    yield clip

        clips = Clips.of(written())
    to_disk(place / EXACT_FILE)
    clips.write(place)
    owners = np.repeat(np.arange(len(clips)), np.array(counts, np.int64))
    save(place / "owners.npy", owners)
    save(place / "times.npy", np.array(times, np.float64).reshape(-1, 2))
    return owners


def _exact(place: Path, dim: int, kind: Kind) -> Rows:
    rows = len(load(place / "owners.npy"))
    if not rows:
        return np.zeros((0, dim), np.float32)
    number = np.dtype(_exact_number(kind))
    if (place / EXACT_FILE).stat().st_size != number.itemsize * rows * dim:
        raise LibraryIndexError(
            f"not every vector in {place.parent} has {dim} numbers: two models were at work on it. "
            "Embed it again, with `m2d-clap index --anew`"
        )
    return np.memmap(place / EXACT_FILE, number, "r", shape=(rows, dim))


def _exact_number(kind: Kind) -> str:
    return "<f4" if kind == "flat" else "<f2"


def _write_vectors(
    folder: Path, place: Path, exact: Rows, kind: Kind, before: dict[str, Any]
) -> Tuning:
    index, tuning = _trained_before(folder, kind, len(exact), before) or kinds.empty(
        kind, len(exact), exact.shape[1]
    )
    kinds.fill(index, tuning, exact)
    tuning = tuned(index, tuning, exact)
    faiss.write_index(index, str(place / VECTORS_FILE))
    to_disk(place / VECTORS_FILE)
    return tuning


def _trained_before(
    folder: Path, kind: Kind, rows: int, before: dict[str, Any]
) -> tuple[Any, Tuning] | None:
    """The centres of the generation before, where they fit as many rows as there are: learning them
    is most of the work."""
    tuning = before.get("tuning", {})
    if tuning.get("kind") != kind or kind not in ("ivf-sq8", "pq"):
        return None
    if not tuning["trained"] / 1.5 <= rows <= tuning["trained"] * 1.5:
        return None
    try:
        index: Any = faiss.read_index(
            str(folder / before["generation"] / VECTORS_FILE), faiss.IO_FLAG_SKIP_IVF_DATA
        )
    except RuntimeError:
        return None
    lists: Any = faiss.ArrayInvertedLists(index.nlist, index.code_size)
    index.replace_invlists(lists, True)
    lists.this.disown()
    index.ntotal = 0
    return index, Tuning(**tuning)


def _calibrate(exact: Rows, owners: NDArray[np.int64]) -> Calibration | None:
    sample = np.array(drawn(len(owners)), np.int64)
    if not len(sample):
        return None
    return of_sounds(exact[sample].astype(np.float32), owners[sample])


def _only(folder: Path, keep: set[str | None]) -> None:
    for old in folder.glob("generation-*"):
        if old.name not in keep:
            shutil.rmtree(old, ignore_errors=True)
    for file in folder.glob("vectors-*.faiss"):
        if file.name not in keep:
            file.unlink(missing_ok=True)
