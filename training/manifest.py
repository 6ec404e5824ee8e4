"""The one format training data comes in: a CSV of files, captions, labels and splits."""

import csv
import difflib
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import IO, TypeVar

from m2d_clap.model.errors import ClapError
from m2d_clap.model.files import whole

SPLITS = ("train", "valid", "test")
FOLD = re.compile(r"fold[1-9]\d*|\d+")
TEXTS = ("caption", "captions", "label", "labels")
KNOWN = ("file", *TEXTS, "split", "source", "weight", "recording")
SHOWN = 10
"""Faults of one kind that a message names before it only counts them."""
THREADS = 16

Found = TypeVar("Found")


class ManifestError(ClapError):
    """A manifest that cannot be read or written, or a sound it names that is not there."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sound: its file, every caption it may go by (at least one), label and split."""

    file: Path
    captions: tuple[str, ...]
    label: str
    """The one class of the sound; empty where it has none, or several."""
    split: str
    columns: Mapping[str, str]
    """Every column of the manifest, as it stands there, in the first line of several."""
    labels: tuple[str, ...] = ()
    """All classes of the sound; `label` is always among them."""
    weight: float = 1.0
    """Visits of this row for one of a row of weight 1; above 0."""
    recording: str = ""
    """Name of the original recording, the same for all that was cut from it; empty: unknown."""
    source: str = ""
    """The data set or collection the sound is from."""
    line: int = field(default=0, compare=False)
    """Where the row ends in its manifest, from 1; 0: it did not come from one."""

    def __post_init__(self) -> None:
        if self.label and self.label not in self.labels:
            object.__setattr__(self, "labels", (self.label, *self.labels))


def is_fold(split: str) -> bool:
    """Whether the name is a fold's (fold1, fold2, …, or a plain integer)."""
    return FOLD.fullmatch(split) is not None


def read_manifest(manifest: Path) -> list[Row]:
    """Rows of a CSV with a header: file, caption or captions, label or labels, split, and others.

    `file` is relative to the manifest. `captions` holds several, separated by `|`, `labels` by
    `;`. Without a caption every label, underscores as spaces, is one. A missing split is "train",
    a missing `weight` 1; `recording` and `source` may be missing. Lines with the same file and
    split are one row, in the first one's place: with all their captions, one after another, and
    labels; else they agree.
    Raises ManifestError with the line of the first fault.
    """
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as opened:
            return _together(manifest, _rows(manifest, opened))
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read the manifest {manifest}: {error}") from error


def _rows(manifest: Path, opened: IO[str]) -> Iterator[Row]:
    reader = csv.DictReader(opened, strict=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        if "file" not in reader.fieldnames:
            found = ", ".join(reader.fieldnames) or "none"
            raise ValueError(f"there is no column 'file' (columns: {found})")
        for values in reader:
            yield _row(manifest.parent, reader.line_num, values)
    except UnicodeDecodeError:
        raise
    except csv.Error as error:  # somewhere in the row that starts after the last good one
        raise ManifestError(f"{manifest}, line {reader.line_num + 1}: {error}") from error
    except ValueError as error:
        raise ManifestError(f"{manifest}, line {max(reader.line_num, 1)}: {error}") from error


def _row(folder: Path, line: int, values: Mapping[str | None, str | list[str] | None]) -> Row:
    if any(values.get(None) or ()):
        raise ValueError("more cells than columns; text that holds a comma needs quotes")
    present = {k: v.strip() if isinstance(v, str) else "" for k, v in values.items() if k}
    if not present["file"]:
        raise ValueError("the file is missing")
    label = present.get("label", "")
    labels = _several(present, "labels", ";")
    if label and label not in labels:
        labels = (label, *labels)
    captions = tuple(c for c in (present.get("caption", ""),) if c)
    captions += _several(present, "captions", "|")
    if not captions and not labels:
        raise ValueError("neither caption nor label")
    return Row(
        file=folder / present["file"],
        captions=captions or captions_of(labels),
        label=label,
        split=_split(present.get("split", "") or "train"),
        columns=present,
        labels=labels,
        weight=_weight(present.get("weight", "") or "1"),
        recording=present.get("recording", ""),
        source=present.get("source", ""),
        line=line,
    )


def _together(manifest: Path, rows: Iterable[Row]) -> list[Row]:
    """Those of one file and split as one: a common shape has a line for every caption."""
    of_sound: dict[tuple[Path, str], list[Row]] = {}
    for row in rows:
        of_sound.setdefault((row.file, row.split), []).append(row)
    return [same[0] if len(same) == 1 else _one_of(manifest, same) for same in of_sound.values()]


def _one_of(manifest: Path, same: Sequence[Row]) -> Row:
    first, *others = same
    for other in others:
        for column, cell in first.columns.items():
            if column not in (*TEXTS, "file", "split") and other.columns[column] != cell:
                raise ManifestError(
                    f"{manifest}, lines {first.line} and {other.line}: both are {first.file} in the "
                    f"split {first.split!r}, but their {column!r} differs ({cell!r} and "
                    f"{other.columns[column]!r}): make them equal, or leave the column out"
                )
    labels = tuple(dict.fromkeys(label for row in same for label in row.labels))
    one = {row.label for row in same if row.label}
    written = [row for row in same if row.columns.get("caption") or row.columns.get("captions")]
    said = tuple(caption for row in written for caption in row.captions)
    return replace(
        first,
        captions=said or captions_of(labels),
        label=one.pop() if len(one) == 1 else "",
        labels=labels,
    )


def captions_of(labels: Iterable[str]) -> tuple[str, ...]:
    """What a sound without captions goes by: each of its labels, underscores as spaces."""
    return tuple(label.replace("_", " ") for label in labels)


def _several(present: Mapping[str, str], column: str, separator: str) -> tuple[str, ...]:
    cell = present.get(column, "")
    if not cell:
        return ()
    entries = tuple(entry.strip() for entry in cell.split(separator))
    if not all(entries):
        raise ValueError(f"an entry of '{column}' is empty: {cell!r}")
    return entries


def _split(name: str) -> str:
    if name in SPLITS or FOLD.fullmatch(name):
        return name
    known = (*SPLITS, *(f"fold{number}" for number in range(1, 11)))
    near = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"the split {name!r} is none of {', '.join(SPLITS)}, fold1, fold2, … or a number{hint}"
    )


