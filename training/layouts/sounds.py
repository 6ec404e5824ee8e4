"""Sound files below a folder, for data sets that everyone unpacks in another way."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".mp3", ".mp4", ".webm", ".mkv")
"""Of two files that differ in the ending alone, the earlier one is taken."""


def sound_files(source: Path) -> Iterator[str]:
    """Paths of all files below `source` with an ending of ENDINGS, links followed."""
    seen = {os.path.realpath(source)}
    for folder, below, names in os.walk(source, followlinks=True):
        fresh = []
        for name in sorted(below):
            # A link to a folder above would otherwise be walked for ever.
            real = os.path.realpath(Path(folder) / name)
            if real not in seen:
                seen.add(real)
                fresh.append(name)
        below[:] = fresh
        for name in sorted(names):
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                yield os.path.join(folder, name)  # noqa: PTH118 (a Path for each of millions)


def by_stem(files: Iterable[str]) -> dict[str, str]:
    """Files by their name without ending; the best ending first, then the first met."""
    found: dict[str, tuple[int, str]] = {}
    for file in files:
        stem, _, ending = os.path.basename(file).rpartition(".")  # noqa: PTH119
        rank = ENDINGS.index(f".{ending.lower()}")
        if stem not in found or rank < found[stem][0]:
            found[stem] = (rank, file)
    return {stem: file for stem, (_, file) in found.items()}
