"""What was made lately is kept, up to a size, and made once however many ask at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable


class Kept:
    """The least recently used goes first. most: bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._made: OrderedDict[Hashable, bytes] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[bytes]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """What is kept under the key; made, and kept, where nothing is. Raises what `make` does.

        Who stops waiting does not stop the making: others may wait for it too.
        """
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        making = self._making.get(key)
        if making is None:
            making = asyncio.ensure_future(self._make(key, make))
            self._making[key] = making
            making.add_done_callback(lambda task: self._ended(key, task))
        return await asyncio.shield(making)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        made = await make()
        if len(made) <= self._most:
            self._made[key] = made
            self._held += len(made)
        while self._held > self._most:
            _, oldest = self._made.popitem(last=False)
            self._held -= len(oldest)
        return made

    def _ended(self, key: Hashable, task: "asyncio.Task[bytes]") -> None:
        self._making.pop(key, None)
        if not task.cancelled():
            task.exception()  # heard here where nobody waits for it any more
