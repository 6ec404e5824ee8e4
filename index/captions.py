"""Captions in the catalogue: made when asked for, kept by the sound's content, found by filters.

A clip's caption stands in its metadata as `caption`: `metadata.caption ~ "*rain*"` finds it beside
any search by sound.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from m2d_clap.index.mark import changing
from m2d_clap.model import Waveform
from m2d_clap.model.audio import decode
from m2d_clap.model.errors import AudioError

if TYPE_CHECKING:
    from m2d_clap.model import Clap
    from m2d_clap.model.captioning import Captioner

MOST_SECONDS = 600.0
"""Of a sound; what comes behind is not captioned."""
_TABLE = """CREATE TABLE IF NOT EXISTS captions (
    clip TEXT PRIMARY KEY, captioner TEXT NOT NULL, caption TEXT NOT NULL)"""


@dataclass(frozen=True)
class Captioning:
    """Who captions. fingerprint: of the captioner's part; progress: told how many sounds are done,
    and of how many."""

    captioner: "Captioner"
    fingerprint: str
    progress: Callable[[int, int], None] = lambda done, of: None


class Captions:
    """The captions of a catalogue's database. Their table is made when the first are asked for."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def of(self, clip: str) -> dict[str, str]:
        """What a clip's metadata say of it: its caption, or nothing."""
        if not self.there():
            return {}
        found = self._db.execute("SELECT caption FROM captions WHERE clip = ?", (clip,)).fetchone()
        return {} if found is None else {"caption": found[0]}

    def forget(self, clip: str) -> None:
        """Inside the transaction of the caller: the caption of one clip."""
        if self.there():
            self._db.execute("DELETE FROM captions WHERE clip = ?", (clip,))

    def forget_gone(self) -> None:
        """Inside the transaction of the caller: the captions of clips that are gone."""
        if self.there():
            self._db.execute("DELETE FROM captions WHERE clip NOT IN (SELECT id FROM clips)")

    def missing(self, captioner: str) -> list[tuple[str, str]]:
        """(clip, one of its paths) of those that have no caption of this captioner."""
        with self._db:
            self._db.execute(_TABLE)
        rows = self._db.execute(
            "SELECT id, min(path) FROM clips JOIN files ON clip = id WHERE id NOT IN "
            "(SELECT clip FROM captions WHERE captioner = ?) GROUP BY id ORDER BY min(path)",
            (captioner,),
        )
        return list(rows)

    def add(self, clip: str, captioner: str, caption: str) -> None:
        """In place of another captioner's; on disk when it returns."""
        with changing(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO captions VALUES (?, ?, ?)", (clip, captioner, caption)
            )

    def there(self) -> bool:
        """Whether captions were ever asked for."""
        found = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'captions'"
        return self._db.execute(found).fetchone() is not None


def caption_clips(captions: Captions, library: Path, clap: "Clap", captioning: Captioning) -> int:
    """Captions the clips that have no caption of this captioner; returns how many.

    Each is on disk when the next begins, so that a killed run goes on. Sounds are read once more:
    captions may be asked for after the sounds were embedded. One that cannot be read any more is
    left for the next time.
    """
    made = 0
    todo = captions.missing(captioning.fingerprint)
    rate = clap.config.front_end.sample_rate
    for done, (clip, path) in enumerate(todo):
        captioning.progress(done, len(todo))
        try:
            sound = _beginning(library / path, rate)
        except (AudioError, OSError):
            continue
        caption = captioning.captioner.listen(clap, [sound])[0].best.text
        captions.add(clip, captioning.fingerprint, caption)
        made += 1
    captioning.progress(len(todo), len(todo))
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
