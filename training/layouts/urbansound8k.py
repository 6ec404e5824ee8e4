"""UrbanSound8K: metadata/UrbanSound8K.csv and audio/fold1…fold10 (Salamon et al. 2014)."""

from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.tables import find_tables, read_table, seek_tables
from m2d_clap.training.manifest import Row, captions_of

TABLE = "UrbanSound8K.csv"
FOLDERS = ("metadata", "")
"""The second, with the folds beside the table, is how Kaggle's copy lies."""
COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")


def _convert(source: Path) -> Iterator[Row]:
    (table,) = find_tables(source, [TABLE], FOLDERS)
    audio = source / "audio" if (source / "audio").is_dir() else source
    for _, cells in read_table(table, *COLUMNS):
        kept = ("start", "end", "salience", "classID")
        yield Row(
            file=audio / f"fold{cells['fold']}" / cells["slice_file_name"],
            captions=captions_of([cells["class"]]),
            label=cells["class"],
            split=f"fold{cells['fold']}",
            columns={name: cells[name] for name in kept} | {"licence": "CC BY-NC 3.0"},
            recording=f"fs:{cells['fsID']}",
            source="UrbanSound8K",
        )


URBANSOUND8K = Layout(
    name="urbansound8k",
    summary="8,732 city sounds of at most 4 s, 10 classes, 10 folds",
    url="https://urbansounddataset.weebly.com/urbansound8k.html",
    licence="CC BY-NC 3.0",
    audio="audio/fold<n>/<slice_file_name>",
    recognises=lambda source: bool(seek_tables(source, [TABLE], FOLDERS)),
    convert=_convert,
)
