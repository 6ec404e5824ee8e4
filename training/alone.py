"""Files that several processes need are made by one of them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside, no other process makes files in the folder: whoever comes later finds them there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "making.lock").open("w") as lock:
        # Let go when it is closed, or its process killed. Where a file system knows no locks,
        # `m2d-clap prepare` in one process comes first.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
