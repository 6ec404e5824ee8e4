"""Files that are there whole or not at all, whatever ends the process or the machine."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Where what is to become `file` is written: beside it. It gets its name when it is on disk; where
    writing fails, nothing of it stays, and what was there before is as it was. Raises OSError."""
    aside = file.with_name(f"{file.name}.part")
    try:
        yield aside
        to_disk(aside)
        aside.replace(file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    to_disk(file.parent)


def to_disk(*places: Path) -> None:
    """fsync of files and folders, so that a power cut cannot undo what comes before a rename."""
    for place in places:
        opened = os.open(place, os.O_RDONLY)
        try:
            os.fsync(opened)
        except OSError as error:
            if error.errno != errno.EINVAL:  # as some network drives say of folders
                raise
        finally:
            os.close(opened)
