"""Whether the sounds that came by the service are there. They lie nowhere else, so none is forgotten."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.finding import Finding
from m2d_clap.index.windows import Embedded

_UNIT = 1e-3  # how far from 1 the length of a stored vector may be
_ADVICE = "restore a backup, or delete them from the service and upload them again"


def of_uploads(catalogue: Catalogue, out: Path) -> Iterator[Finding]:
    """Reads every one of them."""
    uploads = catalogue.changes.uploads()
    usual = next((clip for clip in catalogue.complete() if clip not in uploads), None)
    sizes = set() if usual is None else {len(w.vector) for w in catalogue.windows(usual)}
    odd = [clip for clip in uploads if not _whole(catalogue.windows(clip), sizes)]
    if odd:
        yield Finding(f"{len(odd)} uploads with damaged vectors: {_some(odd)}", None, _ADVICE)
    lost = [clip for clip, upload in uploads.items() if not _is_there(out / upload.stored)]
    if lost:
        what = f"{len(lost)} uploads whose sound is not as it was stored: {_some(lost)}"
        yield Finding(what, None, _ADVICE)


def _whole(windows: Sequence[Embedded], sizes: set[int]) -> bool:
    """Whether there are some, all sound, of one length, which is among `sizes` where there are any."""
    lengths = {len(window.vector) for window in windows}
    return len(lengths) == 1 and (not sizes or lengths <= sizes) and all(map(sound, windows))


def sound(window: Embedded) -> bool:
    """Whether a window's vector is a unit vector, and its end behind its start."""
    length = float(np.linalg.norm(window.vector.astype(np.float64)))
    return abs(length - 1) < _UNIT and 0 <= window.start < window.end


def _is_there(file: Path) -> bool:
    """Stored sounds are named by their content."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.stem
    except OSError:
        return False


def _some(clips: Sequence[str]) -> str:
    return ", ".join(clips[:3]) + (" …" if len(clips) > 3 else "")
