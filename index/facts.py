"""What a sound file tells of itself: how it is coded, and its tags."""

import re
from collections.abc import Mapping
from typing import BinaryIO

import av
import av.error

from m2d_clap.model.audio import FORMATS

Facts = Mapping[str, str | float]

DAMAGED = "damaged"
"""What of a sound could not be decoded, where it was not all of it."""
TECHNICAL = ("sha256", "container", "codec", "sample_rate", "channels", DAMAGED)
"""Facts of the bytes; no tag or sidecar takes their place."""
LONGEST_KEY = 64
LONGEST_TEXT = 1000
_MOST_TAGS = 100
_MUTE = {  # tags about the program that wrote the file, not about the sound
    "encoder",
    "encoded_by",
    "language",
    "handler_name",
    "vendor_id",
    "major_brand",
    "minor_version",
    "compatible_brands",
}


def facts(source: BinaryIO) -> dict[str, str | float]:
    """`container`, `codec`, `sample_rate` (Hz), `channels` and the tags (`title`, `artist`, …) of
    an open file, as its header has them; nothing where that cannot be read."""
    try:
        container = av.open(
            source,
            options={"format_whitelist": FORMATS},
            metadata_errors="surrogateescape",
        )
    except (av.error.FFmpegError, ValueError, EOFError):
        return {}
    with container:
        if not container.streams.audio:
            return {}
        stream = container.streams.audio[0]
        if stream.codec_context is None:  # FFmpeg knows no decoder for it
            return {}
        tags = {**stream.metadata, **container.metadata}
        found: dict[str, str | float] = {}
        for name, value in list(tags.items())[:_MOST_TAGS]:
            given = plain(str(value))
            if (name := key(name)) and name not in _MUTE and given:
                found.setdefault(name, given)
        technical: dict[str, str | float] = {
            "container": container.format.name.partition(",")[0],
            "codec": stream.codec.canonical_name,
            "sample_rate": stream.rate or 0,
            "channels": stream.channels or 0,
        }
        found |= {name: value for name, value in technical.items() if value}
        return found


def key(name: str) -> str:
    """A name that filters can spell: small letters, digits, `_`, and `.` between the parts of a
    nested one; empty where nothing is left."""
    spelt = re.sub(r"[^a-z0-9_.]+", "_", name.strip().lower()).strip("_.")[:LONGEST_KEY]
    return f"_{spelt}" if spelt[:1].isdigit() else spelt


def plain(text: str) -> str:
    """Printable text of bounded length. Bytes that are not UTF-8 are read as Windows-1252, which
    is what old programs wrote."""
    if any("\ud800" <= c <= "\udfff" for c in text):
        text = text.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()[:LONGEST_TEXT]
