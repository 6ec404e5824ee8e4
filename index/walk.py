"""A folder → the files in it that may be sounds, and what was left out."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.index.ignored import ignored

UNREADABLE = "it cannot be read"
_LINK = "it is a link to a folder, which is not followed"
INDEX_MARK = "catalogue.sqlite"
"""A folder that holds a file of this name is an index, and nothing in it a sound of the library."""


@dataclass(frozen=True)
class File:
    """A file of the library. path: relative to it, with forward slashes; size in bytes."""

    path: str
    size: int
    mtime_ns: int


_BINS = {"#recycle", "#snapshot", "@eadir", "@recycle", "@tmp", "$recycle.bin"}
_BINS |= {"system volume information", "lost+found"}
"""Folders that file systems and NAS make for what was deleted, and for thumbnails."""


@dataclass(frozen=True)
class Walk:
    """files: by path. left: (path, reason). hidden: files and folders that were not looked at, for the
    dot before their name, as a system's own (recycle bins) or as the library's owner wants it
    (ignored.py). empty: folders with nothing in them, or only hidden files and a system's own.
    unwanted: whether the owner wants a path left out, which is then no longer to be known."""

    files: tuple[File, ...]
    left: tuple[tuple[str, str], ...]
    hidden: int
    empty: tuple[str, ...] = ()
    unwanted: Callable[[str], bool] = lambda _: False

    def out_of_sight(self, known: Iterable[str]) -> set[str]:
        """Which of these paths are not looked at, or one of their folders is not: they may well be
        there still."""
        shut = {path for path, why in self.left if why.startswith((UNREADABLE, _LINK))}
        return self._below(shut, known)

    def unmounted(self, known: Iterable[str]) -> set[str]:
        """Which of these paths were in a folder that is empty now, as a drive's is without it."""
        return self._below({*self.empty}, known)

    def _below(self, folders: set[str], paths: Iterable[str]) -> set[str]:
        return {
            path
            for path in paths
            if not folders.isdisjoint(and_its_folders(path)) and not self.unwanted(path)
        }


def walk(library: Path, out: Path) -> Walk:
    """Every regular file under `library` but hidden ones, recycle bins, the index `out`, and others,
    and what ignored.py leaves out, which may raise LibraryIndexError.

    Never fails because of one file: what cannot be looked at is in `left`. Links to files count
    as files; links to folders are not followed, so that no loop can arise.
    """
    unwanted = ignored(library)
    files: list[File] = []
    left: list[tuple[str, str]] = []
    empty: list[str] = []
    hidden = 0
    own = out.resolve()

    def unreadable(error: OSError) -> None:
        left.append((printable(os.path.relpath(error.filename, library)), _because(error)))

    for folder, folders, names in os.walk(library, onerror=unreadable):
        if INDEX_MARK in names:
            folders.clear()
            continue
        here = Path(folder)
        inside = here.relative_to(library).as_posix()
        below = "" if inside == "." else f"{inside}/"
        ours = [n for n in folders if not n.startswith(".") and n.lower() not in _BINS]
        if not ours and all(name.startswith(".") for name in names):
            empty.append(inside)
        shown = [name for name in ours if not unwanted(f"{below}{name}/")]
        hidden += len(folders) - len(shown)
        # Not Path.is_symlink, which raises where a mount is dead.
        links = [name for name in shown if os.path.islink(here / name)]  # noqa: PTH114
        folders[:] = [n for n in shown if n not in links and (here / n).resolve() != own]
        for name in links:
            left.append((printable(f"{below}{name}"), _LINK))
        for name in names:
            path = f"{below}{name}"
            if name.startswith(".") or unwanted(path):
                hidden += 1
                continue
            try:
                file = _look(here / name, path)
            except OSError as error:
                left.append((printable(path), _because(error)))
            except ValueError as error:
                left.append((printable(path), str(error)))
            else:
                files.append(file)
    by_path = tuple(sorted(files, key=lambda f: f.path))
    return Walk(by_path, tuple(sorted(left)), hidden, tuple(sorted(empty)), unwanted)


def printable(path: str) -> str:
    """A path whose bytes are not UTF-8, with those bytes as \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _look(path: Path, relative: str) -> File:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if not status.st_size:
        raise ValueError("it is empty")
    if printable(relative) != relative:
        raise ValueError("its name is not UTF-8: rename it")
    return File(relative, status.st_size, status.st_mtime_ns)


def and_its_folders(path: str) -> Iterator[str]:
    """A path, and every folder that it lies in; the library itself is "."."""
    yield path
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
    yield "."


def _because(error: OSError) -> str:
    return f"{UNREADABLE}: {error.strerror}"
