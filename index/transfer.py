"""An index as plain files, and back: for other programs, other machines, other releases.

    vectors.npy   (windows, dim) float32, of unit length
    clips.jsonl   a clip a line: {"id", "seconds", "files": [{"path", "size", "mtime_ns"}], "sha256",
                  "facts", "sidecars": {path: {…}}, "metadata", "windows": [[start, end], …]}, and of
                  an upload {"upload": {"path", "stored", "metadata"}}
    sounds/       the uploads, at their `stored`
    export.json   {"format_version", "dim", "windows", "clips", "fingerprint", "checkpoint", "library",
                  "deleted": ids of sounds that are left out, whatever files hold them}

The windows of the first clip are the first rows of the vectors, and so on. `metadata` is what the
rest, and the caption where one was made, comes to; it is not read back: `--captions` makes them again.
All of this can be one file instead, whose name ends in `.parquet`: see `parquet.py`.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.changes import STORED, Upload
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.generation import write_generation
from m2d_clap.index.origin import Origin
from m2d_clap.index.reading import ID_LENGTH
from m2d_clap.index.store import Index
from m2d_clap.index.swap import put_in_place
from m2d_clap.index.walk import File
from m2d_clap.index.windows import Embedded

EXPORT_FILE, CLIPS_FILE, VECTORS_FILE = "export.json", "clips.jsonl", "vectors.npy"
_FORMAT = 1
_TOGETHER = 1000  # windows in one transaction
# Older releases kept whatever stood behind the last dot of a name.
_STORED = re.compile(rf"{STORED}/[0-9a-f]{{2}}/([0-9a-f]{{64}})(\.[^/]{{1,200}})?")


def export(folder: Path, to: Path) -> tuple[int, int]:
    """Writes the index `folder` into the new folder, or Parquet file, `to`; returns how many clips and
    windows.

    Raises LibraryIndexError where `folder` is no index, `to` is there, or cannot be written.
    """
    index = Index.open(folder)
    if to.exists():
        raise LibraryIndexError(f"{to} is there already: name another place for the export")
    part = to.with_name(f"{to.name}.part")
    _clear(part)
    with _explained(to), Catalogue.reading(folder / CATALOGUE_FILE) as catalogue:
        clips, windows = catalogue.count()
        origin = {"fingerprint": index.fingerprint, "checkpoint": str(index.checkpoint)}
        size = {"dim": index.dim, "windows": windows, "clips": clips}
        whole = {"format_version": _FORMAT, **size, **origin, "library": str(index.library)}
        whole["deleted"] = sorted(catalogue.changes.deleted())
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(part, whole, _told(folder, catalogue), as_file=_is_parquet(to))
            put_in_place(part, to)
        finally:
            _clear(part)
    return clips, windows


def _told(folder: Path, catalogue: Catalogue) -> Iterator[tuple[dict[str, Any], Any, Path | None]]:
    """(line of clips.jsonl, (windows, dim) vectors, an upload's file) of every clip."""
    for clip in catalogue.clips():
        embedded = catalogue.windows(clip.id)
        record = {"id": clip.id, "seconds": clip.seconds, **catalogue.told(clip.id)}
        cut = [[e.start, e.end] for e in embedded]
        record |= {"metadata": dict(clip.metadata), "windows": cut}
        sound = None
        if upload := catalogue.changes.upload(clip.id):
            record["upload"] = vars(upload)
            sound = folder / upload.stored
        yield record, np.stack([e.vector for e in embedded]), sound


def _write(
    part: Path,
    whole: dict[str, Any],
    told: Iterator[tuple[dict[str, Any], Any, Path | None]],
    as_file: bool,
) -> None:
    if as_file:
        from m2d_clap.index.parquet import ParquetWriter  # an extra

        with contextlib.closing(ParquetWriter(part, whole)) as file:
            for record, rows, sound in told:
                file.put(record, rows, None if sound is None else _content(sound))
        return
    part.mkdir()
    head = {"descr": "<f4", "fortran_order": False, "shape": (whole["windows"], whole["dim"])}
    with (
        (part / VECTORS_FILE).open("wb") as vectors,
        (part / CLIPS_FILE).open("w", encoding="utf-8") as lines,
    ):
        # Written, not mapped: a disk that is full kills who writes to a mapped file.
        np.lib.format.write_array_header_1_0(vectors, head)
        for record, rows, sound in told:
            vectors.write(rows.astype("<f4").tobytes())
            if sound is not None:
                _copy(sound, part / record["upload"]["stored"])
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
    (part / EXPORT_FILE).write_text(json.dumps(whole))


def import_(exported: Path, to: Path) -> tuple[int, int]:
    """Makes the new index `to` of an export, a folder or a Parquet file; returns how many clips and windows.

    No sound is read. `m2d-clap index` goes on with it: files as they were are known to it. Raises
    LibraryIndexError where the export is damaged, or `to` is there or cannot be written.
    """
    if to.exists():
        raise LibraryIndexError(f"{to} is there already: name a new folder for the index")
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with _explained(to):
        try:
            whole = _whole(exported)
            if whole["format_version"] > _FORMAT:
                raise LibraryIndexError(f"{exported} is of a newer release: upgrade m2d-clap")
            places = Path(whole["checkpoint"]), Path(whole["library"])
            origin = Origin(whole["fingerprint"], *places)
            part.mkdir(parents=True)
            with Catalogue.open(part / CATALOGUE_FILE) as catalogue:
                catalogue.claim(origin, part)
                _fill(catalogue, part, whole, _read(exported, whole))
                catalogue.changes.leave_out(whole.get("deleted", []))
                counts = write_generation(part, catalogue, whole["dim"], origin)
            put_in_place(part, to)
        except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
            raise LibraryIndexError(
                f"{exported} is no whole export ({error}): make one with "
                "`m2d-clap library export INDEX FOLDER`"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return counts


def _whole(exported: Path) -> dict[str, Any]:
    if not _is_parquet(exported):
        return dict(json.loads((exported / EXPORT_FILE).read_text()))
    from m2d_clap.index.parquet import read_whole

    return read_whole(exported)


def _read(
    exported: Path, whole: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], Any, Path | bytes | None]]:
    """What `_told` gives; of an upload its file, or its bytes."""
    if _is_parquet(exported):
        from m2d_clap.index.parquet import read_clips

        try:
            yield from read_clips(exported)
        except OSError as error:  # as pyarrow calls bytes that were changed
            raise ValueError(str(error)) from error
        return
    vectors = np.load(exported / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
    shape = (whole["windows"], whole["dim"])
    if vectors.shape != shape or vectors.dtype != np.dtype("<f4"):
        raise ValueError(f"{VECTORS_FILE} is {vectors.dtype} {vectors.shape}, not float32 {shape}")
    row = 0
    with (exported / CLIPS_FILE).open(encoding="utf-8") as opened:
        for line in opened:
            record = json.loads(line)
            rows = np.array(vectors[row : row + len(record["windows"])], np.float32)
            row += len(rows)
            upload = record.get("upload")
            yield record, rows, None if upload is None else exported / upload["stored"]


def _fill(
    catalogue: Catalogue,
    part: Path,
    whole: dict[str, Any],
    told: Iterator[tuple[dict[str, Any], Any, Path | bytes | None]],
) -> None:
    windows = 0
    sidecars: dict[str, dict[str, Any]] = {}
    some = _Some(catalogue)
    for clip, rows, sound in told:
        cut = clip["windows"]
        if rows.shape != (len(cut), whole["dim"]) or not cut:
            raise ValueError("it has not as many vectors as windows")
        if not np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3):  # NaN is not close either
            raise ValueError("it holds vectors that are not of unit length")
        if len(clip["id"]) != ID_LENGTH:
            raise ValueError(f"{clip['id']!r} is no id of a clip")
        windows += len(cut)
        files = [File(f["path"], f["size"], f["mtime_ns"]) for f in clip["files"]]
        some.add(
            windows=[
                (clip["id"], n, Embedded(float(start), float(end), vector))
                for n, ((start, end), vector) in enumerate(zip(cut, rows, strict=True))
            ],
            clips=[(clip["id"], float(clip["seconds"]))],
            files=[(file, clip["id"]) for file in files],
            facts=[(clip["id"], clip["sha256"], clip["facts"])] if clip["sha256"] else [],
        )
        sidecars |= clip["sidecars"]
        if (given := clip.get("upload")) is not None:
            upload = Upload(given["path"], given["stored"], given["metadata"])
            place = _STORED.fullmatch(upload.stored)
            if place is None or not place[1].startswith(clip["id"]) or sound is None:
                raise ValueError(f"{upload.stored!r} is no place of the upload {clip['id']}")
            _copy(sound, part / upload.stored)
            catalogue.changes.note(clip["id"], upload)
    some.put()
    if windows != whole["windows"]:
        raise ValueError(f"it has {windows} windows, not {whole['windows']}")
    catalogue.tell(sidecars)


