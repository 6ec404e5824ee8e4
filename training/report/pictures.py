"""Small pictures as data URIs."""

import base64
from io import BytesIO
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

SIZE = (32, 88)
FRAMES = 1000
LEVELS = 16
INK = (79, 125, 201)
"""One colour in sixteen opacities, so that it stands on light and dark pages."""
LARGEST = 300_000
"""Bytes of a picture of the run that is taken into the page."""


def spectrogram(log_mel: Tensor) -> str:
    """A PNG of the first seconds of a raw log-mel (mels, frames), about 1 KB."""
    from PIL import Image

    sound = log_mel[:, :FRAMES].float()
    small = F.adaptive_avg_pool2d(sound.unsqueeze(0), SIZE)[0].flip(0)
    low, high = small.quantile(0.2), small.max()
    shares = ((small - low) / (high - low).clamp_min(1e-6)).nan_to_num(0.0).clamp(0, 1)
    levels = (shares * (LEVELS - 1)).round().to(torch.uint8)
    image = Image.fromarray(levels.numpy(), mode="P")
    image.putpalette(INK * LEVELS)
    opacity = bytes(255 * level // (LEVELS - 1) for level in range(LEVELS))
    written = BytesIO()
    image.save(written, "PNG", bits=4, transparency=opacity, optimize=True)
    return _uri(written.getvalue())


def png(file: Path) -> str | None:
    """The file's own bytes; None where it is not there or too large."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    return _uri(content) if len(content) <= LARGEST else None


def _uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
