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
        with suppress(
            OSError
        ):  # a file system that knows no locks: `prepare` first, in one process
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when it is closed, or its process killed
        yield
