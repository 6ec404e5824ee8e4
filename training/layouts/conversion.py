"""A published data set as a manifest of the sounds that are there."""

import os
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.manifest import ManifestError, each_file, write_manifest


@dataclass(frozen=True)
class Report:
    """What a conversion wrote: rows, and how many it left out because their file is missing."""

    rows: int
    missing: int


def convert(layout: Layout, source: Path, out_csv: Path) -> Report:
    """Writes the manifest `out_csv` of the data set in the folder `source`.

    Sounds whose file is not there (videos vanish) are left out. Raises ManifestError when none
    is there, or the tables are not as published.
    """
    rows = list(layout.convert(source))
    there = each_file(os.path.isfile, [row.file for row in rows])
    kept = [row for row, found in zip(rows, there, strict=True) if found]
    if not kept:
        wanted = f", for one {rows[0].file}" if rows else ""
        raise ManifestError(
            f"none of the {len(rows)} sounds that {layout.name}'s tables name is there{wanted}; "
            f"sought below {source}: {layout.audio}"
        )
    write_manifest(kept, out_csv)
    return Report(len(kept), len(rows) - len(kept))
