"""What waits is grouped, bounded and answered in order; what fails, fails alone and is told."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m2d_clap.model import Checkpoint, Clap, ClapConfig, Waveform
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.service import frames
from m2d_clap.service.batcher import Batcher
from m2d_clap.service.encoders import encode_sounds
from m2d_clap.service.errors import BusyError, EncodingError, WorkerDownError
from m2d_clap.service.jobs import Encoded, Plan
from m2d_clap.service.line import Line
from m2d_clap.service.worker import Worker


class Device:
    """Stands in for the worker: doubles numbers, a batch at a time, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.free = asyncio.Event()
        self.room: Callable[[], None] = lambda: None
        self.error: Exception | None = None

    async def encode(self, items: Sequence[Any], room: Callable[[], None]) -> Encoded:
        self.batches.append(list(items))
        self.room = room
        await self.free.wait()
        if self.error is not None:
            raise self.error
        if any(item < 0 for item in items):
            raise EncodingError("a poisoned item")
        return Encoded([np.array([2.0 * item]) for item in items], {})


def with_batcher(
    test: Callable[[Batcher, Device], Awaitable[None]], most_waiting: float = 100
) -> None:
    async def run() -> None:
        device = Device()
        batcher = Batcher(device.encode, asyncio.Lock(), most_waiting, most_together=4)
        running = asyncio.create_task(batcher.run())
        try:
            await asyncio.wait_for(test(batcher, device), 10)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


async def submitted(batcher: Batcher, *items: int) -> list["asyncio.Task[Any]"]:
    tasks = [asyncio.create_task(batcher.submit(item, 1.0)) for item in items]
    await asyncio.sleep(0.01)
    return tasks


def test_what_arrives_while_the_device_is_busy_is_encoded_together_and_keeps_its_order() -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        first = await submitted(batcher, 0)
        rest = await submitted(batcher, 1, 2, 3, 4, 5, 6)
        device.free.set()
        answers = await asyncio.gather(*first, *rest)
        assert [float(a[0]) for a in answers] == [0, 2, 4, 6, 8, 10, 12]
        assert device.batches == [[0], [1, 2, 3, 4], [5, 6]]

    with_batcher(test)


def test_a_device_that_says_it_has_room_gets_the_next_batch_before_it_has_answered() -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        first = await submitted(batcher, 0)
        second = await submitted(batcher, 1, 2)
        assert device.batches == [[0]]
        device.room()
        device.room()  # said again, it means nothing
        third = await submitted(batcher, 3)
        assert device.batches == [[0], [1, 2]]
        device.free.set()
        answers = await asyncio.gather(*first, *second, *third)
        assert [float(a[0]) for a in answers] == [0, 2, 4, 6]
        assert device.batches == [[0], [1, 2], [3]]

    with_batcher(test)


def test_a_full_queue_refuses_at_once() -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        await submitted(batcher, 0)
        await submitted(batcher, 1, 2, 3)
        with pytest.raises(BusyError):
            await asyncio.wait_for(batcher.submit(4, 1.0), 0.1)
        assert batcher.waiting == 3
        device.free.set()

    with_batcher(test, most_waiting=3)


def test_a_request_that_went_away_is_not_encoded() -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        await submitted(batcher, 0)
        gone, stays = await submitted(batcher, 1, 2)
        gone.cancel()
        await asyncio.sleep(0.01)
        device.free.set()
        assert float((await stays)[0]) == 4
        assert device.batches == [[0], [2]]

    with_batcher(test)


def test_a_poisoned_item_fails_alone() -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        device.free.set()
        good, bad, other = await submitted(batcher, 1, -2, 3)
        assert float((await good)[0]) == 2 and float((await other)[0]) == 6
        with pytest.raises(EncodingError, match="poisoned"):
            await bad

    with_batcher(test)


def test_every_waiting_caller_hears_that_the_worker_died() -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        waiting = [*await submitted(batcher, 0), *await submitted(batcher, 1, 2, 3, 4, 5)]
        device.error = WorkerDownError("it died")
        device.free.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(a, WorkerDownError) for a in answers)

    with_batcher(test)


def test_an_unforeseen_error_fails_its_batch_and_the_next_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(batcher: Batcher, device: Device) -> None:
        device.error = TypeError("a closed pipe")
        device.free.set()
        for answer in await asyncio.gather(*await submitted(batcher, 0, 1), return_exceptions=True):
            assert isinstance(answer, EncodingError) and "a closed pipe" in str(answer)
        device.error = None
        assert float((await batcher.submit(2, 1.0))[0]) == 4

    with caplog.at_level(logging.CRITICAL):
        with_batcher(test)


def test_callers_left_at_shutdown_are_told_and_none_is_taken_after_it() -> None:
    async def run() -> None:
        device = Device()
        batcher = Batcher(device.encode, asyncio.Lock(), 100, 4)
        running = asyncio.create_task(batcher.run())
        waiting = [*await submitted(batcher, 0), *await submitted(batcher, 1)]
        running.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(a, WorkerDownError) for a in answers)
        with pytest.raises(WorkerDownError, match="shutting down"):
            await batcher.submit(1, 1.0)

    asyncio.run(run())


