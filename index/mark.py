"""The mark of a catalogue's contents: another one after every transaction that changed something.

A generation made of contents with the same mark holds all there is.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_NAME = "mark"


@contextmanager
def changing(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction. What changes no row leaves the mark as it is."""
    before = db.total_changes
    with db:
        yield
        if db.total_changes != before:
            new = json.dumps(os.urandom(8).hex())
            db.execute("INSERT OR REPLACE INTO origin VALUES (?, ?)", (_NAME, new))


def mark(db: sqlite3.Connection) -> str | None:
    """None where nothing was written yet, or by an older release only."""
    row = db.execute("SELECT json FROM origin WHERE name = ?", (_NAME,)).fetchone()
    return None if row is None else str(json.loads(row[0]))
