"""Log-mels computed once and kept in shards: safetensors files that are mapped, not read.

A shard holds the sounds of SHARD_ROWS rows. Its name follows from the front end and every file's
path, size and time, so a changed file makes its shard anew and no other; a stopped preparation
goes on at the shard it was in. Beside each stands its checksum.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from m2d_clap.model.audio import read_audio
from m2d_clap.model.config import FrontEndConfig
from m2d_clap.model.errors import AudioError, ClapError
from m2d_clap.model.mel import log_mel
from m2d_clap.training.manifest import Row

SHARD_ROWS = 2048


class ShardError(ClapError):
    """A shard that was damaged after it was written."""


def load_log_mels(
    rows: Sequence[Row],
    front_end: FrontEndConfig,
    cache: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Tensor]:
    """Raw log-mels (mels, frames) float16, one a row, computed where `cache` lacks them.

    Raises AudioError naming the file that cannot be decoded, ShardError naming a damaged shard.
    """
    sounds: list[Tensor] = []
    for shard in _cut(rows):
        file = _file(shard, front_end, cache)
        if not file.is_file():
            _write(file, shard, front_end, partial(_further, progress, len(sounds)))
        try:
            stored = load_file(file)
        except SafetensorError as error:
            raise ShardError(f"{file} is damaged ({error}): delete it") from error
        sounds += [stored[f"{number:07d}"] for number in range(len(shard))]
        progress(len(sounds))
    return sounds


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
    stats = [row.file.stat() for row in rows]
    identity = [
        asdict(front_end),
        [(str(r.file), s.st_size, s.st_mtime_ns) for r, s in zip(rows, stats, strict=True)],
    ]
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

    file.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, tensor in enumerate(pool.map(compute, rows)):
            found[f"{number:07d}"] = tensor.contiguous()
            progress(number + 1)
    aside = file.with_suffix(".part")
    save_file(found, aside)
    with aside.open("rb") as written:
        os.fsync(written.fileno())
    _checksum(file).write_text(json.dumps({"sha256": _sha256(aside), "sounds": len(rows)}) + "\n")
    aside.replace(file)


def _checksum(file: Path) -> Path:
    return file.with_suffix(".json")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
