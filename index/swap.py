"""A folder put in another's place, which is kept until the new one is there."""

from pathlib import Path

from m2d_clap.index.errors import LibraryIndexError


def put_in_place(new: Path, place: Path) -> Path | None:
    """Renames `new` to `place`; what was there is kept beside it, and its path returned.

    Killed between the two renames, both folders are there under their other names. Raises OSError,
    and LibraryIndexError where it is no folder that can be renamed.
    """
    refuse_mount(place)
    before = None
    if place.exists():
        before = _free(place)
        place.rename(before)
    try:
        new.rename(place)
    except OSError:
        if before is not None:
            before.rename(place)
        raise
    return before


def refuse_mount(place: Path) -> None:
    """Raises LibraryIndexError where a volume is mounted, as it is in containers: it stays as it is."""
    if place.is_mount():
        raise LibraryIndexError(
            f"{place} is where a volume is mounted, which nothing can take the place of: name a "
            f"folder in it, such as {place / 'next'}, and serve that one (M2D_CLAP_INDEX)"
        )


def _free(place: Path) -> Path:
    number = 1
    while (found := place.with_name(f"{place.name}.before-{number}")).exists():
        number += 1
    return found
