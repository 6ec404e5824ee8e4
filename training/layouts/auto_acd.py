"""Auto-ACD: machine-made captions of AudioSet and VGGSound (Sun et al. 2024, train.csv, test.csv).

A clip of AudioSet is named by its video alone, one of VGGSound by video and start, six digits;
a name stands in as many lines as it has captions.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.tables import find_tables, has_columns, read_table, seek_tables
from m2d_clap.training.layouts.youtube import Videos
from m2d_clap.training.manifest import ManifestError, Row

TABLES = ("train.csv", "test.csv")
NAMES = ("youtube_id", "name")
CLIP = re.compile(r"([\w-]{11})(?:_(\d{6}))?", re.ASCII)


def _convert(source: Path) -> Iterator[Row]:
    tables = find_tables(source, TABLES)
    videos = Videos(source)
    for table in tables:
        column = "name" if has_columns(table, "name") else "youtube_id"
        clips: dict[str, list[str]] = {}
        for line, cells in read_table(table, column, "caption"):
            if not CLIP.fullmatch(cells[column]):
                raise ManifestError(
                    f"{table}, line {line}: {column} {cells[column]!r} is no video of eleven "
                    "characters, alone or with _ and a start of six digits"
                )
            clips.setdefault(cells[column], []).append(cells["caption"].replace("|", ","))
        for clip, captions in clips.items():
            video, start = clip[:11], clip[12:]
            yield Row(
                file=videos.find(video, float(start) if start else None),
                captions=tuple(captions),
                label="",
                split=table.stem,
                columns={"subset": "VGGSound" if start else "AudioSet"},
                recording=f"yt:{video}",
                source="Auto-ACD",
            )


def _recognises(source: Path) -> bool:
    # AudioCaps' tables have the same names, and these columns among others.
    return any(
        has_columns(table, name, "caption") and not has_columns(table, "audiocap_id")
        for table in seek_tables(source, TABLES)
        for name in NAMES
    )


AUTO_ACD = Layout(
    name="auto-acd",
    summary="machine-made captions of 1.9 million clips of AudioSet and VGGSound",
    url="https://huggingface.co/datasets/Loie/Auto-ACD",
    licence="see the dataset card; the sound is YouTube's uploaders'",
    audio="anywhere below, as <youtube_id>, Y<youtube_id>, <youtube_id>_<start>, …",
    recognises=_recognises,
    convert=_convert,
)
