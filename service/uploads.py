"""Uploads and library files → Waveform, decoded in processes of their own. Only the content decides."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model.audio import AudioLimits, Waveform
from m2d_clap.model.errors import NotAudioError
from m2d_clap.model.glimpses import Glimpses
from m2d_clap.service.decode_pool import DecodePool
from m2d_clap.service.decoding import Job
from m2d_clap.service.errors import BusyError


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding may take. seconds, shortest: of an upload's sound; waiting: jobs in the queue;
    patience, cpu_seconds: of one job; memory: bytes of one job."""

    seconds: float = 600.0
    shortest: float = 0.1
    channels: int = AudioLimits.channels
    processes: int = 2
    waiting: int = 32
    patience: float = 30.0
    cpu_seconds: int = 20
    memory: int = 512 * 2**20


class Decoder:
    """A bounded queue before the decoding processes. measured: told the seconds each sound took."""

    def __init__(
        self, limits: DecodeLimits, measured: Callable[[float], None] = lambda _: None
    ) -> None:
        self._limits = limits
        self._measured = measured
        self._most = limits.processes + limits.waiting
        self._taken = 0
        self.pool = DecodePool(limits.processes, limits.patience)

    @property
    def waiting(self) -> int:
        """Files that wait or are being decoded."""
        return self._taken

    async def decode(self, file: BinaryIO, rate: int) -> Waveform:
        """An upload, mono at `rate` Hz.

        Raises BusyError, AudioErrors as `read_audio` does, and those of `DecodePool.run`.
        """
        waveform = await self._decode(file, rate, self._limits.seconds, cut=False)
        if waveform.seconds < self._limits.shortest:
            least = self._limits.shortest
            raise NotAudioError(f"less than {least:g} seconds of it can be decoded")
        return waveform

    async def read(self, path: Path, rate: int) -> Waveform:
        """A library's file, mono at `rate` Hz, up to the seconds that an upload may have."""
        with await asyncio.to_thread(_open, path) as file:
            return await self._decode(file, rate, self._limits.seconds, cut=True)

    async def glance(
        self, path: Path, rate: int, seconds: float, count: int, length: int
    ) -> Glimpses:
        """Short stretches of a library's file, evenly over its `seconds`, however long it is. Raises
        NotAudioError where none can be found by seeking."""
        with await asyncio.to_thread(_open, path) as file:
            job = replace(self._job(rate, seconds, cut=True), glimpses=count, length=length)
            samples = await self._run(job, file)
            return Glimpses(samples.reshape(count, length), rate)

    async def close(self) -> None:
        await self.pool.close()

    async def _decode(self, file: BinaryIO, rate: int, seconds: float, cut: bool) -> Waveform:
        return Waveform(await self._run(self._job(rate, seconds, cut), file), rate)

    def _job(self, rate: int, seconds: float, cut: bool) -> Job:
        limits = self._limits
        return Job(rate, seconds, cut, limits.channels, limits.cpu_seconds, limits.memory)

    async def _run(self, job: Job, file: BinaryIO) -> NDArray[np.float32]:
        if self._taken >= self._most:
            raise BusyError("too many sounds are waiting to be decoded already")
        self._taken += 1
        try:
            samples, took = await self.pool.run(job, file)
        finally:
            self._taken -= 1
        self._measured(took)
        return samples


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise NotAudioError(f"cannot read {path.name}: {error.strerror}") from error
