"""Auto-ACD: machine-made captions of AudioSet and VGGSound (Sun et al. 2024, train.csv, test.csv).

A clip of AudioSet is named by its video alone, one of VGGSound by video and start, six digits;
a name stands in as many lines as it has captions.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.tables import find_tables, has_columns, read_table, seek_tables
from m2d_clap.training.layouts.youtube import Videos, stems
from m2d_clap.training.manifest import ManifestError, Row

TABLES = ("train.csv", "test.csv")
NAMES = ("youtube_id", "name")
CLIP = re.compile(r"([\w-]{11})(?:_(\d{6}))?", re.ASCII)


def _convert(source: Path) -> Iterator[Row]:
    tables = find_tables(source, TABLES)
    videos = Videos(source)
    found: list[tuple[str, dict[str, list[str]]]] = []
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
        found.append((table.stem, clips))
    # Both collections have other seconds of some videos: a missing file is not to be taken from there.
    own: dict[str, dict[str, set[str]]] = {}
    for clip in (clip for _, clips in found for clip in clips):
        own.setdefault(clip[:11], {})[clip] = _stems(clip)
    for split, clips in found:
        for clip, captions in clips.items():
            video, start = clip[:11], clip[12:]
            others = {stem for other, of in own[video].items() if other != clip for stem in of}
            yield Row(
                file=videos.find(video, float(start) if start else None, others=others),
                captions=tuple(captions),
                label="",
                split=split,
                columns={"subset": "VGGSound" if start else "AudioSet"},
                recording=f"yt:{video}",
                source="Auto-ACD",
            )


def _stems(clip: str) -> set[str]:
    """How the file of this clip, and of no other of its video, may be called."""
    video, start = clip[:11], clip[12:]
    if not start:
        return set(stems(video, None))
    seconds = float(start)
    return set(stems(video, seconds, seconds + 10)) - set(stems(video, None))


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
