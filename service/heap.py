"""Memory that was freed goes back to the system, as far as the C library knows how."""

import ctypes
import time
from collections.abc import Callable

_PAUSE = 5.0  # seconds between two times: it takes some milliseconds


class Heap:
    """One process's heap, which big sounds of many lengths leave full of holes."""

    def __init__(self) -> None:
        self._trim: Callable[[int], int] | None
        try:
            self._trim = ctypes.CDLL(None).malloc_trim
        except (OSError, AttributeError, TypeError):  # another C library than glibc
            self._trim = None
        self._last = time.monotonic()

    def tidy(self) -> None:
        """To be called between jobs; most calls do nothing."""
        now = time.monotonic()
        if self._trim is not None and now - self._last > _PAUSE:
            self._trim(0)
            self._last = time.monotonic()
