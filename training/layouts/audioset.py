"""AudioSet: segments and classes of YouTube videos (Gemmeke et al. 2017, *_segments.csv)."""

import csv
from collections.abc import Iterator
from pathlib import Path

from m2d_clap.model.labels import audioset
from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.tables import find_tables, number, seek_tables
from m2d_clap.training.layouts.youtube import Videos
from m2d_clap.training.manifest import ManifestError, Row, captions_of

PARTS = {"balanced_train": "train", "unbalanced_train": "train", "eval": "test"}
TABLES = tuple(f"{part}_segments.csv" for part in PARTS)
COLUMNS = ("YTID", "start_seconds", "end_seconds", "positive_labels")


def _convert(source: Path) -> Iterator[Row]:
    tables = find_tables(source, TABLES)
    videos = Videos(source)
    names = dict(audioset())
    for table in tables:
        part = table.stem.removesuffix("_segments")
        for line, (video, start, end, mids) in _segments(table):
            if unknown := [mid for mid in mids.split(",") if mid not in names]:
                raise ManifestError(
                    f"{table}, line {line}: {unknown[0]!r} is none of AudioSet's 527 classes"
                )
            labels = tuple(names[mid] for mid in mids.split(","))
            yield Row(
                file=videos.find(
                    video,
                    number(table, line, COLUMNS[1], start),
                    number(table, line, COLUMNS[2], end),
                ),
                captions=captions_of(labels),
                label=labels[0] if len(labels) == 1 else "",
                split=PARTS[part],
                columns={"subset": part, "start_seconds": start},
                labels=labels,
                recording=f"yt:{video}",
                source="AudioSet",
            )


def _segments(table: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, the four cells); three comments stand before them, the last one names the columns."""
    try:
        with table.open(newline="", encoding="utf-8") as opened:
            reader = csv.reader(opened, skipinitialspace=True)
            for cells in reader:
                if cells and not (reader.line_num <= 3 and cells[0].startswith("#")):
                    if len(cells) != len(COLUMNS):
                        raise ManifestError(
                            f"{table}, line {reader.line_num}: not the four cells "
                            f"{', '.join(COLUMNS)}, the last one in quotes"
                        )
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"cannot read {table}: {error}") from error


AUDIOSET = Layout(
    name="audioset",
    summary="two million ten-second clips of YouTube, 527 classes, several for each",
    url="https://research.google.com/audioset/download.html",
    licence="labels: CC BY 4.0; the sound is YouTube's uploaders'",
    audio="anywhere below, as <YTID>_<start>, Y<YTID>, <YTID>_<start>_<end>, <YTID>, …",
    recognises=lambda source: bool(seek_tables(source, TABLES)),
    convert=_convert,
)
