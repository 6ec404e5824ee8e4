"""Made-up sounds with captions: demonstration library, tests' material, training data."""

from m2d_clap.model.sounds.library import write_library
from m2d_clap.model.sounds.sound import Sound, SoundKindError, kinds, make

__all__ = ["Sound", "SoundKindError", "kinds", "make", "write_library"]
