"""What was written stays, whatever ends the machine."""

import errno
import os
from pathlib import Path


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
