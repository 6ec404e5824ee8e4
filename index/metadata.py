"""What is known of a clip, from its bytes, its tags and what is said of it."""

import json
import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from m2d_clap.index.captions import Captions
from m2d_clap.index.facts import TECHNICAL

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def metadata(
    db: sqlite3.Connection, clip: str, uploaded: Mapping[str, Any] = _NOTHING
) -> dict[str, Any]:
    """Its sha-256, what its bytes and tags say, and, before the tags, what was said when it was
    uploaded, and before that what is said beside its files; of several the first by path is right.
    Its caption, where one was made, is what nobody else told."""
    known = dict(uploaded)
    beside = db.execute(
        "SELECT json FROM files JOIN sidecars USING (path) WHERE clip = ? ORDER BY path DESC",
        (clip,),
    )
    for (said,) in beside:
        known |= json.loads(said)
    of_file = db.execute("SELECT sha256, json FROM facts WHERE clip = ?", (clip,))
    for sha256, told in of_file:
        facts = {"sha256": sha256, **json.loads(told)}
        known = {**facts, **known, **{n: facts[n] for n in TECHNICAL if n in facts}}
    return {**Captions(db).of(clip), **known}
