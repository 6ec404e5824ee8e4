"""A folder of sounds → an index. Stopped at any time, the same call goes on from there."""

import os
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from m2d_clap.index.ahead import ahead
from m2d_clap.index.captions import caption_clips
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.embed import write
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.generation import write_generation
from m2d_clap.index.origin import Origin
from m2d_clap.index.reading import Broken, Heard, Piece, Reader, Whole
from m2d_clap.index.walk import File, printable, walk
from m2d_clap.model import Clap
from m2d_clap.model.captioning import Captioner

BATCH_SECONDS = 400.0
"""Sound encoded and written together, and lost at most when the process is killed.

Sounds of equal length are encoded in one step; among more of them more are equal.
"""
_BATCH_PIECES = 2000
_AHEAD_SECONDS = 800.0
_THREADS = min(4, max(1, (os.cpu_count() or 1) // 2))  # the encoder needs the other cores


@dataclass(frozen=True)
class Progress:
    """What is on disk: files done of all, seconds of sound embedded by this run, and the share
    (0 … 1, by bytes) of what this run had to read."""

    done: int
    files: int
    seconds: float
    share: float = 0.0


@dataclass(frozen=True)
class Report:
    """What a run did. skipped: (path, reason) of files that are no sound; hidden: how many files
    and folders were not looked at for the dot before their name; seconds of sound embedded;
    captioned: sounds, by this run."""

    clips: int
    windows: int
    embedded: int
    unchanged: int
    gone: int
    skipped: tuple[tuple[str, str], ...]
    hidden: int = 0
    seconds: float = 0.0
    captioned: int = 0


def build_index(
    library: Path,
    out: Path,
    checkpoint: Path,
    fingerprint: str,
    clap: Clap,
    progress: Callable[[Progress], None] = lambda _: None,
    batch_seconds: float = BATCH_SECONDS,
    captioner: Captioner | None = None,
    captioner_fingerprint: str = "",
    captioning: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Embeds what is new or changed, forgets what is gone, and writes a new generation.

    captioner: also captions every sound that has none by it; captioning: told how many are done.

    Memory is bounded by the batch and the look-ahead, whatever the length of a file. Raises
    LibraryIndexError when `library` is no folder, `out` cannot be written, is damaged, in use,
    or was made with another model.
    """
    if not library.is_dir():
        raise LibraryIndexError(f"{library} is no folder: name the folder of your sounds")
    if library.resolve() == out.resolve():
        raise LibraryIndexError(f"{out} is the library itself: choose another --out")
    if printable(str(out)) != str(out):
        raise LibraryIndexError(f"{printable(str(out))} is not UTF-8: choose another --out")
    origin = Origin(fingerprint, checkpoint.resolve(), library.resolve())
    try:
        out.mkdir(parents=True, exist_ok=True)
        with Catalogue.open(out / CATALOGUE_FILE) as catalogue:
            catalogue.claim(origin, out)

            def caption() -> int:
                if captioner is None:
                    return 0
                name = captioner_fingerprint
                return caption_clips(
                    catalogue.captions, origin.library, clap, captioner, name, captioning
                )

            return _build(origin, out, catalogue, clap, progress, batch_seconds, caption)
    except OSError as error:
        raise LibraryIndexError(
            f"{out} cannot be written ({error.strerror}): make room, or choose another --out"
        ) from error


def _build(
    origin: Origin,
    out: Path,
    catalogue: Catalogue,
    clap: Clap,
    progress: Callable[[Progress], None],
    batch_seconds: float,
    caption: Callable[[], int],
) -> Report:
    found = walk(origin.library, out)
    tally = _Tally(skipped=dict(found.left))
    tally.skipped |= {f.path: why for f in found.files if (why := catalogue.broken(f)) is not None}
    sounds = [file for file in found.files if file.path not in tally.skipped]
    todo = [file for file in sounds if not catalogue.known(file)]
    size = sum(file.size for file in todo)
    tally.done = len(found.files) - len(todo)
    progress(Progress(tally.done, len(found.files), 0.0, 0.0 if todo else 1.0))
    rate = clap.config.front_end.sample_rate
    reader = Reader(origin.library, rate, catalogue.complete(), catalogue.begun())
    with closing(_batches(reader, todo, batch_seconds)) as batches:
        for batch in batches:
            write(batch, clap, catalogue)
            for piece in batch:
                tally.add(piece)
            share = (tally.read + _within(batch[-1])) / size
            progress(Progress(tally.done, len(found.files), tally.seconds, share))
    for copy in tally.copies:  # of a sound that broke in its middle
        if (first := tally.failed.get(copy.clip)) is not None:
            tally.skipped[copy.file.path] = first.reason
            catalogue.add(broken=[(copy.file, first.reason)] if first.lasting else [])
    gone = catalogue.keep_only({file.path for file in found.files})
    captioned = caption()
    clips, rows = write_generation(out, catalogue, clap.config.clap_dim, origin)
    return Report(
        clips=clips,
        windows=rows,
        embedded=tally.embedded,
        unchanged=len(sounds) - len(todo),
        gone=gone,
        skipped=tuple(sorted(tally.skipped.items())),
        hidden=found.hidden,
        seconds=tally.seconds,
        captioned=captioned,
    )


@dataclass
class _Tally:
    """What a run has done so far. read: bytes of files done; failed: by clip."""

    skipped: dict[str, str]
    failed: dict[str, Broken] = field(default_factory=dict)
    copies: list[Whole] = field(default_factory=list)
    done: int = 0
    embedded: int = 0
    read: int = 0
    seconds: float = 0.0

    def add(self, piece: Piece) -> None:
        match piece:
            case Heard(window=window):
                self.seconds += window.end - window.start
                return
            case Broken(clip=clip):
                self.skipped[piece.file.path] = piece.reason
                if clip is not None:
                    self.failed[clip] = piece
            case Whole(seconds=None):
                self.copies.append(piece)
            case Whole():
                self.embedded += 1
        self.read += piece.file.size
        self.done += 1


def _within(last: Piece) -> int:
    """Bytes read of the file that a batch ends in."""
    return min(last.read, last.file.size) if isinstance(last, Heard) else 0


def _batches(
    reader: Reader, files: list[File], batch_seconds: float
) -> Generator[list[Piece], None, None]:
    """Pieces in order, cut at `batch_seconds` of sound, inside a long file too."""
    batch: list[Piece] = []
    held = 0.0
    jobs = (reader.pieces(file) for file in files)
    with closing(ahead(jobs, _THREADS, _AHEAD_SECONDS, _seconds)) as pieces:
        for piece in pieces:
            batch.append(piece)
            held += _seconds(piece)
            if held >= batch_seconds or len(batch) >= _BATCH_PIECES:
                yield batch
                batch, held = [], 0.0
    if batch:
        yield batch


def _seconds(piece: Piece) -> float:
    return piece.window.end - piece.window.start if isinstance(piece, Heard) else 0.01
