"""Log-mels computed once and kept in shards: safetensors files that are mapped, not read.

A shard holds the sounds of SHARD_ROWS rows. Its name follows from the front end and every file's
absolute path, size and time, so a changed file makes its shard anew and no other, however the path
is spelled; a stopped preparation goes on at the shard it was in. Beside each stands its checksum.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from m2d_clap.model.audio import read_audio
from m2d_clap.model.config import FrontEndConfig
from m2d_clap.model.errors import AudioError, ClapError
from m2d_clap.model.files import whole
from m2d_clap.model.mel import log_mel
from m2d_clap.training.alone import alone
from m2d_clap.training.manifest import Row

SHARD_ROWS = 2048


class ShardError(ClapError):
    """A shard that was damaged after it was written."""


class LogMels(Sequence[Tensor]):
    """Raw log-mels (mels, frames) float16 in shards, each made a tensor when asked for.

    Millions cost their lengths (`frames`, (sounds,) int64) and one open map a shard. Several
    threads may ask. made: how many of the `shards` were not there when they were asked for.
    """

    def __init__(self, shards: Sequence[tuple[Path, int]], made: int = 0) -> None:
        """shards: files, and how many sounds each holds. Raises ShardError naming a damaged one."""
        self.made, self.shards = made, len(shards)
        self._shards: list[Any] = []
        frames: list[int] = []
        for file, sounds in shards:
            try:
                shard: Any = safe_open(file, "pt")
                frames += [shard.get_slice(_key(n)).get_shape()[1] for n in range(sounds)]
            except (SafetensorError, OSError) as error:
                raise ShardError(f"{file} is damaged ({error}): delete it") from error
            self._shards.append(shard)
        self._starts = np.cumsum([0, *(sounds for _, sounds in shards)])
        self.frames = np.asarray(frames, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, place: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        found: Tensor = self._shards[shard].get_tensor(_key(place - int(self._starts[shard])))
        return found


def frames_of(sounds: Sequence[Tensor]) -> NDArray[np.int64]:
    """(sounds,) the length of every raw log-mel."""
    if isinstance(sounds, LogMels):
        return sounds.frames
    return np.array([sound.shape[1] for sound in sounds], dtype=np.int64)


def load_log_mels(
    rows: Sequence[Row],
    front_end: FrontEndConfig,
    cache: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> LogMels:
    """Raw log-mels, one a row, computed where `cache` lacks them.

    Raises AudioError naming the file that cannot be decoded, ShardError naming a damaged shard.
    """
    shards: list[tuple[Path, int]] = []
    done = made = 0
    for shard in _cut(rows):
        file = _file(shard, front_end, cache)
        if not file.is_file():
            made += 1
            with alone(cache):
                if not file.is_file():
                    _write(file, shard, front_end, partial(_further, progress, done))
        shards.append((file, len(shard)))
        done += len(shard)
        progress(done)
    return LogMels(shards, made)


def told_by(row: Row) -> tuple[str, int, int]:
    """What a cache knows a row's file by: absolute path, size, time."""
    stat = row.file.stat()
    # Without following links, which would ask the disk about every folder above.
    return os.path.abspath(row.file), stat.st_size, stat.st_mtime_ns  # noqa: PTH100


def _key(number: int) -> str:
    return f"{number:07d}"


def _further(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def verify(rows: Sequence[Row], front_end: FrontEndConfig, cache: Path) -> int:
    """Compares every shard with its checksum; returns how many there are.

    Raises ShardError naming the first that differs or is not there.
    """
    shards = [_file(shard, front_end, cache) for shard in _cut(rows)]
    for file in shards:
        try:
            wanted = json.loads(_checksum(file).read_text())["sha256"]
            found = _sha256(file)
        except (OSError, ValueError, KeyError) as error:
            raise ShardError(f"{file} cannot be checked ({error}): prepare it again") from error
        if found != wanted:
            raise ShardError(f"{file} is not what was written: delete it and prepare it again")
    return len(shards)


def _cut(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS)]


def _file(rows: Sequence[Row], front_end: FrontEndConfig, cache: Path) -> Path:
    heard = asdict(front_end)
    for normalising in ("mean", "std"):  # comes later: what is kept is raw
        del heard[normalising]
    identity = [heard, [told_by(row) for row in rows]]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return cache / f"log-mels-{key}.safetensors"


def _write(
    file: Path, rows: Sequence[Row], front_end: FrontEndConfig, progress: Callable[[int], None]
) -> None:
    def compute(row: Row) -> Tensor:
        try:
            waveform = read_audio(row.file, front_end.sample_rate)
        except AudioError as error:
            raise AudioError(f"{row.file}: {error}") from error
        samples = torch.from_numpy(waveform.samples).unsqueeze(0)
        return log_mel(samples, front_end)[0, 0].half()

    found = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, tensor in enumerate(pool.map(compute, rows)):
            found[_key(number)] = tensor.contiguous()
            progress(number + 1)
    with whole(file) as aside:
        save_file(found, aside)
        told = {"sha256": _sha256(aside), "sounds": len(rows)}
        _checksum(file).write_text(json.dumps(told) + "\n")


def _checksum(file: Path) -> Path:
    return file.with_suffix(".json")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
