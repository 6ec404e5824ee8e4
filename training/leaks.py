"""A sound that is both learned from and evaluated on makes every score too good: found here."""

import hashlib
import os
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from m2d_clap.model.audio import decode
from m2d_clap.model.errors import AudioError, ClapError
from m2d_clap.training.manifest import SHOWN, Row, each_file, is_fold

GLIMPSE = 4096
"""Bytes from the middle of a file that are compared before the whole of it is read."""

SILENT_RATE = 16000
"""Hz at which equal files are listened to: zeros are zeros at any."""

Pair: TypeAlias = tuple[Row, Row]


class LeakError(ClapError):
    """A sound, or two cuts of one recording, on both sides of an evaluation."""


@dataclass(frozen=True)
class Leak:
    """The first row on either side that share `what`; `kind` is recording, file or content."""

    kind: str
    what: str
    learned: Row
    evaluated: Row


@dataclass(frozen=True, slots=True)
class _OnDisk:
    """Who a file is, whatever its paths: device and number, or the path where it is missing."""

    identity: Hashable
    size: int


def refuse_leaks(
    rows: Iterable[Row],
    learning: Collection[str] | None = None,
    evaluation: Collection[str] | None = None,
) -> None:
    """Raises LeakError when find_leaks finds any."""
    leaks = find_leaks(rows, learning, evaluation)
    if not leaks:
        return
    lines = [f"  {_describe(leak)}" for leak in leaks[:SHOWN]]
    if len(leaks) > SHOWN:
        lines.append(f"  and {len(leaks) - SHOWN} more")
    raise LeakError(
        f"{len(leaks)} sounds stand both in what is learned and in what is evaluated:\n"
        + "\n".join(lines)
        + "\nGive all rows of a sound, and of a recording, the same split, or take those of one "
        "side out of the manifest."
    )


def refuse_leaks_of(rows: Sequence[Row], every: Sequence[Row]) -> None:
    """Raises LeakError where `rows`, those of a manifest that may be used, share sounds with what it
    is evaluated on (of all its rows: scores look at no licence), or what chooses shares them with
    what is tested."""
    held = [row for row in every if row.split in ("valid", "test")]
    refuse_leaks([*(row for row in rows if row.split not in ("valid", "test")), *held])
    refuse_leaks(held, ("valid",), ("test",))


def find_leaks(
    rows: Iterable[Row],
    learning: Collection[str] | None = None,
    evaluation: Collection[str] | None = None,
) -> list[Leak]:
    """Recordings, files and contents that stand in a split of `learning` and one of `evaluation`.

    None means: train and every fold are learned from, valid, test and every fold evaluated on.
    Files are the same when they are one file on disk, contents when they are equal byte for byte;
    missing and empty files have no content, nor have sounds of zero samples alone. Only files with a
    like-sized one on the other side are read, and of those whose middles differ, no more than that.
    Raises LeakError for a file that cannot be read.
    """
    rows = list(rows)
    learned = [row for row in rows if _chosen(row.split, learning, ("train",))]
    evaluated = [row for row in rows if _chosen(row.split, evaluation, ("valid", "test"))]
    if not learned or not evaluated:
        return []
    keys = _keys(learned, evaluated)
    return list(_once((kind, _meetings(learned, evaluated, key)) for kind, key in keys))


def shared(rows: Sequence[Row], others: Sequence[Row]) -> list[bool]:
    """Whether each of `rows` has a recording, file or content of any of `others`, whatever the
    splits. Raises LeakError for a file that cannot be read."""
    learned = [replace(row, split="train") for row in rows]
    evaluated = [replace(row, split="test") for row in others]
    found = [False] * len(rows)
    for _, key in _keys(learned, evaluated):
        known = {of_row for row in evaluated if (of_row := key(row))}
        found = [before or key(row) in known for before, row in zip(found, learned, strict=True)]
    return found


def _keys(
    learned: Sequence[Row], evaluated: Sequence[Row]
) -> list[tuple[str, Callable[[Row], Hashable]]]:
    """By kind of leak: what two rows have in common where they are one; nothing where unknown."""
    files = list({row.file: None for side in (learned, evaluated) for row in side})
    disk = dict(zip(files, each_file(_on_disk, files), strict=True))
    contents = _contents(learned, evaluated, disk)
    return [
        ("recording", lambda row: row.recording),
        ("file", lambda row: disk[row.file].identity),
        ("content", lambda row: contents.get(row.file)),
    ]


