"""Sounds embedded by a Ray cluster: files in, vectors out, the catalogue stays here.

Every worker reads library and checkpoint at the paths they have here, and has m2d-clap installed. One
model an actor; a group of files is a task, and what it gives is written as soon as it comes.
"""

import logging
import os
import pickle
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m2d_clap.index.busy import Busy
from m2d_clap.index.embed import Encoded
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.pipeline import Work, embedded
from m2d_clap.index.reading import Heard, Piece, Whole
from m2d_clap.index.walk import File
from m2d_clap.model import Checkpoint, Precision

LOCAL = "local"
_GROUP_BYTES, _GROUP_FILES = 64 << 20, 64
_CPUS = 2  # of an actor without a GPU


@dataclass(frozen=True)
class RayCluster:
    """Embeds on the cluster at an address, "auto", HOST:PORT or ray://HOST:PORT; LOCAL starts one on
    this machine for as long as it takes."""

    address: str
    checkpoint: Path
    precision: Precision = "float32"

    def __call__(self, work: Work) -> Generator[Encoded, None, None]:
        """Raises LibraryIndexError where Ray is missing, or its cluster is lost or out of reach."""
        if not work.files:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine unasked
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise LibraryIndexError("--ray needs Ray: pip install 'm2d-clap[ray]'") from error
        try:
            _connect(ray, self.address)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise LibraryIndexError(f"no Ray cluster at {self.address}: {error}") from error
        try:
            yield from _once(self._results(ray, work), work.complete)
        except ray.exceptions.RayError as error:
            raise LibraryIndexError(
                f"Ray ended before everything was embedded; the same command goes on: {error}"
            ) from error
        finally:
            ray.shutdown()

    def _results(self, ray: Any, work: Work) -> Iterator[Encoded]:
        ray.data.DataContext.get_current().enable_progress_bars = False
        groups = [{"files": pickle.dumps(group)} for group in _groups(work.files)]
        given, actors = _shares(ray.cluster_resources())
        results = ray.data.from_items(groups, override_num_blocks=len(groups)).map_batches(
            _Worker,
            fn_constructor_args=(
                replace(work, files=(), library=work.library.resolve()),
                self.checkpoint.resolve(),
                self.precision,
                "cuda" if "num_gpus" in given else "cpu",
                given.get("num_cpus"),
            ),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            **given,
        )
        for row in results.iter_rows():
            yield from pickle.loads(row["encoded"])


class _Worker:
    """An actor: the model, loaded once, and the pipeline of a local run."""

    def __init__(
        self,
        work: Work,
        checkpoint: Path,
        precision: Precision,
        device: str,
        threads: int | None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._work = work
        self._clap = Checkpoint.load(checkpoint).clap(device)
        self._clap.precision = precision

    def __call__(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        groups = [pickle.loads(files) for files in batch["files"]]
        done = [
            pickle.dumps([*embedded(replace(self._work, files=files), self._clap, Busy(1))])
            for files in groups
        ]
        return {"encoded": np.array(done, object)}


def _connect(ray: Any, address: str) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options["include_dashboard"] = False
    ray.init(address=address, **options)


def _shares(resources: Mapping[str, float]) -> tuple[dict[str, int], int]:
    """What an actor is given, and how many of them there can be."""
    if gpus := int(resources.get("GPU", 0)):
        return {"num_gpus": 1}, gpus
    cpus = max(1, int(resources.get("CPU", 1)))
    each = min(_CPUS, cpus)
    return {"num_cpus": each}, cpus // each


def _groups(files: Sequence[File]) -> Iterator[list[File]]:
    """So small that little is lost when one is, and all actors have work to the end."""
    group: list[File] = []
    for file in files:
        group.append(file)
        if len(group) == _GROUP_FILES or sum(f.size for f in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _once(results: Iterator[Encoded], complete: set[str]) -> Generator[Encoded, None, None]:
    """Without what another actor has embedded already: files with the same content are unknown to
    each other there."""
    done = set(complete)
    for pieces, vectors in results:
        kept: list[Piece] = []
        kept_vectors = []
        rows = iter(vectors)
        for piece in pieces:
            vector = next(rows) if isinstance(piece, Heard) else None
            if piece.clip in done:
                if isinstance(piece, Heard):
                    continue
                if isinstance(piece, Whole):
                    piece = replace(piece, seconds=None)
            elif isinstance(piece, Whole) and piece.seconds is not None:
                done.add(piece.clip)
            kept.append(piece)
            if vector is not None:
                kept_vectors.append(vector)
        if kept:
            yield kept, kept_vectors
