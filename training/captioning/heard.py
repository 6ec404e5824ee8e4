"""What the frozen encoder hears in every clip, computed once and kept in shards."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Clap
from m2d_clap.model.files import whole
from m2d_clap.model.mel import normalise
from m2d_clap.training.manifest import Row
from m2d_clap.training.shards import ShardError, load_log_mels, told_by

SHARD_ROWS = 512
_TOGETHER = 32


class Heard:
    """clap: (clips, dim) float32 embeddings; `patches(n)`: a clip's patch tokens, mapped."""

    def __init__(self, shards: Sequence[Path]) -> None:
        """Raises ShardError naming a damaged one."""
        self._places: list[tuple[Any, str]] = []
        embeddings = []
        for file in shards:
            try:
                shard: Any = safe_open(file, "pt")
                embeddings.append(shard.get_tensor("clap"))
            except (SafetensorError, OSError) as error:
                raise ShardError(f"{file} is damaged ({error}): delete it") from error
            self._places += [(shard, _key(number)) for number in range(len(embeddings[-1]))]
        self.clap = torch.cat(embeddings)

    def __len__(self) -> int:
        return len(self._places)

    def patches(self, number: int) -> Tensor:
        """(tokens, width) float16."""
        shard, key = self._places[number]
        found: Tensor = shard.get_tensor(key)
        return found


def hear(
    rows: Sequence[Row],
    parent: Checkpoint,
    cache: Path,
    device: str = "cpu",
    progress: Callable[[int], None] = lambda _: None,
) -> Heard:
    """Every row as the parent's audio encoder hears it, whole; computed where `cache` lacks it.

    Raises AudioError naming the file that cannot be decoded, ShardError naming a damaged shard.
    """
    cut = [rows[start : start + SHARD_ROWS] for start in range(0, len(rows), SHARD_ROWS)]
    files = [_file(part, parent.hearing, cache) for part in cut]
    if not all(file.is_file() for file in files):
        clap = parent.clap(device)
        sounds = load_log_mels(rows, clap.config.front_end, cache)
        for number, (file, part) in enumerate(zip(files, cut, strict=True)):
            start = number * SHARD_ROWS
            if not file.is_file():
                _write(file, clap, [sounds[start + place] for place in range(len(part))])
            progress(start + len(part))
    return Heard(files)


def _write(file: Path, clap: Clap, sounds: Sequence[Tensor]) -> None:
    kept: dict[str, Tensor] = {}
    embeddings: list[Tensor] = []
    front_end = clap.config.front_end
    for start in range(0, len(sounds), _TOGETHER):
        grids = clap.grids(
            [
                normalise(sound.float(), front_end).unsqueeze(0).to(clap.device)
                for sound in sounds[start : start + _TOGETHER]
            ]
        )
        embeddings.append(clap.project(grids).cpu())
        for place, grid in enumerate(grids, start):
            kept[_key(place)] = grid.flat().half().cpu().contiguous()
    kept["clap"] = torch.cat(embeddings)
    with whole(file) as aside:
        save_file(kept, aside)


def _file(rows: Sequence[Row], hearing: str, cache: Path) -> Path:
    identity = [hearing, [told_by(row) for row in rows]]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return cache / f"heard-{key}.safetensors"


def _key(number: int) -> str:
    return f"{number:07d}"
