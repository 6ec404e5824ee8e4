"""Label lists as package data.

`audioset.csv` holds the 527 classes of AudioSet (mid, display name), Gemmeke et al. 2017,
Google LLC, CC BY 4.0 / ontology CC BY-SA 4.0, ordered as classifiers are: by sorted mid.
"""

import csv
from functools import cache
from pathlib import Path


@cache
def audioset() -> tuple[tuple[str, str], ...]:
    """(mid, display name) of the 527 AudioSet classes, by sorted mid."""
    with (Path(__file__).parent / "audioset.csv").open(newline="", encoding="utf-8") as file:
        return tuple((row["mid"], row["display_name"]) for row in csv.DictReader(file))
