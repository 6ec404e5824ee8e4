"""A folder of made-up sounds with the manifest that training reads."""

import csv
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from m2d_clap.model.files import whole
from m2d_clap.model.sounds.sound import kinds, make


def write_library(
    folder: Path, per_kind: int = 2, seed: int = 0, sample_rate: int = 16_000
) -> Path:
    """Writes sounds/<kind>/<kind>-<seed>.wav (16 bit) for `per_kind` seeds; returns manifest.csv.

    The manifest (file, caption, label, split) comes last and in one piece: where it is, the
    library is whole.
    """
    manifest = folder / "manifest.csv"
    folder.mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)
    with whole(manifest) as aside, aside.open("w", newline="", encoding="utf-8") as opened:
        rows = csv.writer(opened)
        rows.writerow(["file", "caption", "label", "split"])
        for kind in kinds():
            place = folder / "sounds" / kind
            place.mkdir(parents=True, exist_ok=True)
            for take in range(seed, seed + per_kind):
                sound = make(kind, take, sample_rate)
                file = place / f"{kind}-{take}.wav"
                wavfile.write(file, sample_rate, np.round(sound.samples * 32767).astype(np.int16))
                rows.writerow([file.relative_to(folder).as_posix(), sound.caption, kind, "train"])
    return manifest
