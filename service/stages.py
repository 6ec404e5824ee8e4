"""Seconds by stage, measured where the work is done and sent along with its result."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator


class Stages:
    """A stopwatch for each stage of one job."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start