def _weight(cell: str) -> float:
    try:
        weight = float(cell)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ValueError(f"the weight {cell!r} is no number above 0")
    return weight


def write_manifest(rows: Iterable[Row], path: Path) -> None:
    """Writes what read_manifest reads back as the same rows, those of one file and split as one; all
    of it or, when killed, nothing.

    Files are written relative to the folder of `path`, other columns as they are; a column
    without any content is left out. Raises ManifestError.
    """
    rows = list(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        seen = cache(partial(_seen_from, path.parent.absolute()))
        used = {name for row in rows for name, cell in _cells(row, "").items() if cell}
        others = dict.fromkeys(name for row in rows for name in row.columns if name not in KNOWN)
        names = [n for n in (*KNOWN, *others) if n in used | {"file", "split"}]
        with whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, names, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            for row in rows:
                file = Path(seen(row.file.parent), row.file.name)
                writer.writerow(_cells(row, file.as_posix()))
    except (OSError, ValueError) as error:
        raise ManifestError(f"cannot write the manifest {path}: {error}") from error


def _cells(row: Row, file: str) -> dict[str, str]:
    if not row.captions or not all(row.captions):
        raise ValueError(f"{row.file}: a caption is missing")
    one = row.captions[0] if len(row.captions) == 1 else ""
    several = "" if one else _joined(row, row.captions, "|")
    if row.labels and row.captions == captions_of(row.labels):
        one = several = ""
    return {name: cell for name, cell in row.columns.items() if name not in KNOWN} | {
        "file": file,
        "caption": one,
        "captions": several,
        "label": row.label,
        "labels": "" if row.labels == (row.label,) else _joined(row, row.labels, ";"),
        "split": _split(row.split),
        "source": row.source,
        "weight": "" if row.weight == 1 else repr(row.weight),
        "recording": row.recording,
    }


def _joined(row: Row, entries: Sequence[str], separator: str) -> str:
    for entry in entries:
        if separator in entry:
            raise ValueError(f"{row.file}: {entry!r} holds {separator!r}, which separates entries")
    return separator.join(entries)


def _seen_from(folder: Path, parent: Path) -> str:
    parent = parent.absolute()
    if parent.is_relative_to(folder):
        return str(parent.relative_to(folder))
    # Through "..", links have to be followed first, as the system will when it reads.
    parent = parent.resolve()
    try:
        return os.path.relpath(parent, folder.resolve())
    except ValueError:  # another drive
        return str(parent)


def licensed(rows: Iterable[Row], without: Sequence[str]) -> list[Row]:
    """The rows whose licence column holds none of these words, such as NC."""
    return [r for r in rows if not any(w in r.columns.get("licence", "") for w in without)]


def identity(rows: Sequence[Row]) -> str:
    """A digest that is equal for rows of which a run learns, and by which it is scored, the same:
    the sizes of their files, splits, captions, classes and weights, in their order. Raises OSError
    where a file is not there."""
    digest = hashlib.sha256()
    sizes = each_file(lambda file: file.stat().st_size, [row.file for row in rows])
    for size, row in zip(sizes, rows, strict=True):
        facts = [size, row.split, row.captions, row.label, row.labels, row.weight]
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:16]


def each_file(work: Callable[[Path], Found], files: Sequence[Path]) -> list[Found]:
    """[work(file) for file in files], in threads: a disk answers many questions at once."""
    # Parts, since a task a file would cost more than asking for it.
    length = max(1, min(1024, len(files) // (4 * THREADS)))
    parts = (files[start : start + length] for start in range(0, len(files), length))
    with ThreadPoolExecutor(THREADS) as pool:
        done = pool.map(lambda part: [work(file) for file in part], parts)
        return [found for part in done for found in part]


def check_files(rows: Sequence[Row]) -> None:
    """Raises ManifestError with the lines of the rows whose file is not there."""
    there = each_file(os.path.isfile, [row.file for row in rows])
    missing = [row for row, found in zip(rows, there, strict=True) if not found]
    if missing:
        named = [f"  line {row.line}: {row.file}" for row in missing[:SHOWN]]
        if len(missing) > SHOWN:
            named.append(f"  and {len(missing) - SHOWN} more")
        raise ManifestError(
            f"{len(missing)} of {len(rows)} sounds are not there; `file` is relative to the "
            "manifest's folder:\n" + "\n".join(named)
        )
