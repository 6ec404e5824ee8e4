"""Groups what waits while the device is busy; bounded; refuses at once when full."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from m2d_clap.service.errors import BusyError, EncodingError, WorkerDownError
from m2d_clap.service.jobs import Encoded

Made = TypeVar("Made")
Encode = Callable[[Sequence[Any], Callable[[], None]], Awaitable[Encoded]]

_LOG = logging.getLogger(__name__)
_TOLD_AT_ONCE = 8
_ENDED = "the server is shutting down"


@dataclass(frozen=True)
class _Waiting:
    item: Any
    cost: float
    answer: "asyncio.Future[_Answer]"


@dataclass(frozen=True)
class _Answer:
    """made: of one item; begun: when its batch was; seconds: what each stage of that batch took."""

    made: Any
    begun: float
    seconds: Mapping[str, float]


class Batcher(Generic[Made]):
    """One queue of one kind of input. Costs are texts, or seconds of sound.

    encode: what makes the answers of a batch, and may say before that that the device has room for
    another one. device: the lock every batcher of a device shares, held until then, so that a batch
    is gathered only when its turn has come, out of all that has arrived by then.
    most_waiting: what comes when that much waits is refused. most_together: the cost of a batch.
    gathered: told how many make a batch. answered: told, in the caller's own context, the seconds
    that it waited and those of its batch by stage.
    """

    def __init__(
        self,
        encode: Encode,
        device: asyncio.Lock,
        most_waiting: float,
        most_together: float,
        gathered: Callable[[int], None] = lambda _: None,
        answered: Callable[[float, Mapping[str, float]], None] = lambda _, __: None,
    ) -> None:
        self._answered = answered
        self._gathered = gathered
        self._encode = encode
        self._device = device
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._queue: deque[_Waiting] = deque()
        self._filled = asyncio.Event()
        self._encoding: dict[asyncio.Task[None], list[_Waiting]] = {}
        self._made: asyncio.Queue[tuple[_Waiting, _Answer | Exception]] = asyncio.Queue()
        self._ended = False

    @property
    def waiting(self) -> float:
        """The cost of what waits and is still wanted."""
        return sum(w.cost for w in self._queue if not w.answer.done())

    def check(self) -> None:
        """Raises BusyError where the queue is full."""
        if self.waiting >= self._most_waiting:
            raise BusyError("too much is waiting already")

    async def submit(self, item: Any, cost: float, taken_in: bool = False) -> Made:
        """What is made of the item. taken_in: part of a request that has been let in before, and is not
        refused half-way. Raises BusyError, WorkerDownError or EncodingError."""
        if self._ended:
            raise WorkerDownError(_ENDED)
        if not taken_in:
            self.check()
        asked = time.perf_counter()
        waiting = _Waiting(item, cost, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._filled.set()
        answer = await waiting.answer
        self._answered(answer.begun - asked, answer.seconds)
        made: Made = answer.made
        return made

    async def run(self) -> None:
        """Encodes batch after batch until cancelled; then every caller still waiting is told."""
        delivering = asyncio.create_task(self._deliver())
        try:
            while True:
                await self._filled.wait()
                await self._device.acquire()
                batch = self._gather()
                if not batch:
                    self._device.release()
                    continue
                self._gathered(len(batch))
                encoding = asyncio.create_task(self._in_turn(batch))
                self._encoding[encoding] = batch
                encoding.add_done_callback(self._encoding.pop)
        finally:
            self._ended = True
            delivering.cancel()
            while not self._made.empty():
                _tell(*self._made.get_nowait())
            left = [waiting for batch in self._encoding.values() for waiting in batch]
            for encoding in self._encoding:
                encoding.cancel()
            for waiting in [*left, *self._queue]:
                _tell(waiting, WorkerDownError(_ENDED))

    async def _in_turn(self, batch: list[_Waiting]) -> None:
        """Has the device, until that has room or is through with the batch."""
        held = True

        def room() -> None:
            nonlocal held
            if held:
                held = False
                self._device.release()

        try:
            await self._answer(batch, room)
        finally:
            room()

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

    async def _answer(self, batch: list[_Waiting], room: Callable[[], None]) -> None:
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        if not batch:
            return
        try:
            begun = time.perf_counter()
            done = await self._encode([w.item for w in batch], room)
            answers: list[_Answer | Exception] = [
                _Answer(made, begun, done.seconds) for made in done.items
            ]
        except WorkerDownError as error:
            answers = [error] * len(batch)
        except EncodingError as error:
            if len(batch) > 1:  # the others shall not fail for one: it is found by halving
                half = len(batch) // 2
                await self._answer(batch[:half], room)
                await self._answer(batch[half:], room)
                return
            answers = [error]
        except Exception as error:  # noqa: BLE001  (these callers hear of it, later ones are served)
            _LOG.exception("encoding %d items failed", len(batch))
            answers = [EncodingError(f"{type(error).__name__}: {error}")] * len(batch)
        for made in zip(batch, answers, strict=True):
            self._made.put_nowait(made)

    async def _deliver(self) -> None:
        """Tells a few callers at a time: in between the loop sees to a device that has become free,
        which would else stand idle until all of them were served."""
        while True:
            _tell(*await self._made.get())
            for _ in range(min(_TOLD_AT_ONCE - 1, self._made.qsize())):
                _tell(*self._made.get_nowait())
            await asyncio.sleep(0)


def _tell(waiting: _Waiting, answer: _Answer | Exception) -> None:
    if waiting.answer.done():  # its caller has gone
        return
    if isinstance(answer, Exception):
        waiting.answer.set_exception(answer)
    else:
        waiting.answer.set_result(answer)
