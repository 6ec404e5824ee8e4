"""Clotho 2.1: five captions a clip (Drossos et al. 2020, zenodo 4783391)."""

from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.licences import licence_name
from m2d_clap.training.layouts.tables import find_tables, read_table, seek_tables
from m2d_clap.training.manifest import ManifestError, Row

PARTS = {"development": "train", "validation": "valid", "evaluation": "test"}
TABLES = tuple(f"clotho_captions_{part}.csv" for part in PARTS)
TABLE_FOLDERS = ("", "clotho_csv_files")
AUDIO_FOLDERS = ("", "clotho_audio_files", "audio")
CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))


def _convert(source: Path) -> Iterator[Row]:
    for table in find_tables(source, TABLES, TABLE_FOLDERS):
        part = table.stem.removeprefix("clotho_captions_")
        places = [source / folder / part for folder in AUDIO_FOLDERS]
        audio = next((place for place in places if place.is_dir()), places[0])
        metadata = _metadata(table.with_name(f"clotho_metadata_{part}.csv"))
        for line, cells in read_table(table, "file_name", *CAPTIONS, empty=CAPTIONS):
            # `|` is what separates captions in a manifest.
            captions = tuple(cells[name].replace("|", ",") for name in CAPTIONS if cells[name])
            if not captions:
                raise ManifestError(f"{table}, line {line}: all five captions are empty")
            sound, licence = metadata.get(cells["file_name"], ("", ""))
            yield Row(
                file=audio / cells["file_name"],
                captions=captions,
                label="",
                split=PARTS[part],
                columns={"licence": licence},
                recording=f"fs:{sound}" if sound else "",
                source="Clotho",
            )


def _metadata(table: Path) -> dict[str, tuple[str, str]]:
    """(Freesound number or empty, licence) of every file."""
    if not table.is_file():
        raise ManifestError(
            f"{table} is not there: it is published beside the captions, and says which recordings "
            "these are. Without it the same ones in other data sets would not be known for them"
        )
    # Published in this encoding, which takes every byte.
    columns = ("file_name", "sound_id", "license")
    rows = read_table(table, *columns, encoding="latin-1", empty=columns)
    return {
        cells["file_name"]: (
            cells["sound_id"] if cells["sound_id"].isdecimal() else "",
            licence_name(cells["license"]),
        )
        for _, cells in rows
    }


CLOTHO = Layout(
    name="clotho",
    summary="5,929 clips of Freesound of 15 to 30 s, five captions each",
    url="https://zenodo.org/records/4783391",
    licence="captions: non-commercial, with attribution; each clip its own Creative Commons one",
    audio="development/, validation/ and evaluation/, also below clotho_audio_files/ or audio/; "
    "clotho_metadata_*.csv beside the captions",
    recognises=lambda source: bool(seek_tables(source, TABLES, TABLE_FOLDERS)),
    convert=_convert,
)
