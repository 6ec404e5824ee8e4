"""A folder of sounds → an index. Stopped at any time, the same call goes on from there."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from m2d_clap.index.busy import Busy
from m2d_clap.index.captions import caption_clips
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.embed import write
from m2d_clap.index.engines import Faiss
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.facts import DAMAGED
from m2d_clap.index.interface import Engine
from m2d_clap.index.missing import refuse_missing, refuse_unmounted, still_known
from m2d_clap.index.options import USUAL, Options
from m2d_clap.index.origin import Origin
from m2d_clap.index.pipeline import THREADS, Work, embedded
from m2d_clap.index.progress import Progress, Report
from m2d_clap.index.reading import Broken, Heard, Piece, Whole
from m2d_clap.index.sidecars import read_sidecars
from m2d_clap.index.walk import Walk, printable, walk
from m2d_clap.model import Clap

NOTHING: Mapping[str, str] = MappingProxyType({})


def build_index(
    library: Path,
    out: Path,
    checkpoint: Path,
    fingerprint: str,
    clap: Clap,
    progress: Callable[[Progress], None] = lambda _: None,
    options: Options = USUAL,
    engine: Engine | None = None,
    replaces: Mapping[str, str] = NOTHING,
) -> Report:
    """Embeds what is new or changed, forgets what is gone, and writes a new generation.

    engine: what the catalogue in `out`, its folder, is searched by; None is FAISS, there; replaces:
    paths of the index that this one is to take the place of, and their clips.

    Memory is bounded by the batch and the look-ahead, whatever the length of a file. Raises
    LibraryIndexError when `library` is no folder, `out` cannot be written, is damaged, in use,
    was made with another model or, without `options.forget`, knows much that is missing (missing.py).
    """
    if not os.path.isdir(library):  # noqa: PTH112  (Path.is_dir raises where a mount is dead)
        raise LibraryIndexError(f"{library} is no folder: name the folder of your sounds")
    if library.resolve() == out.resolve():
        raise LibraryIndexError(f"{out} is the library itself: choose another --out")
    if printable(str(out)) != str(out):
        raise LibraryIndexError(f"{printable(str(out))} is not UTF-8: choose another --out")
    origin = Origin(fingerprint, checkpoint.resolve(), library.resolve())
    try:
        out.mkdir(parents=True, exist_ok=True)
        with Catalogue.open(out / CATALOGUE_FILE) as catalogue:
            engine = engine or Faiss(out)
            place = out if isinstance(engine, Faiss) else str(engine)
            before = catalogue.origin()
            if before is not None:
                before.refuse_other(origin, place)
            found, known = walk(library, engine.folder), catalogue.paths()
            if not options.forget:
                of = before.library if before is not None else None
                refuse_missing(found, of, library, known, place)
                refuse_unmounted(found, library, replaces)
            catalogue.claim(origin, place)
            return _build(found, known, origin, engine, catalogue, clap, progress, options)
    except OSError as error:
        raise LibraryIndexError(
            f"{out} cannot be written ({error.strerror}): make room, or choose another --out"
        ) from error


def _build(
    found: Walk,
    before: Mapping[str, str],
    origin: Origin,
    engine: Engine,
    catalogue: Catalogue,
    clap: Clap,
    progress: Callable[[Progress], None],
    options: Options,
) -> Report:
    began = time.perf_counter()
    beside = read_sidecars(origin.library, found.files)
    files = [file for file in found.files if file.path not in beside.files]
    tally = _Tally(skipped=dict([*found.left, *beside.faults]))
    broken = {f.path: why for f in files if (why := catalogue.broken(f)) is not None}
    tally.skipped |= broken
    bare = catalogue.undescribed()
    sounds = [file for file in files if file.path not in broken]
    todo = [file for file in sounds if file.path in bare or not catalogue.known(file)]
    size = sum(file.size for file in todo)
    tally.done = len(files) - len(todo)
    progress(Progress(tally.done, len(files), 0.0, 0.0 if todo else 1.0))
    done = catalogue.complete() | catalogue.changes.deleted()
    work = Work(origin.library, todo, done, catalogue.begun(), options.batch_seconds)
    busy = Busy(THREADS)
    remote = options.remote
    with closing(embedded(work, clap, busy) if remote is None else remote(work)) as batches:
        for batch, vectors in batches:
            with busy.at("write"):
                write(batch, vectors, catalogue)
            for piece in batch:
                tally.add(piece)
            share = (tally.read + _within(batch[-1])) / max(size, 1)
            progress(Progress(tally.done, len(files), tally.seconds, share))
        shares = busy.shares() if tally.read and remote is None else {}
    for copy in tally.copies:  # of a sound that broke in its middle
        if (first := tally.failed.get(copy.clip)) is not None:
            tally.skipped[copy.file.path] = first.reason
            catalogue.add(broken=[(copy.file, first.reason)] if first.lasting else [])
    unseen = found.out_of_sight(before)
    if not options.forget and (away := found.unmounted(before)):
        there = {file.path for file in files}
        moved = {clip for path, clip in catalogue.paths().items() if path in there}
        kept = {path for path in away if before[path] not in moved}
        unseen |= kept
        tally.skipped |= still_known(found, kept)
    catalogue.keep_only({file.path for file in files} | unseen)
    catalogue.tell(beside.facts, unseen | beside.unread)
    after = catalogue.paths()
    asked = (catalogue, clap.config.clap_dim, origin, options.wish)
    clips, rows = engine.write(*asked)  # captions take long, and sounds are found without
    captioned = 0
    if options.captioning is not None:
        captioned = caption_clips(catalogue.captions, origin.library, clap, options.captioning)
    if captioned:
        clips, rows = engine.write(*asked)
    deleted = catalogue.changes.deleted()
    return Report(
        clips=clips,
        windows=rows,
        embedded=tally.embedded,
        unchanged=len(sounds) - len(todo),
        identical=len(after) - len(set(after.values())),
        **_compared(before, after),
        skipped=tuple(sorted(tally.skipped.items())),
        hidden=found.hidden,
        seconds=tally.seconds,
        described=sum(file.path in bare for file in todo),
        busy=shares,
        slowest=max(shares, key=lambda part: shares[part]) if shares else None,
        elapsed=round(time.perf_counter() - began, 3),
        captioned=captioned,
        damaged=tuple(sorted(tally.damaged.items())),
        deleted=sum(clip in deleted for clip in after.values()),
    )


def _compared(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, int]:
    """How many files are new, changed, moved and gone; path → clip, then and now."""
    left = Counter(clip for path, clip in before.items() if path not in after)
    gone = left.total()
    new = moved = 0
    for path, clip in after.items():
        if path in before:
            continue
        if left[clip] > 0:
            left[clip] -= 1
            moved += 1
        else:
            new += 1
    changed = sum(before.get(path, clip) != clip for path, clip in after.items())
    return {"new": new, "changed": changed, "moved": moved, "gone": gone - moved}


@dataclass
class _Tally:
    """What a run has done so far. read: bytes of files done; failed: by clip."""

    skipped: dict[str, str]
    failed: dict[str, Broken] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
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
                if DAMAGED in piece.facts:
                    self.damaged[piece.file.path] = piece.facts[DAMAGED]
        self.read += piece.file.size
        self.done += 1


def _within(last: Piece) -> int:
    """Bytes read of the file that a batch ends in."""
    return min(last.read, last.file.size) if isinstance(last, Heard) else 0
