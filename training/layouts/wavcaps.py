"""WavCaps: machine-made captions of four collections (Mei et al. 2024, json_files/ and audio).

Each JSON is {"num_captions_per_audio", "data": [{"id", "caption", "duration", …}]}. The sounds,
<id>.flac, lie in a folder named for the collection, often with _flac after it, at any depth.
Only AudioSet_SL's ids are file names, "Y<video>.wav".
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.sounds import by_stem, sound_files
from m2d_clap.training.layouts.tables import find_tables, read_json, seek_tables
from m2d_clap.training.manifest import ManifestError, Row

TABLES = {
    "AudioSet_SL": "as_final.json",
    "BBC_Sound_Effects": "bbc_final.json",
    "FreeSound": "fsd_final.json",
    "SoundBible": "sb_final.json",
}
RECORDINGS = {"BBC_Sound_Effects": "bbc", "FreeSound": "fs", "SoundBible": "soundbible"}
PLACES = tuple(f"{collection}/{table}" for collection, table in TABLES.items())
FOLDERS = ("json_files", "", "data/json_files")


@dataclass(frozen=True)
class _Clip:
    stem: str
    caption: str
    columns: dict[str, str]


def _convert(source: Path) -> Iterator[Row]:
    tables = find_tables(source, PLACES, FOLDERS)
    sounds = _sounds(source)
    for table in tables:
        collection = table.parent.name
        for clip in _clips(table):
            missing = source / collection / f"{clip.stem}.flac"
            prefix = RECORDINGS.get(collection)
            yield Row(
                file=Path(sounds[collection].get(clip.stem, missing)),
                captions=(clip.caption,),
                label="",
                split="train",
                columns={"subset": collection} | clip.columns,
                recording=f"{prefix}:{clip.stem}" if prefix else f"yt:{clip.stem[1:]}",
                source="WavCaps",
            )


def _clips(table: Path) -> Iterator[_Clip]:
    held: Any = read_json(table)
    data = held.get("data") if isinstance(held, dict) else held
    if not isinstance(data, list):
        raise ManifestError(f"{table}: there is no list 'data'")
    for place, clip in enumerate(data, 1):
        try:
            caption = clip["caption"]
            if not caption or not clip["id"]:
                raise KeyError
            yield _Clip(
                str(clip["id"]).removesuffix(".wav"),
                caption if isinstance(caption, str) else caption[0],
                {"seconds": str(clip["duration"])} if "duration" in clip else {},
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ManifestError(
                f"{table}, entry {place} of 'data': id or caption is missing or empty"
            ) from error


def _sounds(source: Path) -> dict[str, dict[str, str]]:
    """Files by stem for every collection, since their numbers may be the same."""
    files = defaultdict(list)
    folders: dict[str, str] = {}
    for file in sound_files(source):
        folder = str(Path(file).parent)
        if folder not in folders:
            parts = [part.removesuffix("_flac") for part in Path(folder).relative_to(source).parts]
            folders[folder] = next((name for name in TABLES if name in parts), "")
        files[folders[folder]].append(file)
    return {collection: by_stem(files[collection]) for collection in TABLES}


WAVCAPS = Layout(
    name="wavcaps",
    summary="about 400,000 clips of AudioSet, the BBC, Freesound and SoundBible, one caption each",
    url="https://huggingface.co/datasets/cvssp/WavCaps",
    licence="academic use only; the sounds under the terms of their collections",
    audio="<id>.flac in AudioSet_SL/, BBC_Sound_Effects/, FreeSound/, SoundBible/ or <these>_flac/",
    recognises=lambda source: bool(seek_tables(source, PLACES, FOLDERS)),
    convert=_convert,
)
