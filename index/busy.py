"""How busy each part of a pipeline is."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PARTS = ("read", "decode", "log-mel", "encode", "write")


class Busy:
    """Seconds that each part worked, from any threads; the clock starts when this is made."""

    def __init__(self, decoders: int) -> None:
        """decoders: how many workers share reading and decoding."""
        self._lanes = {"read": decoders, "decode": decoders}
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._lock = threading.Lock()
        self._start = time.perf_counter()

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """What happens inside is this part's work."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - start)

    def add(self, part: str, seconds: float) -> None:
        with self._lock:
            self._seconds[part] += seconds

    def shares(self) -> Mapping[str, float]:
        """0 … 1 of the time since the start, of each part; of each worker where it has several."""
        passed = max(time.perf_counter() - self._start, 1e-9)
        with self._lock:
            return {
                part: round(seconds / passed / self._lanes.get(part, 1), 4)
                for part, seconds in self._seconds.items()
            }
