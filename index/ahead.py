"""Work done ahead, in threads, and read in order."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds a thread is waited for: it is in the middle of an item, a batch at the encoder perhaps."""


def ahead(
    jobs: Iterable[Generator[T, None, None]],
    threads: int,
    most: float,
    cost: Callable[[T], float],
) -> Generator[T, None, None]:
    """Everything the jobs yield, job after job, while threads run the next ones.

    What waits to be read costs `most` at most, and one item of each thread more. An error in a
    job is raised where its next item would have come. Close this generator to stop the threads;
    each ends at its next item.
    """
    line = _Line(jobs, most, cost)
    workers = [threading.Thread(target=line.work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield from line.read()
    finally:
        line.stop()
        for worker in workers:
            worker.join(timeout=_PATIENCE)


class _Job(Generic[T]):
    """A running job: what it has yielded and nobody has read."""

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.ended = False
        self.error: BaseException | None = None


class _Line(Generic[T]):
    """The jobs begun and not yet read to their end, in order. One condition guards everything."""

    def __init__(
        self,
        jobs: Iterable[Generator[T, None, None]],
        most: float,
        cost: Callable[[T], float],
    ) -> None:
        self._todo = iter(jobs)
        self._most = most
        self._cost = cost
        self._begun: deque[_Job[T]] = deque()
        self._held = 0.0
        self._exhausted = self._stopped = False
        self._changed = threading.Condition()

    def work(self) -> None:
        """The life of a thread: one job after another."""
        while (taken := self._take()) is not None:
            generator, job = taken
            try:
                for item in generator:
                    if not self._put(job, item):
                        break
            except BaseException as error:  # noqa: BLE001 — the reader raises it
                job.error = error
            generator.close()
            with self._changed:
                job.ended = True
                self._changed.notify_all()

    def _take(self) -> tuple[Generator[T, None, None], _Job[T]] | None:
        with self._changed:
            generator = None if self._stopped else next(self._todo, None)
            if generator is None:
                self._exhausted = True
                self._changed.notify_all()
                return None
            job = _Job[T]()
            self._begun.append(job)
            return generator, job

    def _put(self, job: _Job[T], item: T) -> bool:
        """Waits for room; false when no one reads any more.

        The job being read may always hold one item: the later ones, which fill the room, wait
        for it.
        """

        def room() -> bool:
            first = job is self._begun[0] and not job.items
            return self._stopped or first or self._held < self._most

        with self._changed:
            self._changed.wait_for(room)
            if self._stopped:
                return False
            job.items.append(item)
            self._held += self._cost(item)
            self._changed.notify_all()
            return True

    def read(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._begun) or self._exhausted)
                if not self._begun:
                    return
                job = self._begun[0]
                while not (job.items or job.ended):
                    self._changed.wait()
                if not job.items:
                    self._begun.popleft()
                    self._changed.notify_all()
                    if job.error is not None:
                        raise job.error
                    continue
                item = job.items.popleft()
                self._held -= self._cost(item)
                self._changed.notify_all()
            yield item

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
