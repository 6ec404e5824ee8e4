"""Made-up sounds as further training rows."""

from pathlib import Path

from m2d_clap.model.sounds import kinds, write_library
from m2d_clap.training.alone import alone
from m2d_clap.training.manifest import Row, read_manifest

FIRST_SEED = 1000
"""Far from the seeds of demonstration libraries, whose sounds stay unheard in training."""


def procedural_rows(cache: Path, per_kind: int, sample_rate: int) -> list[Row]:
    """Rows of `per_kind` takes of every kind, rendered once and kept under `cache`."""
    folder = cache / f"procedural-{len(kinds())}-kinds-{per_kind}-takes-{sample_rate}"
    manifest = folder / "manifest.csv"
    with alone(cache):
        if not manifest.is_file():
            write_library(folder, per_kind, FIRST_SEED, sample_rate)
    return read_manifest(manifest)
