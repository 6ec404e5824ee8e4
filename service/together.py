"""Several things at once, for one request."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Value = TypeVar("Value")


async def together(works: Iterable[Coroutine[Any, Any, Value]]) -> list[Value]:
    """What each gives, in order. Where one fails, nothing more is done for the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
