"""Groups what waits while the device is busy; bounded; refuses at once when full."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from m2d_clap.service.encoders import Vectors
from m2d_clap.service.errors import BusyError, EncodingError, WorkerDownError

Encode = Callable[[Sequence[Any]], Awaitable[list[Vectors]]]

_ENDED = "the server is shutting down"


@dataclass(frozen=True)
class _Waiting:
    item: Any
    cost: float
    answer: asyncio.Future[Vectors]


class Batcher:
    """One queue of one kind of input. Costs are texts, or seconds of sound.

    device: the lock every batcher of a device shares, so that a batch is gathered only when its
    turn has come, out of all that has arrived by then; gathered: told how many make a batch.
    """

    def __init__(
        self,
        encode: Encode,
        device: asyncio.Lock,
        most_waiting: float,
        most_together: float,
        gathered: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._gathered = gathered
        self._encode = encode
        self._device = device
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._queue: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._ended = False

    @property
    def waiting(self) -> float:
        """The cost of what waits and is still wanted."""
        return sum(w.cost for w in self._queue if not w.answer.done())

    async def submit(self, item: Any, cost: float) -> Vectors:
        """The item's vectors. Raises BusyError, WorkerDownError or EncodingError."""
        if self._ended:
            raise WorkerDownError(_ENDED)
        if self._queue and self.waiting + cost > self._most_waiting:
            raise BusyError("too much is waiting already")
        waiting = _Waiting(item, cost, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._filled.set()
        return await waiting.answer

    async def run(self) -> None:
        """Encodes batch after batch until cancelled; then every caller still waiting is told."""
        batch: list[_Waiting] = []
        try:
            while True:
                await self._filled.wait()
                async with self._device:
                    batch = self._gather()
                    if batch:
                        self._gathered(len(batch))
                        await self._answer(batch)
        finally:
            self._ended = True
            for left in [*batch, *self._queue]:
                if not left.answer.done():
                    left.answer.set_exception(WorkerDownError(_ENDED))

    def _gather(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        cost = 0.0
        while self._queue:
            first = self._queue[0]
            if first.answer.done():  # its caller has gone
                self._queue.popleft()
                continue
            if batch and cost + first.cost > self._most_together:
                break
            batch.append(self._queue.popleft())
            cost += first.cost
        if not self._queue:
            self._filled.clear()
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        try:
            answers: list[Any] = list(await self._encode([w.item for w in batch]))
        except WorkerDownError as error:
            answers = [error] * len(batch)
        except EncodingError as error:
            if len(batch) > 1:  # the others shall not fail for one: it is found by halving
                half = len(batch) // 2
                await self._answer(batch[:half])
                await self._answer(batch[half:])
                return
            answers = [error]
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
