"""How many uploads are worked on at a time."""

import contextlib
from collections.abc import Iterator

from m2d_clap.service.errors import BusyError


class Places:
    """most: uploads between the last byte of their bodies and their answers."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def check(self) -> None:
        """Raises BusyError where every place is taken."""
        if self.taken >= self._most:
            raise BusyError("too many sounds are being worked on already")

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Takes a place for as long as the context lasts. Raises BusyError."""
        self.check()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
