"""One writer at a time, held by the kernel: a process that is killed lets go."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from m2d_clap.index.errors import IndexBusyError, LibraryIndexError


@contextmanager
def held(file: Path, patience: float) -> Iterator[None]:
    """Inside, nobody else is. Raises IndexBusyError where that does not come to pass within
    `patience` seconds, and LibraryIndexError where the file cannot be made."""
    try:
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise LibraryIndexError(
            f"{file.parent} cannot be written ({error.strerror}): make room, or choose another --out"
        ) from error
    end = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise IndexBusyError(
                        f"another `m2d-clap index`, or a server, is at work on {file.parent}: "
                        "let it end, or stop it"
                    ) from None
            time.sleep(0.02)
        yield
    finally:
        os.close(opened)
