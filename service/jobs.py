"""What the server and its encoding process say to each other. The server has no need of torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model import Waveform
from m2d_clap.model.captions import Decoding
from m2d_clap.model.config import Engine

Kind = Literal["texts", "sounds", "spans", "classes", "captions"]
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What the process loads, and where it runs. fingerprint: what the checkpoint has to be."""

    checkpoint: Path
    device: str = "auto"
    threads: int | None = None
    text_encoder_path: Path | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    engine: Engine = "torch"
    fingerprint: str | None = None
    log_level: str = "warning"


@dataclass(frozen=True)
class Ready:
    """The process has loaded the model and run each encoder once. device: "cpu" or "cuda"."""

    device: str
    precision: str


@dataclass(frozen=True)
class Failed:
    """Why it could not load, or why one job failed."""

    reason: str


@dataclass(frozen=True)
class Encoded:
    """What was made of each item (its vectors; of "captions" its Captioned), in order, and the
    seconds each stage took."""

    items: list[Any]
    seconds: dict[str, float]


@dataclass(frozen=True)
class CaptionJob:
    """A sound, and how its captions are to be chosen."""

    sound: Waveform
    how: Decoding
