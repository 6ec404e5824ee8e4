"""Threads work ahead of a slow reader: in order, not too far, and no longer than it reads."""

import threading
import time
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2d_clap.index.ahead import ahead


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 4), st.integers(0, 6))
def test_everything_comes_once_and_in_order(lengths: list[int], threads: int, most: int) -> None:
    def job(number: int) -> Generator[tuple[int, int], None, None]:
        yield from ((number, item) for item in range(lengths[number]))

    jobs = (job(number) for number in range(len(lengths)))
    expected = [(n, item) for n, length in enumerate(lengths) for item in range(length)]
    assert list(ahead(jobs, threads, most, lambda _: 1.0)) == expected


def test_no_more_is_made_than_may_wait() -> None:
    made = 0

    def job() -> Generator[int, None, None]:
        nonlocal made
        for _ in range(50):
            made += 1
            yield made

    reader = ahead((job() for _ in range(50)), 2, 10, lambda _: 1.0)
    for _ in range(5):
        next(reader)
    end = time.monotonic() + 30
    while made < 5 + 10 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    assert 5 + 10 <= made <= 5 + 10 + 2 * 2
    reader.close()


def test_a_jobs_error_is_raised_where_its_next_item_would_have_come() -> None:
    def good() -> Generator[int, None, None]:
        yield 1

    def bad() -> Generator[int, None, None]:
        yield 2
        raise ValueError("broken")

    reader = ahead(iter([good(), bad(), good()]), 3, 10, lambda _: 1.0)
    assert [next(reader), next(reader)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(reader)


def test_a_reader_that_leaves_ends_the_threads_and_the_jobs() -> None:
    closed = []

    def job() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    before = threading.active_count()
    reader = ahead((job() for _ in range(9)), 3, 4, lambda _: 1.0)
    next(reader)
    reader.close()
    assert threading.active_count() == before
    assert 1 <= len(closed) <= 3
