"""A folder of sounds → an index. Stopped at any time, the same call goes on from there."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m2d_clap.index.catalogue import Catalogue, Embedded, File
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.store import CATALOGUE_FILE, write_generation
from m2d_clap.index.windows import Window, windows
from m2d_clap.model import Clap, Waveform, decode
from m2d_clap.model.errors import AudioError

BATCH_SECONDS = 400.0
"""Sound encoded together, and lost at most when the process is killed."""


@dataclass(frozen=True)
class Progress:
    """Files looked at of all, and seconds of sound embedded so far."""

    done: int
    files: int
    seconds: float


@dataclass(frozen=True)
class Report:
    """What a run did. skipped: (path, reason) of files that are no sound."""

    clips: int
    windows: int
    embedded: int
    unchanged: int
    gone: int
    skipped: tuple[tuple[str, str], ...]


def build_index(
    library: Path,
    out: Path,
    checkpoint: Path,
    fingerprint: str,
    clap: Clap,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Embeds what is new or changed, forgets what is gone, and writes a new generation.

    Raises LibraryIndexError when `library` is no folder or `out` was made with another model.
    """
    if not library.is_dir():
        raise LibraryIndexError(f"{library} is no folder")
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, fingerprint)
    files = list(_walk(library, out))
    catalogue = Catalogue(out / CATALOGUE_FILE)
    skipped: list[tuple[str, str]] = []
    batch: list[tuple[File, str, list[Window]]] = []
    embedded = unchanged = 0
    seconds = held = 0.0
    try:
        for done, file in enumerate(files, 1):
            if catalogue.known(file):
                unchanged += 1
            else:
                try:
                    clip, cut = _read(library / file.path, catalogue, clap)
                    batch.append((file, clip, cut))
                    held += sum(w.end - w.start for w in cut)
                    embedded += bool(cut)
                except AudioError as error:
                    skipped.append((file.path, str(error)))
            if held >= BATCH_SECONDS or done == len(files):
                catalogue.add(_embed(batch, clap))
                seconds += held
                batch, held = [], 0.0
            progress(Progress(done, len(files), seconds + held))
        gone = catalogue.keep_only({f.path for f in files} - {path for path, _ in skipped})
        facts = {
            "fingerprint": fingerprint,
            "checkpoint": str(checkpoint.resolve()),
            "library": str(library.resolve()),
        }
        whole = write_generation(out, catalogue, clap.config.clap_dim, facts)
    finally:
        catalogue.close()
    return Report(
        len(whole["clips"]), len(whole["rows"]), embedded, unchanged, gone, tuple(skipped)
    )


def _claim(out: Path, fingerprint: str) -> None:
    file = out / "model.json"
    if not file.exists():
        file.write_text(json.dumps({"fingerprint": fingerprint}))
    elif json.loads(file.read_text())["fingerprint"] != fingerprint:
        raise LibraryIndexError(
            f"{out} was made with another checkpoint: name that one with --checkpoint, "
            "or choose another --out"
        )


def _walk(library: Path, out: Path) -> Iterator[File]:
    """Every file that is not hidden, by path; the index itself is left out."""
    for path in sorted(library.rglob("*")):
        relative = path.relative_to(library)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.resolve().is_relative_to(out.resolve()):
            continue
        status = path.stat()
        yield File(relative.as_posix(), status.st_size, status.st_mtime_ns)


def _read(path: Path, catalogue: Catalogue, clap: Clap) -> tuple[str, list[Window]]:
    """(clip id, windows); no windows where the same content is already there."""
    try:
        with path.open("rb") as file:
            clip = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise AudioError(f"cannot be read: {error.strerror}") from error
    if catalogue.has_clip(clip):
        return clip, []
    rate = clap.config.front_end.sample_rate
    return clip, list(windows(decode(path, rate), rate))


def _embed(
    batch: list[tuple[File, str, list[Window]]], clap: Clap
) -> list[tuple[File, str, list[Embedded]]]:
    rate = clap.config.front_end.sample_rate
    cut = [w for _, _, windows_of in batch for w in windows_of]
    if not cut:
        return [(file, clip, []) for file, clip, _ in batch]
    vectors = clap.embed_audio([Waveform(w.samples, rate) for w in cut]).cpu().numpy()
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    rows = iter(vectors)
    return [
        (file, clip, [Embedded(w.start, w.end, next(rows)) for w in windows_of])
        for file, clip, windows_of in batch
    ]
