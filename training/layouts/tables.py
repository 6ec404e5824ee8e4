"""The CSV and JSON tables that data sets come with, checked against what was published."""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from m2d_clap.training.manifest import ManifestError


def find_tables(source: Path, names: Iterable[str], folders: Sequence[str] = ("",)) -> list[Path]:
    """Those of `names` that are there, each in the first of `folders` below `source` with it.

    Raises ManifestError when none is.
    """
    found = seek_tables(source, names, folders)
    if not found:
        sought = ", ".join(str(Path(folder, name)) for folder in folders for name in names)
        raise ManifestError(f"{source} holds none of {sought}")
    return found


def seek_tables(source: Path, names: Iterable[str], folders: Sequence[str] = ("",)) -> list[Path]:
    """As find_tables, but empty when none is there."""
    places = ([source / folder / name for folder in folders] for name in names)
    there = ([place for place in of_name if place.is_file()] for of_name in places)
    return [of_name[0] for of_name in there if of_name]


def read_table(
    file: Path, *columns: str, encoding: str = "utf-8-sig", empty: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of a CSV whose header has at least `columns`.

    Raises ManifestError with file and line, also where one of `columns` but those in `empty` has
    nothing in it.
    """
    try:
        with file.open(newline="", encoding=encoding) as opened:
            reader = csv.DictReader(opened)
            names = [name.strip() for name in reader.fieldnames or ()]
            if lacking := [name for name in columns if name not in names]:
                raise ManifestError(
                    f"{file}, line 1: there is no column {', '.join(map(repr, lacking))} "
                    f"(columns: {', '.join(names) or 'none'})"
                )
            reader.fieldnames = names
            for cells in reader:
                if None in cells or None in cells.values():
                    raise ManifestError(
                        f"{file}, line {reader.line_num}: {len(names)} cells are needed, as in "
                        "the header"
                    )
                row = {name: cell.strip() for name, cell in cells.items()}
                if lacking := [name for name in columns if not row[name] and name not in empty]:
                    raise ManifestError(f"{file}, line {reader.line_num}: {lacking[0]} is empty")
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"cannot read {file}: {error}") from error


def has_columns(file: Path, *columns: str) -> bool:
    """Whether `file` is a CSV with at least these columns."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            names = {name.strip() for name in next(csv.reader(opened), ())}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return names.issuperset(columns)


def read_json(file: Path) -> Any:
    """What a JSON file holds. Raises ManifestError with file and line."""
    try:
        return json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise ManifestError(f"{file}, line {error.lineno}: {error.msg}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"cannot read {file}: {error}") from error


def number(file: Path, line: int, column: str, cell: str) -> float:
    """The number in a cell. Raises ManifestError with file and line."""
    try:
        return float(cell)
    except ValueError as error:
        raise ManifestError(f"{file}, line {line}: {column} {cell!r} is no number") from error
