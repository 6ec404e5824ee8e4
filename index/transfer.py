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
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
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
_STORED = re.compile(rf"{STORED}/[0-9a-f]{{2}}/([0-9a-f]{{64}})(\.[a-z0-9]{{1,8}})?")


def export(folder: Path, to: Path) -> tuple[int, int]:
    """Writes the index `folder` into the new folder `to`; returns how many clips and windows.

    Raises LibraryIndexError where `folder` is no index, `to` is there, or cannot be written.
    """
    index = Index.open(folder)
    if to.exists():
        raise LibraryIndexError(f"{to} is there already: name a new folder for the export")
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with _explained(to), Catalogue.reading(folder / CATALOGUE_FILE) as catalogue:
        part.mkdir(parents=True)
        clips, windows = catalogue.count()
        shape = (windows, index.dim)
        vectors = np.lib.format.open_memmap(part / VECTORS_FILE, "w+", np.dtype("<f4"), shape)
        row = 0
        with (part / CLIPS_FILE).open("w", encoding="utf-8") as lines:
            for clip in catalogue.clips():
                embedded = catalogue.windows(clip.id)
                vectors[row : row + len(embedded)] = np.stack([e.vector for e in embedded])
                row += len(embedded)
                cut = [[e.start, e.end] for e in embedded]
                known = {"id": clip.id, "seconds": clip.seconds, **catalogue.told(clip.id)}
                more = {"metadata": clip.metadata, "windows": cut}
                if upload := catalogue.changes.upload(clip.id):
                    more["upload"] = vars(upload)
                    _copy(folder / upload.stored, part / upload.stored)
                lines.write(json.dumps(known | more, ensure_ascii=False) + "\n")
        vectors.flush()
        origin = {"fingerprint": index.fingerprint, "checkpoint": str(index.checkpoint)}
        size = {"dim": index.dim, "windows": windows, "clips": clips}
        whole = {"format_version": _FORMAT, **size, **origin, "library": str(index.library)}
        whole["deleted"] = sorted(catalogue.changes.deleted())
        (part / EXPORT_FILE).write_text(json.dumps(whole))
        put_in_place(part, to)
    return clips, windows


def import_(exported: Path, to: Path) -> tuple[int, int]:
    """Makes the new index `to` of an export; returns how many clips and windows.

    No sound is read. `m2d-clap index` goes on with it: files as they were are known to it. Raises
    LibraryIndexError where the export is damaged, or `to` is there or cannot be written.
    """
    if to.exists():
        raise LibraryIndexError(f"{to} is there already: name a new folder for the index")
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with _explained(to):
        try:
            whole = json.loads((exported / EXPORT_FILE).read_text())
            if whole["format_version"] > _FORMAT:
                raise LibraryIndexError(f"{exported} is of a newer release: upgrade m2d-clap")
            places = Path(whole["checkpoint"]), Path(whole["library"])
            origin = Origin(whole["fingerprint"], *places)
            vectors = np.load(exported / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
            _check(vectors, (whole["windows"], whole["dim"]))
            part.mkdir(parents=True)
            with Catalogue.open(part / CATALOGUE_FILE) as catalogue:
                catalogue.claim(origin, part)
                _fill(catalogue, exported, part, vectors)
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


def _fill(catalogue: Catalogue, exported: Path, part: Path, vectors: Any) -> None:
    row = 0
    sidecars: dict[str, dict[str, Any]] = {}
    with (exported / CLIPS_FILE).open(encoding="utf-8") as opened:
        for line in opened:
            clip = json.loads(line)
            cut = clip["windows"]
            rows = np.array(vectors[row : row + len(cut)], np.float32)
            if len(rows) != len(cut) or not cut:
                raise ValueError("it has not as many vectors as windows")
            if len(clip["id"]) != ID_LENGTH:
                raise ValueError(f"{clip['id']!r} is no id of a clip")
            row += len(cut)
            files = [File(f["path"], f["size"], f["mtime_ns"]) for f in clip["files"]]
            catalogue.add(
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
                if place is None or not place[1].startswith(clip["id"]):
                    raise ValueError(f"{upload.stored!r} is no place of the upload {clip['id']}")
                _copy(exported / upload.stored, part / upload.stored)
                catalogue.changes.note(clip["id"], upload)
    if row != len(vectors):
        raise ValueError("it has more vectors than windows")
    catalogue.tell(sidecars)


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(file, to)
    except FileNotFoundError as error:
        raise LibraryIndexError(
            f"the upload {file} is not there, or was deleted just now: give the command again"
        ) from error


def _check(vectors: Any, shape: tuple[int, int]) -> None:
    if vectors.shape != shape or vectors.dtype != np.dtype("<f4"):
        raise ValueError(f"{VECTORS_FILE} is {vectors.dtype} {vectors.shape}, not float32 {shape}")
    for start in range(0, len(vectors), 8192):
        lengths = np.linalg.norm(vectors[start : start + 8192], axis=1)
        if not np.allclose(lengths, 1, atol=1e-3):  # NaN is not close either
            raise ValueError(f"{VECTORS_FILE} holds vectors that are not of unit length")


@contextlib.contextmanager
def _explained(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LibraryIndexError(
            f"{to} cannot be written ({error.strerror}): make room, or name another folder"
        ) from error
