"""What an index knows and its folder does not show: is it gone, or only out of sight?"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.walk import Walk, and_its_folders

_ANYWAY = "If they are meant to be forgotten: --forget"
_MANY = 100  # files; fewer are taken for deleted


def refuse_missing(
    found: Walk, of: Path | None, library: Path, known: Collection[str], place: Path | str
) -> None:
    """Raises LibraryIndexError where most of what is known is not in `library`, and a drive may be
    missing or, where the index is `of` another folder, the wrong one named: an index holds one
    library. What the owner wants left out (ignored.py) counts as meant to be gone."""
    missing = _missing(found, known)
    if missing and not found.files and not found.left:
        raise LibraryIndexError(
            f"{library} is empty, but {len(known)} files of it are in {place}: is its drive mounted? "
            f"Nothing was forgotten. {_ANYWAY}"
        )
    if of is None or of == library.resolve():
        if lost := _lost(found, known):
            raise LibraryIndexError(
                f"{len(lost)} of the {len(known)} files that {place} knows are not in {library}: "
                f"is its drive mounted? Nothing was forgotten. {_ANYWAY}"
            )
    elif 2 * len(missing) > len(known):
        raise LibraryIndexError(
            f"{place} is of {of}; {len(missing)} of the {len(known)} files it knows are not in "
            f"{library}, and would be forgotten. An index holds one library: name a folder that "
            f"has both in it, or another --out. {_ANYWAY}"
        )


def refuse_unmounted(found: Walk, library: Path, known: Collection[str]) -> None:
    """Raises LibraryIndexError where files of the index that is to be replaced cannot be seen now,
    or as many are not there as `refuse_missing` refuses."""
    away = found.unmounted(known) | found.out_of_sight(known) | _lost(found, known)
    if away:
        raise LibraryIndexError(
            f"{len(away)} files of the index before cannot be seen in {library}, such as "
            f"{min(away)}: their folders are empty, links, gone, or cannot be read. Is a drive not "
            f"mounted? Nothing was changed. {_ANYWAY}"
        )


def _missing(found: Walk, known: Collection[str]) -> set[str]:
    there = {file.path for file in found.files}
    return {path for path in known if path not in there and not found.unwanted(path)}


def _lost(found: Walk, known: Collection[str]) -> set[str]:
    """Which of these paths would be forgotten, where they are many, and more than half of all even
    if each file that is new were one of them, renamed; else none."""
    missing = _missing(found, known)
    lost = missing - found.unmounted(missing) - found.out_of_sight(missing)
    fewer = len(lost) - len({file.path for file in found.files}.difference(known))
    return lost if fewer >= _MANY and 2 * fewer > len(known) else set()


def still_known(found: Walk, kept: Collection[str]) -> Mapping[str, str]:
    """For a report: each empty folder, and how many of its files the index still knows."""
    empty = set(found.empty)
    inside = Counter(above for path in kept for above in and_its_folders(path) if above in empty)
    return {
        folder: f"it is empty, but {count} files of it are known, and stay: is its drive mounted? If "
        "they are meant to be gone, delete the folder"
        for folder, count in inside.items()
    }
