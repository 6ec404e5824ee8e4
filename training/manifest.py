"""The one format training data comes in: a CSV of files, captions, labels and splits."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.model.errors import ClapError


class ManifestError(ClapError):
    """A manifest that cannot be read; the message names the line."""


@dataclass(frozen=True)
class Row:
    """One sound: its file, every caption it may go by (at least one), label and split."""

    file: Path
    captions: tuple[str, ...]
    label: str
    split: str
    columns: Mapping[str, str]


def read_manifest(manifest: Path) -> list[Row]:
    """Rows of a CSV with a header: file, caption or captions, label, split, and any others.

    `file` is relative to the manifest. `captions` holds several, separated by `|`. Without a
    caption the label, underscores as spaces, serves. A missing split is "train".
    Raises ManifestError.
    """
    try:
        with manifest.open(newline="", encoding="utf-8") as opened:
            reader = csv.DictReader(opened)
            if "file" not in (reader.fieldnames or ()):
                raise ManifestError(f"{manifest} has no column 'file'")
            return [_row(manifest, line, values) for line, values in enumerate(reader, 2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"cannot read the manifest {manifest}: {error}") from error


def _row(manifest: Path, line: int, values: Mapping[str, str | None]) -> Row:
    present = {name: (value or "").strip() for name, value in values.items() if name}
    if not present["file"]:
        raise ManifestError(f"{manifest}, line {line}: the file is missing")
    label = present.get("label", "")
    captions = [c.strip() for c in present.get("captions", "").split("|")]
    captions = [c for c in [present.get("caption", ""), *captions] if c]
    if not captions and not label:
        raise ManifestError(f"{manifest}, line {line}: neither caption nor label")
    return Row(
        file=manifest.parent / present["file"],
        captions=tuple(captions) or (label.replace("_", " "),),
        label=label,
        split=present.get("split", "") or "train",
        columns=present,
    )
