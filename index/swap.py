"""A folder put in another's place, which is kept until the new one is there."""

from pathlib import Path


def put_in_place(new: Path, place: Path) -> Path | None:
    """Renames `new` to `place`; what was there is kept beside it, and its path returned.

    Killed between the two renames, both folders are there under their other names. Raises OSError.
    """
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


def _free(place: Path) -> Path:
    number = 1
    while (found := place.with_name(f"{place.name}.before-{number}")).exists():
        number += 1
    return found