def _chosen(split: str, wanted: Collection[str] | None, usual: Collection[str]) -> bool:
    return split in wanted if wanted is not None else split in usual or is_fold(split)


def _meetings(
    learned: Iterable[Row], evaluated: Iterable[Row], key: Callable[[Row], Hashable]
) -> dict[Hashable, Pair]:
    """For every key on both sides, in different splits, the first row of each side."""
    held: dict[Hashable, dict[str, Row]] = {}
    for row in evaluated:
        if of_row := key(row):
            held.setdefault(of_row, {}).setdefault(row.split, row)
    met: dict[Hashable, Pair] = {}
    for row in learned:
        of_row = key(row)
        if of_row in met or of_row not in held:
            continue
        others = (other for split, other in held[of_row].items() if split != row.split)
        if other := next(others, None):
            met[of_row] = (row, other)
    return met


def _contents(
    learned: Sequence[Row], evaluated: Sequence[Row], disk: Mapping[Path, _OnDisk]
) -> Mapping[Path, Hashable]:
    """Digests of files that have their content on both sides: found by size, then by size and
    middle, then by all that is in the file."""
    sides: Sequence[Sequence[Row]] = (learned, evaluated)
    keys: Mapping[Path, Hashable] = {file: found.size for file, found in disk.items()}
    for length in (GLIMPSE, None):
        sides = _meeting(sides, keys)
        files = list({row.file: None for side in sides for row in side})
        digests = each_file(partial(_digest, disk, length), files)
        keys = dict(zip(files, digests, strict=True))
    sides = _meeting(sides, keys)
    examples = list({keys[row.file]: row.file for row in sides[0]}.items())
    silent = each_file(_silent, [file for _, file in examples])
    heard = {key for (key, _), nothing in zip(examples, silent, strict=True) if not nothing}
    return {file: key for file, key in keys.items() if key in heard}


def _silent(file: Path) -> bool:
    """Whether it is a sound of zero samples alone: two of them are equal, and no recording."""
    try:
        return not any(block.any() for block in decode(file, SILENT_RATE))
    except AudioError:
        return False


def _meeting(
    sides: Sequence[Sequence[Row]], keys: Mapping[Path, Hashable]
) -> Sequence[Sequence[Row]]:
    met = _meetings(sides[0], sides[1], lambda row: keys[row.file])
    return [[row for row in side if keys[row.file] in met] for side in sides]


def _digest(disk: Mapping[Path, _OnDisk], length: int | None, file: Path) -> Hashable:
    size = disk[file].size
    try:
        with file.open("rb") as opened:
            if length is None:
                return hashlib.file_digest(opened, "sha256").digest()
            # Beginnings are alike: headers, and the silence before the sound.
            opened.seek(max(0, size - length) // 2)
            return size, hashlib.sha256(opened.read(length)).digest()
    except OSError as error:
        raise LeakError(f"cannot read {file} to compare it with others: {error}") from error


def _on_disk(file: Path) -> _OnDisk:
    try:
        stat = file.stat()
    except OSError:
        # Without following links, which would ask the disk again about every folder above.
        return _OnDisk(os.path.abspath(file), 0)  # noqa: PTH100
    return _OnDisk((stat.st_dev, stat.st_ino), stat.st_size)


def _once(checks: Iterable[tuple[str, Mapping[Hashable, Pair]]]) -> Iterator[Leak]:
    """Leaks in the order of the checks; a pair of files only once."""
    seen = set()
    for kind, met in checks:
        for of_rows, (learned, evaluated) in met.items():
            if (learned.file, evaluated.file) not in seen:
                seen.add((learned.file, evaluated.file))
                what = str(of_rows) if kind == "recording" else learned.file.name
                yield Leak(kind, what, learned, evaluated)


def _describe(leak: Leak) -> str:
    sides = [
        f"{f'line {row.line}, ' if row.line else ''}{row.file} ({row.split})"
        for row in (leak.learned, leak.evaluated)
    ]
    same = f"recording {leak.what!r}" if leak.kind == "recording" else leak.kind
    return f"same {same}: {sides[0]} and {sides[1]}"
