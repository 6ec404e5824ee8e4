"""An uploaded file → Waveform, decoded off the event loop. Only the content decides what it is."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from m2d_clap.model import AudioLimits, Waveform, decode, read_audio
from m2d_clap.model.audio import Samples
from m2d_clap.model.errors import NotAudioError
from m2d_clap.service.errors import BusyError


class Decoder:
    """A few decoding threads with a bounded queue."""

    def __init__(
        self, sample_rate: int, seconds: float, shortest: float, threads: int, most_waiting: int
    ) -> None:
        self._sample_rate = sample_rate
        self._limits = AudioLimits(seconds=seconds)
        self._shortest = shortest
        self._most = threads + most_waiting
        self._taken = 0
        self._pool = ThreadPoolExecutor(threads, "decode")

    async def decode(self, file: BinaryIO) -> Waveform:
        """Mono at the model's rate. Raises BusyError, and AudioErrors as `read_audio` does."""
        if self._taken >= self._most:
            raise BusyError("too many uploads are waiting already")
        self._taken += 1
        try:
            loop = asyncio.get_running_loop()
            waveform = await loop.run_in_executor(self._pool, self._read, file)
        finally:
            self._taken -= 1
        if waveform.seconds < self._shortest:
            raise NotAudioError(f"less than {self._shortest:g} seconds of it can be decoded")
        return waveform

    async def read(self, path: Path) -> Waveform:
        """The start of a library's file, as many seconds as an upload may have."""
        if self._taken >= self._most:
            raise BusyError("too many uploads are waiting already")
        self._taken += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._start_of, path)
        finally:
            self._taken -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start_of(self, path: Path) -> Waveform:
        most = int((self._limits.seconds or 0.0) * self._sample_rate)
        held: list[Samples] = []
        left = most
        for block in decode(path, self._sample_rate):
            held.append(block[:left])
            left -= len(held[-1])
            if not left:
                break
        return Waveform(np.concatenate(held), self._sample_rate)

    def _read(self, file: BinaryIO) -> Waveform:
        return read_audio(file, self._sample_rate, self._limits)
