"""What `m2d-clap index` would do, without doing it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.reading import ID_LENGTH
from m2d_clap.index.sidecars import read_sidecars
from m2d_clap.index.walk import walk


@dataclass(frozen=True)
class Difference:
    """Paths by what became of them since the index was made; moved: (from, to); described: of which
    their sidecars say something else. checkpoint: whether it is another one, with which every sound
    would have to be embedded anew."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]
    gone: tuple[str, ...]
    described: tuple[str, ...]
    checkpoint: bool

    def __bool__(self) -> bool:
        return any(vars(self).values())


def difference(folder: Path, library: Path | None = None, fingerprint: str = "") -> Difference:
    """Between the index `folder` and its library, or `library`, as they are now. Only files that
    are not as they were are read. Raises LibraryIndexError where either is not there."""
    file = folder / CATALOGUE_FILE
    if not file.is_file():
        raise LibraryIndexError(f"{folder} holds no index")
    with Catalogue.reading(file) as catalogue:
        origin = catalogue.origin()
        if origin is None:
            raise LibraryIndexError(f"{folder} holds no finished index")
        place = library or origin.library
        if not place.is_dir():
            raise LibraryIndexError(f"the library {place} is not there: is its drive mounted?")
        found = walk(place, folder)
        beside = read_sidecars(place, found.files)
        files = [file for file in found.files if file.path not in beside.files]
        before = catalogue.paths()
        unseen, away = found.out_of_sight(before), found.unmounted(before)
        same = {file.path for file in files if catalogue.known(file)}
        seen = same | {file.path for file in files if catalogue.broken(file) is not None}
        described = same & catalogue.untold(beside.facts, unseen | beside.unread)
    odd = [file.path for file in files if file.path not in seen]
    content = {path: _content(place / path) for path in odd}
    left: dict[str, list[str]] = {}
    there = {file.path for file in files}
    for path, clip in before.items():
        if path not in there and path not in unseen:
            left.setdefault(clip, []).append(path)
    moved = [
        (left[content[path]].pop(0), path)
        for path in odd
        if path not in before and left.get(content[path])
    ]
    reached = {path for _, path in moved}
    return Difference(
        new=tuple(p for p in odd if p not in before and p not in reached),
        changed=tuple(p for p in odd if p in before and content[p] != before[p]),
        moved=tuple(moved),
        gone=tuple(sorted(p for paths in left.values() for p in paths if p not in away)),
        described=tuple(sorted(described)),
        checkpoint=bool(fingerprint) and fingerprint != origin.fingerprint,
    )


def _content(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:ID_LENGTH]
    except OSError:
        return ""
