"""FSD50K: ground truth, metadata, dev and eval audio (Fonseca et al. 2022, zenodo 4060432)."""

from collections.abc import Iterator
from pathlib import Path

from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.licences import licence_name
from m2d_clap.training.layouts.tables import find_tables, read_json, read_table, seek_tables
from m2d_clap.training.manifest import ManifestError, Row, captions_of

TABLES = ("FSD50K.ground_truth/dev.csv", "FSD50K.ground_truth/eval.csv")
SPLITS = {"train": "train", "val": "valid"}


def _convert(source: Path) -> Iterator[Row]:
    for table in find_tables(source, TABLES):
        part = table.stem
        licences = _licences(source, part)
        columns = ("fname", "labels", "mids") + (("split",) if part == "dev" else ())
        for line, cells in read_table(table, *columns):
            labels = tuple(cells["labels"].split(","))
            if not all(labels):
                raise ManifestError(f"{table}, line {line}: a label is empty: {cells['labels']!r}")
            yield Row(
                file=source / f"FSD50K.{part}_audio" / f"{cells['fname']}.wav",
                captions=captions_of(labels),
                label=labels[0] if len(labels) == 1 else "",
                split="test" if part == "eval" else _split(table, line, cells["split"]),
                columns={"mids": cells["mids"], "licence": licences.get(cells["fname"], "")},
                labels=labels,
                recording=f"fs:{cells['fname']}",
                source="FSD50K",
            )


def _split(table: Path, line: int, name: str) -> str:
    if name not in SPLITS:
        raise ManifestError(f"{table}, line {line}: the split {name!r} is neither train nor val")
    return SPLITS[name]


def _licences(source: Path, part: str) -> dict[str, str]:
    """Licence of every clip, from the metadata where it was unpacked."""
    table = source / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json"
    if not table.is_file():
        return {}
    return {clip: licence_name(found["license"]) for clip, found in read_json(table).items()}


FSD50K = Layout(
    name="fsd50k",
    summary="51,197 sounds of Freesound, 200 of AudioSet's classes, several for each",
    url="https://zenodo.org/records/4060432",
    licence="CC BY 4.0 as a whole; each clip CC0, CC BY, CC BY-NC or CC Sampling+",
    audio="FSD50K.dev_audio/<fname>.wav and FSD50K.eval_audio/<fname>.wav",
    recognises=lambda source: bool(seek_tables(source, TABLES)),
    convert=_convert,
)
