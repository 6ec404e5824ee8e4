"""M2D-CLAP: general and text-aligned audio features (arXiv 2503.22104).

The names are loaded when first asked for: who only decodes sound need not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m2d_clap.model.audio import AudioLimits, Waveform, decode, read_audio
    from m2d_clap.model.audio_encoder import AudioEncoder, TokenGrid
    from m2d_clap.model.checkpoint import Checkpoint
    from m2d_clap.model.clap import Clap, Precision, fastest_precision, similarity
    from m2d_clap.model.config import ClapConfig
    from m2d_clap.model.description import bundled
    from m2d_clap.model.errors import ClapError
    from m2d_clap.model.text_encoder import TextEncoder

__all__ = [
    "AudioEncoder",
    "AudioLimits",
    "Checkpoint",
    "Clap",
    "ClapConfig",
    "ClapError",
    "Precision",
    "TextEncoder",
    "TokenGrid",
    "Waveform",
    "bundled",
    "decode",
    "fastest_precision",
    "read_audio",
    "similarity",
]

_HOMES = {
    **dict.fromkeys(("AudioLimits", "Waveform", "decode", "read_audio"), "audio"),
    **dict.fromkeys(("AudioEncoder", "TokenGrid"), "audio_encoder"),
    "Checkpoint": "checkpoint",
    **dict.fromkeys(("Clap", "Precision", "fastest_precision", "similarity"), "clap"),
    "ClapConfig": "config",
    "bundled": "description",
    "ClapError": "errors",
    "TextEncoder": "text_encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
