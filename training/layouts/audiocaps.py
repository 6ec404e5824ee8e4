"""AudioCaps: captions of ten-second clips of AudioSet (Kim et al. 2019, dataset/*.csv)."""

from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.tables import (
    find_tables,
    has_columns,
    number,
    read_table,
    seek_tables,
)
from m2d_clap.training.layouts.youtube import Videos
from m2d_clap.training.manifest import Row

PARTS = {"train": "train", "val": "valid", "test": "test"}
TABLES = tuple(f"{part}.csv" for part in PARTS)
FOLDERS = ("", "dataset")
COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
SECONDS = 10


def _convert(source: Path) -> Iterator[Row]:
    tables = find_tables(source, TABLES, FOLDERS)
    videos = Videos(source)
    for table in tables:
        # Valid and test have five lines for each clip, one a caption.
        clips: dict[tuple[str, float], tuple[str, list[str]]] = {}
        for line, cells in read_table(table, *COLUMNS):
            clip = (cells["youtube_id"], number(table, line, "start_time", cells["start_time"]))
            _, captions = clips.setdefault(clip, (cells["audiocap_id"], []))
            captions.append(cells["caption"].replace("|", ","))
        for (video, start), (own_id, captions) in clips.items():
            yield Row(
                file=videos.find(video, start, start + SECONDS, own_id),
                captions=tuple(captions),
                label="",
                split=PARTS[table.stem],
                columns={"audiocap_id": own_id, "start_seconds": f"{start:g}"},
                recording=f"yt:{video}",
                source="AudioCaps",
            )


AUDIOCAPS = Layout(
    name="audiocaps",
    summary="about 51,000 clips of AudioSet, one caption each in train, five in valid and test",
    url="https://github.com/cdjkim/audiocaps",
    licence="captions: MIT; the sound is YouTube's uploaders'",
    audio="anywhere below, as <youtube_id>_<start>, Y<youtube_id>, <youtube_id>, <audiocap_id>, …",
    recognises=lambda source: any(
        has_columns(table, *COLUMNS) for table in seek_tables(source, TABLES, FOLDERS)
    ),
    convert=_convert,
)