def test_answers_find_who_asked_in_whatever_order_they_come() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        line, told = Line(ours), []
        listening = asyncio.create_task(line.listen())
        names = ("first", "second", "gone", "left")
        asked = {
            name: asyncio.create_task(line.ask("texts", [name], partial(told.append, name)))
            for name in names
        }
        with theirs:
            jobs = [await asyncio.to_thread(frames.get, theirs) for _ in names]
            numbers = {items[0]: number for number, _, items in jobs}
            asked["gone"].cancel()
            await asyncio.sleep(0)
            for name in ("second", "gone", "first"):
                frames.put(theirs, (numbers[name], None))
                frames.put(theirs, (numbers[name], Encoded([name], {})))
            assert (await asked["second"], await asked["first"]) == (
                Encoded(["second"], {}),
                Encoded(["first"], {}),
            )
            assert told == ["second", "first"]
        assert await asked["left"] is None  # nobody is there any more
        assert await line.ask("texts", ["late"], lambda: None) is None
        await asyncio.gather(listening, line.close())

    asyncio.run(asyncio.wait_for(run(), 10))


@pytest.fixture(scope="module")
def clap() -> Clap:
    torch.manual_seed(0)
    return Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 16, 16),
            text=TextConfig(),
        )
    ).eval()


@pytest.fixture(scope="module")
def checkpoint(clap: Clap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worker") / "tiny"
    Checkpoint.of(clap).save(folder)
    return folder


def noise(seconds: float) -> Waveform:
    samples = np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds))
    return Waveform(samples.astype(np.float32), 16000)


def test_a_long_sound_is_the_mean_of_its_windows(clap: Clap) -> None:
    sound = noise(20.0)
    halves = [Waveform(half, 16000) for half in np.split(sound.samples, 2)]
    whole, *parts = encode_sounds(clap, [sound, *halves])
    mean = parts[0] + parts[1]
    assert whole == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_worker_encodes_dies_is_replaced_and_ends(clap: Clap, checkpoint: Path) -> None:
    async def run() -> None:
        worker = Worker(Plan(checkpoint, "cpu", threads=1))
        with pytest.raises(WorkerDownError, match="loading"):
            await worker.encode("sounds", [noise(0.5)])
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(worker.ready.wait(), 60)
        assert worker.device == "cpu"
        here = encode_sounds(clap, [noise(0.5)])[0]
        assert (await worker.encode("sounds", [noise(0.5)])).items[0] == pytest.approx(
            here, abs=1e-5
        )
        with pytest.raises(EncodingError):
            await worker.encode("sounds", ["not a sound"])
        first = worker.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        with pytest.raises(WorkerDownError):
            await worker.encode("sounds", [noise(0.5)])
        async with asyncio.timeout(30):
            while "signal 9" not in worker.reason:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(worker.ready.wait(), 60)
        assert worker.pid != first
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        with pytest.raises(WorkerDownError):
            await worker.encode("sounds", [noise(0.5)])

    asyncio.run(run())


def test_a_worker_that_dies_while_it_is_sent_much_is_replaced(checkpoint: Path) -> None:
    async def run() -> None:
        worker = Worker(Plan(checkpoint, "cpu", threads=1))
        running = asyncio.create_task(worker.run())
        much = [noise(60.0)] * 6
        for _ in range(3):
            await asyncio.wait_for(worker.ready.wait(), 120)
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGSTOP)  # it reads nothing: the sender waits half-way
            asked = asyncio.create_task(worker.encode("sounds", much))
            await asyncio.sleep(0.1)
            os.kill(worker.pid, signal.SIGKILL)
            with pytest.raises(WorkerDownError):
                await asked
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def test_a_worker_that_cannot_be_started_now_is_started_later(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair, refused = socket.socketpair, [OSError(24, "Too many open files")]

    def few() -> Any:
        if refused:
            raise refused.pop()
        return pair()

    async def run() -> None:
        worker = Worker(Plan(checkpoint, "cpu", threads=1))
        monkeypatch.setattr(socket, "socketpair", few)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0.1)
        assert "Too many open files" in worker.reason and worker.deaths == 1
        await asyncio.wait_for(worker.ready.wait(), 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(run())


def test_a_worker_that_hangs_is_ended(checkpoint: Path) -> None:
    async def run() -> None:
        worker = Worker(Plan(checkpoint, "cpu", threads=1), patience=0.2)
        running = asyncio.create_task(worker.run())
        await asyncio.wait_for(worker.ready.wait(), 60)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(WorkerDownError, match="died"):
            await asyncio.wait_for(worker.encode("sounds", [noise(0.5)]), 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())


def test_a_checkpoint_that_cannot_be_loaded_is_the_reason_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        worker = Worker(Plan(tmp_path / "none", "cpu"))
        running = asyncio.create_task(worker.run())
        end = asyncio.get_running_loop().time() + 60
        while "could not be loaded" not in worker.reason:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.05)
        assert "is no checkpoint" in worker.reason
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with caplog.at_level(logging.CRITICAL):
        asyncio.run(run())
