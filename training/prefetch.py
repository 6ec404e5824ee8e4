"""Values that are needed one after another, made in threads before anyone asks."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Prefetch(Generic[Value]):
    """make(step) for every step below `end`, up to `ahead` of them at once.

    make: follows from the step alone and can run in several threads. What it raises is raised by
    the `take` that wants its value. ahead 0: no threads.
    """

    def __init__(self, make: Callable[[int], Value], end: int, ahead: int) -> None:
        self._make, self._end, self._ahead = make, end, ahead
        self._coming: dict[int, Future[Value]] = {}
        self._threads: ThreadPoolExecutor | None = None

    def take(self, step: int) -> Value:
        """The step's value; begins with those after it."""
        if not self._ahead:
            return self._make(step)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._ahead, thread_name_prefix="prefetch")
        for other in [s for s in self._coming if not step <= s <= step + self._ahead]:
            self._coming.pop(other).cancel()
        for wanted in range(step, min(step + self._ahead + 1, self._end)):
            if wanted not in self._coming:
                self._coming[wanted] = self._threads.submit(self._make, wanted)
        return self._coming.pop(step).result()

    def close(self) -> None:
        """Forgets what is coming and waits for what is being made; the next `take` starts anew."""
        for value in self._coming.values():
            value.cancel()
        self._coming.clear()
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None