class _Some:
    """Rows for a catalogue, put into it many at a time: each time is awaited on the disk."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._rows: dict[str, list[Any]] = {}

    def add(self, **rows: Sequence[Any]) -> None:
        for table, more in rows.items():
            self._rows.setdefault(table, []).extend(more)
        if len(self._rows["windows"]) >= _TOGETHER:
            self.put()

    def put(self) -> None:
        self._catalogue.add(**self._rows)
        self._rows = {}


def _copy(sound: Path | bytes, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sound, bytes):
        to.write_bytes(sound)
        return
    with _there(sound):
        shutil.copyfile(sound, to)


def _content(sound: Path) -> bytes:
    with _there(sound):
        return sound.read_bytes()


@contextlib.contextmanager
def _there(sound: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise LibraryIndexError(
            f"the upload {sound} is not there, or was deleted just now: give the command again"
        ) from error


def _is_parquet(place: Path) -> bool:
    return place.suffix.lower() == ".parquet"


def _clear(part: Path) -> None:
    """What a run that was stopped left."""
    shutil.rmtree(part, ignore_errors=True)
    if part.is_file():
        part.unlink()


@contextlib.contextmanager
def _explained(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryIndexError(
            f"{to} cannot be written ({error.strerror}): make room, or name another folder"
        ) from error
