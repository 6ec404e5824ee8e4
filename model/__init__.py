"""M2D-CLAP: general and text-aligned audio features (arXiv 2503.22104)."""

from m2d_clap.model.audio import AudioLimits, Waveform, decode, read_audio
from m2d_clap.model.audio_encoder import AudioEncoder, TokenGrid
from m2d_clap.model.checkpoint import Checkpoint, bundled
from m2d_clap.model.clap import Clap, Precision, similarity
from m2d_clap.model.config import ClapConfig
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
    "read_audio",
    "similarity",
]
