"""What a library says of its sounds in files beside them.

`rain.wav.json` or `rain.json` beside `rain.wav` holds an object; `metadata.csv` in the library's
root a table with a column `file` (a path relative to the root), as spreadsheets of any country write
it: with commas, semicolons or tabs, in UTF-8 or Windows-1252. Nested objects become names with
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
from typing import Any, TextIO

from m2d_clap.index.facts import TECHNICAL, Facts, key, plain
from m2d_clap.index.filters import nfc
from m2d_clap.index.walk import File

TABLE = "metadata.csv"
_COLUMN = "file"
_DELIMITERS = ",;\t"
_LARGEST = 1 << 20  # bytes of one file beside a sound
_MOST_KEYS = 200
_MOST_FAULTS = 20
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")


@dataclass(frozen=True)
class Sidecars:
    """facts: of each path that has some; files: the paths of the sidecars themselves; faults:
    (path, reason) of those that could not be read, in whole or in part; unread: paths without facts
    of which the part of the table that could not be read may speak."""

    facts: Mapping[str, Facts]
    files: frozenset[str]
    faults: tuple[tuple[str, str], ...]
    unread: frozenset[str] = frozenset()


def read_sidecars(library: Path, files: tuple[File, ...]) -> Sidecars:
    """Never fails because of one file."""
    there = {file.path: file.size for file in files}
    found: dict[str, dict[str, str | float]] = {}
    faults: list[tuple[str, str]] = []
    own: set[str] = set()
    cut = False
    if TABLE in there and (rows := _Table(library / TABLE)).ours:
        own.add(TABLE)
        by_name = {nfc(path): path for path in there}
        for named, facts in rows:
            if (lies := named if named in there else by_name.get(nfc(named))) is not None:
                found.setdefault(lies, {}).update(facts)
            elif len(rows.faults) < _MOST_FAULTS:
                rows.faults.append(f"line {rows.line} names {named[:200]}, which is not there")
        faults += [(TABLE, fault) for fault in rows.faults]
        cut = rows.cut
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
    unread = frozenset(there.keys() - found.keys() - own) if cut else frozenset[str]()
    return Sidecars(found, frozenset(own), tuple(faults), unread)


def _object(file: Path, size: int) -> dict[str, str | float]:
    if size > _LARGEST:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    try:
        return _known(json.loads(file.read_bytes()))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except OverflowError as error:
        raise ValueError("a number in it is too large") from error


def _known(whole: Any) -> dict[str, str | float]:
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
    """The rows of `metadata.csv`: (path, facts). ours: whether it has a column `file`; cut: whether
    it could not be read to its end."""

    def __init__(self, file: Path) -> None:
        self.faults: list[str] = []
        self.line = 1
        self.ours = True
        self.cut = False
        self._file = file
        self._delimiter = self._encoding = ""
        try:
            self._encoding = _encoding(file)
            self.ours = any(map(self._divides, _DELIMITERS))
        except (OSError, ValueError, csv.Error) as error:
            self._broken(error)

    def __iter__(self) -> Iterator[tuple[str, dict[str, str | float]]]:
        if self.cut:
            return
        try:
            with self._open() as lines:
                reader = csv.reader(lines, delimiter=self._delimiter)
                names = [name.strip().lower() for name in next(reader, [])]
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
            self._broken(error)

    def _open(self) -> TextIO:
        return self._file.open(encoding=self._encoding, newline="")

    def _divides(self, delimiter: str) -> bool:
        """Whether the column is there, divided so."""
        self._delimiter = delimiter
        with self._open() as lines:
            names = next(csv.reader(lines, delimiter=delimiter), [])
        return _COLUMN in [name.strip().lower() for name in names]

    def _broken(self, error: Exception) -> None:
        self.cut = True
        self.faults.append(f"it cannot be read behind line {self.line}: {error}")


def _encoding(file: Path) -> str:
    """Told by the first line with a letter beyond ASCII. One that begins in UTF-8 and goes on
    otherwise is damaged."""
    with file.open("rb") as lines:
        told = next((line for line in lines if not line.isascii()), b"")
    try:
        told.decode()
    except UnicodeDecodeError as error:
        if told[: error.start].isascii():
            return "cp1252"
    return "utf-8-sig"


def _value(cell: str) -> str | float:
    text = plain(cell)
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)
