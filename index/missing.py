"""What an index knows and its folder does not show: is it gone, or only out of sight?"""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.walk import Walk, and_its_folders

_ANYWAY = "If they are meant to be forgotten: --forget"


def refuse_missing(
    found: Walk, of: Path | None, library: Path, known: Collection[str], place: Path | str
) -> None:
    """Raises LibraryIndexError where `library` is empty, or another folder than the index is `of` and
    most of what is known is not in it: an index holds one library."""
    if not known:
        return
    if not found.files and not found.left:
        raise LibraryIndexError(
            f"{library} is empty, but {len(known)} files of it are in {place}: is its drive mounted? "
            f"Nothing was forgotten. {_ANYWAY}"
        )
    if of is None or of == library.resolve():
        return
    there = {file.path for file in found.files}
    missing = sum(path not in there for path in known)
    if 2 * missing > len(known):
        raise LibraryIndexError(
            f"{place} is of {of}; {missing} of the {len(known)} files it knows are not in {library}, "
            "and would be forgotten. An index holds one library: name a folder that has both in it, "
            f"or another --out. {_ANYWAY}"
        )


def refuse_unmounted(found: Walk, library: Path, known: Collection[str]) -> None:
    """Raises LibraryIndexError where files of the index that is to be replaced cannot be seen now."""
    away = found.unmounted(known) | found.out_of_sight(known)
    if away:
        raise LibraryIndexError(
            f"{len(away)} files of the index before cannot be seen in {library}, such as "
            f"{min(away)}: their folders are empty or cannot be read. Is a drive not mounted? Nothing "
            f"was changed. {_ANYWAY}"
        )


def still_known(found: Walk, kept: Collection[str]) -> Mapping[str, str]:
    """For a report: each empty folder, and how many of its files the index still knows."""
    empty = set(found.empty)
    inside = Counter(above for path in kept for above in and_its_folders(path) if above in empty)
    return {
        folder: f"it is empty, but {count} files of it are known, and stay: is its drive mounted? If "
        "they are meant to be gone, delete the folder"
        for folder, count in inside.items()
    }
