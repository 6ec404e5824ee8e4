"""What the encoding process makes of a sound for tags: vectors along time, and the head's answer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.hits import units
from m2d_clap.model import Clap, Waveform
from m2d_clap.model.stretches import piece
from m2d_clap.service.spans import spans
from m2d_clap.service.stages import Stages

_TOGETHER = 64  # spans of one call, which bounds the memory of a long upload


def encode_spans(
    clap: Clap, sounds: Sequence[Waveform], stages: Stages | None = None
) -> list[NDArray[np.float32]]:
    """(spans, dim) of each sound: the unit vectors of its stretches, as `spans` cuts them."""
    found = []
    stages = stages or Stages()
    for sound in sounds:
        cut = [piece(sound, start, end) for start, end in spans(sound.seconds)]
        groups = [cut[at : at + _TOGETHER] for at in range(0, len(cut), _TOGETHER)]
        with stages.measured("encode_audio"):
            vectors = np.concatenate([clap.embed_audio(group).cpu().numpy() for group in groups])
        found.append(units(vectors))
    return found


def encode_classes(
    clap: Clap, sounds: Sequence[Waveform], stages: Stages | None = None
) -> list[NDArray[np.float32]]:
    """(1 + spans, classes) of each sound: the trained head's probabilities, 0 … 1, for the whole
    sound and for its stretches. Only for a checkpoint with labels."""
    found = []
    stages = stages or Stages()
    for sound in sounds:
        cut = [sound, *(piece(sound, start, end) for start, end in spans(sound.seconds))]
        groups = [cut[:1], *(cut[at : at + _TOGETHER] for at in range(1, len(cut), _TOGETHER))]
        with stages.measured("encode_audio"):
            found.append(np.concatenate([_probabilities(clap, group) for group in groups]))
    return found


def _probabilities(clap: Clap, sounds: Sequence[Waveform]) -> NDArray[np.float32]:
    logits = clap.logits([clap.log_mel(sound) for sound in sounds])
    probabilities: NDArray[np.float32] = logits.sigmoid().cpu().numpy()
    return probabilities
