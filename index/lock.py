"""One writer at a time, held by the kernel: a process that is killed lets go."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from m2d_clap.index.errors import IndexBusyError, LibraryIndexError


@contextmanager
def held(file: Path, patience: float) -> Iterator[None]:
    """Inside, nobody else is. Raises IndexBusyError where that does not come to pass within
    `patience` seconds, and LibraryIndexError where the file cannot be made."""
    end = time.monotonic() + patience
    opened = _open(file)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _lies_at(opened, file):
                    break
                # Its folder was replaced meanwhile: who comes now locks the new one's file.
                before, opened = opened, _open(file)
                os.close(before)
            if time.monotonic() >= end:
                raise IndexBusyError(
                    f"another `m2d-clap index`, or a server, is at work on {file.parent}: "
                    "let it end, or stop it"
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(opened)


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise LibraryIndexError(
            f"{file.parent} cannot be written ({error.strerror}): make room, or choose another --out"
        ) from error


def _lies_at(opened: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened), file.stat())
    except FileNotFoundError:
        return False
