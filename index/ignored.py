"""What the owner of a library wants left out of it: patterns in a file in its root, as Git's."""

import re
from collections.abc import Callable
from pathlib import Path

from pathspec import GitIgnoreSpec

from m2d_clap.index.errors import LibraryIndexError

IGNORE_FILE = ".m2d-clap-ignore"


def ignored(library: Path) -> Callable[[str], bool]:
    """Whether a path, relative to the library, is to be left out; that of a folder ends in "/".

    Raises LibraryIndexError where the file is there and cannot be understood: what its owner wants
    left out must not be taken in.
    """
    file = library / IGNORE_FILE
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return lambda _: False
    except (OSError, ValueError) as error:
        raise LibraryIndexError(
            f"{file} cannot be read ({error}): mend it, or take it away"
        ) from error
    try:
        return GitIgnoreSpec.from_lines(lines).match_file
    except (ValueError, re.error) as error:
        raise LibraryIndexError(f"{file} holds no pattern as Git knows them: {error}") from error
