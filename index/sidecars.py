"""What a library says of its sounds in files beside them.

`rain.wav.json` or `rain.json` beside `rain.wav` holds an object; `metadata.csv` in the library's
root a table with a column `file` (a path relative to the root). Nested objects become names with
dots, lists texts joined by "; ", true and false texts; in the table what looks like a number is
one. Where both speak of a key, the file beside the sound is right.
"""

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from m2d_clap.index.facts import TECHNICAL, Facts, key, plain
from m2d_clap.index.walk import File

TABLE = "metadata.csv"
_COLUMN = "file"
_LARGEST = 1 << 20  # bytes of one file beside a sound
_MOST_KEYS = 200
_MOST_FAULTS = 20
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")


@dataclass(frozen=True)
class Sidecars:
    """facts: of each path that has some; files: the paths of the sidecars themselves; faults:
    (path, reason) of those that could not be read, in whole or in part."""

    facts: Mapping[str, Facts]
    files: frozenset[str]
    faults: tuple[tuple[str, str], ...]


def read_sidecars(library: Path, files: tuple[File, ...]) -> Sidecars:
    """Never fails because of one file."""
    there = {file.path: file.size for file in files}
    found: dict[str, dict[str, str | float]] = {}
    faults: list[tuple[str, str]] = []
    own: set[str] = set()
    if TABLE in there and (rows := _Table(library / TABLE)).ours:
        own.add(TABLE)
        for path, facts in rows:
            if path in there:
                found.setdefault(path, {}).update(facts)
            elif len(rows.faults) < _MOST_FAULTS:
                rows.faults.append(f"line {rows.line} names {path[:200]}, which is not there")
        faults += [(TABLE, fault) for fault in rows.faults]
    stems: dict[str, list[str]] = {}
    for path in there:
        stems.setdefault(str(PurePosixPath(path).with_suffix("")), []).append(path)
    for path, size in there.items():
        if not path.lower().endswith(".json"):
            continue
        stem = path[: -len(".json")]
        sounds = [stem] if stem in there else [p for p in stems[stem] if not p.endswith(".json")]
        if not sounds:
            continue  # it says nothing of a sound: left out as any other file is
        own.add(path)
        try:
            facts = _object(library / path, size)
        except (OSError, ValueError) as error:
            faults.append((path, f"it is no metadata: {error}"))
            continue
        for sound in sounds:
            found.setdefault(sound, {}).update(facts)
    return Sidecars(found, frozenset(own), tuple(faults))


def _object(file: Path, size: int) -> dict[str, str | float]:
    if size > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    try:
        whole = json.loads(file.read_bytes())
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(whole, dict):
        raise ValueError(  # noqa: TRY004 — it is the file's value that is wrong
            'it must hold an object: {"title": …}'
        )
    found: dict[str, str | float] = {}
    for name, value in _flat(whole):
        if len(found) < _MOST_KEYS and name not in TECHNICAL:
            found[name] = value
    return found


def _flat(whole: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str | float]]:
    for given, value in whole.items():
        name = key(f"{before}{given}")
        match value:
            case dict():
                yield from _flat(value, f"{name}.")
                continue
            case list():
                text = "; ".join(str(part) for part in value if isinstance(part, str | int | float))
                value = plain(text)
            case bool():
                value = str(value).lower()
            case str():
                value = plain(value)
            case int() | float():
                value = value if math.isfinite(value) and abs(value) < 1e300 else None
            case _:
                value = None
        if name and value not in (None, ""):
            yield name, value


class _Table:
    """The rows of `metadata.csv`: (path, facts). ours: whether it has a column `file`."""

    def __init__(self, file: Path) -> None:
        self.faults: list[str] = []
        self.line = 1
        self._file = file
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                names = next(csv.reader(lines), [])
        except (OSError, ValueError, csv.Error):
            names = []
        self.ours = _COLUMN in [name.strip().lower() for name in names]

    def __iter__(self) -> Iterator[tuple[str, dict[str, str | float]]]:
        try:
            with self._file.open(encoding="utf-8-sig", newline="") as lines:
                reader = csv.reader(lines)
                names = [name.strip().lower() for name in next(reader)]
                at = names.index(_COLUMN)
                keys = [None if n in (_COLUMN, *TECHNICAL) else key(n) or None for n in names]
                for row in reader:
                    self.line = reader.line_num
                    if len(row) <= at:
                        continue
                    path = PurePosixPath(row[at].strip().replace("\\", "/")).as_posix()
                    cells = zip(keys[:_MOST_KEYS], row, strict=False)
                    yield path, {k: _value(cell) for k, cell in cells if k and cell.strip()}
        except (OSError, ValueError, csv.Error) as error:
            self.faults.append(f"it cannot be read behind line {self.line}: {error}")


def _value(cell: str) -> str | float:
    text = plain(cell)
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)
