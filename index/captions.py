"""Captions in the catalogue: made when asked for, kept by the sound's content, found by filters.

A clip's caption stands in its metadata as `caption`: `metadata.caption ~ "*rain*"` finds it beside
any search by sound.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np

from m2d_clap.model import Clap, Waveform
from m2d_clap.model.audio import decode
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.errors import AudioError

MOST_SECONDS = 600.0
"""Of a sound; what comes behind is not captioned."""
_TABLE = """CREATE TABLE IF NOT EXISTS captions (
    clip TEXT PRIMARY KEY, captioner TEXT NOT NULL, caption TEXT NOT NULL)"""


class Captions:
    """The captions of a catalogue's database. Every method that writes is one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def all(self) -> dict[str, str]:
        """By clip."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'captions'").fetchone():
            return {}
        return dict(self._db.execute("SELECT clip, caption FROM captions"))

    def missing(self, captioner: str) -> list[tuple[str, str]]:
        """(clip, one of its paths) of those that have no caption of this captioner; forgets clips that
        are gone."""
        with self._db:
            self._db.execute(_TABLE)
            self._db.execute("DELETE FROM captions WHERE clip NOT IN (SELECT id FROM clips)")
        rows = self._db.execute(
            "SELECT id, min(path) FROM clips JOIN files ON clip = id WHERE id NOT IN "
            "(SELECT clip FROM captions WHERE captioner = ?) GROUP BY id ORDER BY min(path)",
            (captioner,),
        )
        return list(rows)

    def add(self, clip: str, captioner: str, caption: str) -> None:
        """In place of another captioner's."""
        with self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO captions VALUES (?, ?, ?)", (clip, captioner, caption)
            )


def caption_clips(
    captions: Captions,
    library: Path,
    clap: Clap,
    captioner: Captioner,
    fingerprint: str,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> int:
    """Captions the clips that have no caption of this captioner; returns how many.

    Each is on disk when the next begins, so that a killed run goes on. Sounds are read once more:
    captions may be asked for after the sounds were embedded. One that cannot be read any more is
    left for the next time.
    """
    made = 0
    todo = captions.missing(fingerprint)
    rate = clap.config.front_end.sample_rate
    for done, (clip, path) in enumerate(todo):
        progress(done, len(todo))
        try:
            sound = _beginning(library / path, rate)
        except AudioError:
            continue
        captions.add(clip, fingerprint, captioner.listen(clap, [sound])[0].best.text)
        made += 1
    progress(len(todo), len(todo))
    return made


def _beginning(file: Path, rate: int) -> Waveform:
    """A sound, at most MOST_SECONDS of it."""
    most = int(MOST_SECONDS * rate)
    blocks, held = [], 0
    for block in decode(file, rate):
        blocks.append(block)
        held += len(block)
        if held >= most:
            break
    return Waveform(np.concatenate(blocks)[:most], rate)
