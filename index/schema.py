"""The tables of a catalogue, and how those of older releases become them."""

import sqlite3

APPLICATION, FORMAT = 0x4D32434C, 3  # "M2CL" in the file's header tells our files from others

_FIRST = """
CREATE TABLE origin (name TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE clips (id TEXT PRIMARY KEY, seconds REAL NOT NULL);
CREATE TABLE files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, clip TEXT NOT NULL);
CREATE TABLE broken (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL);
CREATE TABLE windows (
    clip TEXT NOT NULL, position INTEGER NOT NULL,
    start REAL NOT NULL, "end" REAL NOT NULL, vector BLOB NOT NULL,
    PRIMARY KEY (clip, position));
"""
_SECOND = """
CREATE TABLE facts (clip TEXT PRIMARY KEY, sha256 TEXT NOT NULL, json TEXT NOT NULL);
CREATE TABLE sidecars (path TEXT PRIMARY KEY, json TEXT NOT NULL);
CREATE INDEX files_by_clip ON files (clip);
"""
_THIRD = """
CREATE TABLE IF NOT EXISTS uploads (
    clip TEXT PRIMARY KEY, path TEXT NOT NULL, stored TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deleted (clip TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, clip TEXT NOT NULL);
"""
_STEPS = (_FIRST, _SECOND, _THIRD)
"""Step n makes format n out of the one before. What a step cannot know, such as the facts of
sounds embedded by format 1, the next run of `index` reads from the files."""


def migrate(db: sqlite3.Connection) -> None:
    """Makes the tables, or those of an older format anew; all of it or, when killed, nothing."""
    there = db.execute("PRAGMA user_version").fetchone()[0]
    if there == FORMAT:
        return
    steps = "".join(_STEPS[there:])
    marks = f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT};"
    try:
        db.executescript(f"BEGIN IMMEDIATE; {steps} {marks} COMMIT;")
    except sqlite3.Error:
        if db.in_transaction:
            db.rollback()
        raise


def stand_in(db: sqlite3.Connection) -> None:
    """Empty tables, in memory, in place of those that an older format lacks: it can be read."""
    there = db.execute("PRAGMA user_version").fetchone()[0]
    if there >= FORMAT:
        return
    steps = "".join(_STEPS[there:]).replace("CREATE TABLE", "CREATE TEMP TABLE")
    steps = steps.replace("CREATE INDEX files_by_clip ON files (clip);", "")
    db.executescript(f"PRAGMA temp_store = MEMORY; {steps}")
