"""The encoding process: sole owner of the model and its device. It answers one job at a time."""

import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from m2d_clap.index.embed import embed
from m2d_clap.index.windows import windows
from m2d_clap.model import Checkpoint, Clap, Waveform
from m2d_clap.service.hearing import encode_classes, encode_spans

Kind = Literal["texts", "sounds", "spans", "classes"]
Vectors = NDArray[np.float32]

_LOG = logging.getLogger(__name__)
_TOGETHER = 40  # windows of one call, which bounds the memory of a long upload


@dataclass(frozen=True)
class Plan:
    """What the process loads, and where it runs."""

    checkpoint: Path
    device: str = "auto"
    threads: int | None = None
    text_encoder_path: Path | None = None


@dataclass(frozen=True)
class Ready:
    """The process has loaded the model and run each encoder once. device: "cpu" or "cuda"."""

    device: str


@dataclass(frozen=True)
class Failed:
    """Why it could not load, or why one job failed."""

    reason: str


def serve(connection: Connection, plan: Plan) -> None:
    """The process's main: Ready or Failed, then for each (kind, items) its vectors or Failed.

    Ends when the other side closes. Ctrl-C is the other side's to handle.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        clap = _load(plan)
    except Exception as error:  # noqa: BLE001  (whatever it is, the server must hear of it)
        _LOG.exception("the encoders could not be loaded")
        connection.send(Failed(str(error) or type(error).__name__))
        return
    connection.send(Ready(clap.device.type))
    while True:
        try:
            kind, items = connection.recv()
        except EOFError:
            return
        try:
            answer: list[Vectors] | Failed = ENCODE[kind](clap, items)
        except Exception as error:  # noqa: BLE001  (one job fails, not the process)
            _LOG.exception("encoding %d %s failed", len(items), kind)
            answer = Failed(f"{type(error).__name__}: {error}")
        connection.send(answer)


def encode_texts(clap: Clap, items: Sequence[Sequence[str]]) -> list[Vectors]:
    """Unit vectors (texts, dim) of each tuple of texts."""
    vectors = iter(_unit(clap.embed_text([t for item in items for t in item]).cpu().numpy()))
    return [np.stack([next(vectors) for _ in item]) for item in items]


def encode_sounds(clap: Clap, sounds: Sequence[Waveform]) -> list[Vectors]:
    """The unit vector (dim,) of each sound; of one longer than an index window, its windows' mean."""
    cut = [list(windows([sound.samples], sound.sample_rate)) for sound in sounds]
    flat = [window for of_one in cut for window in of_one]
    starts = range(0, len(flat), _TOGETHER)
    vectors = np.concatenate([embed(flat[start : start + _TOGETHER], clap) for start in starts])
    ends = np.cumsum([len(of_one) for of_one in cut])
    return [_unit(of_one.mean(axis=0)) for of_one in np.split(vectors, ends[:-1])]


ENCODE: dict[Kind, Callable[[Clap, Any], list[Vectors]]] = {
    "texts": encode_texts,
    "sounds": encode_sounds,
    "spans": encode_spans,
    "classes": encode_classes,
}


def _load(plan: Plan) -> Clap:
    if plan.threads:
        torch.set_num_threads(plan.threads)
    device = plan.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    clap = Checkpoint.load(plan.checkpoint).clap(device)
    clap.text_encoder_path = plan.text_encoder_path
    rate = clap.config.front_end.sample_rate
    clap.embed_audio([Waveform(np.zeros(rate, np.float32), rate)])
    if clap.config.text.kind != "none":
        clap.embed_text(["a sound"])
    return clap


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = (vectors / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
