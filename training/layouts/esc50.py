"""ESC-50: meta/esc50.csv and audio/ (Piczak 2015, https://github.com/karolpiczak/ESC-50)."""

from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.tables import find_tables, read_table
from m2d_clap.training.manifest import Row, captions_of

TABLE = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")


def _convert(source: Path) -> Iterator[Row]:
    (table,) = find_tables(source, [TABLE])
    for _, cells in read_table(table, *COLUMNS):
        licence = "CC BY 3.0 (ESC-10 subset)" if cells["esc10"] == "True" else "CC BY-NC 3.0"
        yield Row(
            file=source / "audio" / cells["filename"],
            captions=captions_of([cells["category"]]),
            label=cells["category"],
            split=f"fold{cells['fold']}",
            columns={name: cells[name] for name in ("target", "take")} | {"licence": licence},
            recording=f"fs:{cells['src_file']}",
            source="ESC-50",
        )


ESC50 = Layout(
    name="esc50",
    summary="2,000 environmental sounds of 5 s, 50 classes, 5 folds",
    url="https://github.com/karolpiczak/ESC-50",
    licence="CC BY-NC 3.0; the ESC-10 subset CC BY 3.0",
    audio="audio/<filename>",
    recognises=lambda source: (source / TABLE).is_file(),
    convert=_convert,
)
