"""Whether an index holds what it says it does; what can be derived from the rest is made anew."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.changes import STORED
from m2d_clap.index.check_uploads import of_uploads, sound
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.finding import Finding
from m2d_clap.index.generation import write_generation
from m2d_clap.index.origin import Origin
from m2d_clap.index.reading import ID_LENGTH
from m2d_clap.index.store import Index
from m2d_clap.model.description import describe
from m2d_clap.model.errors import CheckpointError

_EQUAL = 2e-2  # a kind of index that keeps 8 bits a number is this exact


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what was found wrong; begun: sounds a stopped run left half done,
    which the next one goes on with; changed: files that are others than when they were embedded, or
    gone, where that is not a finding."""

    clips: int
    windows: int
    files: int
    begun: int
    changed: int
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def left(self) -> tuple[Finding, ...]:
        """What was not mended."""
        return tuple(finding for finding in self.findings if finding.done is None)


def check_index(
    library: Path, out: Path, progress: Callable[[float], None] = lambda _: None
) -> Checked:
    """Verifies the catalogue, the contents of the library's files against it, and the searchable
    generation; reads every file once. progress: share of the files read.

    Raises LibraryIndexError where there is no catalogue that can be opened.
    """
    start = time.perf_counter()
    file = out / CATALOGUE_FILE
    if not file.is_file():
        raise LibraryIndexError(
            f"{out} holds no index; make one with: m2d-clap index {library} --out {out}"
        )
    findings: list[Finding] = []
    with Catalogue.open(file) as catalogue:
        if (damage := catalogue.integrity()) is not None:
            advice = (
                "restore a backup, or move the folder aside and index again; sounds that the "
                f"service added lie in its `{STORED}/`"
            )
            findings.append(Finding(f"{CATALOGUE_FILE} is damaged: {damage}", None, advice))
            return Checked(0, 0, 0, 0, 0, tuple(findings), time.perf_counter() - start)
        origin = catalogue.origin()
        if origin is None:
            findings.append(Finding("nothing was ever indexed in it", None, "index a library"))
            return Checked(0, 0, 0, 0, 0, tuple(findings), time.perf_counter() - start)
        findings += _model(origin)
        findings += _library(origin, library)
        findings += _vectors(catalogue)
        findings += _rows(catalogue)
        changed, of_files = _files(catalogue, library, progress)
        findings += of_files
        findings += of_uploads(catalogue, out)
        findings += _generation(catalogue, out, origin)
        clips, windows = catalogue.count()
        files, begun = len(catalogue.paths()), len(catalogue.begun())
    seconds = round(time.perf_counter() - start, 3)
    return Checked(clips, windows, files, begun, changed, tuple(dict.fromkeys(findings)), seconds)


def _model(origin: Origin) -> Iterator[Finding]:
    try:
        now = describe(origin.checkpoint).fingerprint
    except (CheckpointError, OSError):
        what = f"the checkpoint {origin.checkpoint} is not there"
        yield Finding(what, None, "put it back, or name it where you serve: --checkpoint")
        return
    if now != origin.fingerprint:
        yield Finding(
            f"the checkpoint {origin.checkpoint} is {now[:12]} now, the index was made with "
            f"{origin.fingerprint[:12]}",
            None,
            "embed with the new one: m2d-clap index LIBRARY --out INDEX --anew",
        )


def _library(origin: Origin, given: Path) -> Iterator[Finding]:
    if origin.library != given.resolve():
        advice = "name that one; where it was moved, give the same command without --check"
        yield Finding(f"the index is of {origin.library}, not of {given}", None, advice)


def _rows(catalogue: Catalogue) -> Iterator[Finding]:
    """Rows that belong to nothing, and sounds whose windows are not all there. Uploads, which no
    file of the library holds, stay as they are: nothing could embed them again."""
    kept = " AND id NOT IN (SELECT clip FROM uploads)"
    gone = " AND clip NOT IN (SELECT clip FROM deleted)"
    spared = " AND clip NOT IN (SELECT clip FROM uploads)"
    holes = (
        "SELECT clip FROM windows GROUP BY clip "
        "HAVING min(position) <> 0 OR max(position) + 1 <> count(*)"
    )
    paths = "SELECT path FROM files UNION SELECT path FROM broken"
    again = "forgotten: the next `m2d-clap index` embeds them"
    rules: tuple[tuple[str, str, str], ...] = (
        (
            "windows of sounds with gaps",
            f"DELETE FROM windows WHERE clip IN ({holes}){spared}",
            again,
        ),
        (
            "sounds without windows",
            f"DELETE FROM clips WHERE id NOT IN (SELECT clip FROM windows){kept}",
            again,
        ),
        (
            "sounds that no file holds",
            f"DELETE FROM clips WHERE id NOT IN (SELECT clip FROM files){kept}",
            "forgotten",
        ),
        (
            "files whose sound is not there",
            f"DELETE FROM files WHERE clip NOT IN (SELECT id FROM clips){gone}",
            again,
        ),
        (
            "facts of sounds that are not there",
            "DELETE FROM facts WHERE clip NOT IN (SELECT id FROM clips)",
            "forgotten",
        ),
        (
            "metadata of files that are not there",
            f"DELETE FROM sidecars WHERE path NOT IN ({paths})",
            "forgotten",
        ),
    )
    if catalogue.captions.there():
        lost = "DELETE FROM captions WHERE clip NOT IN (SELECT id FROM clips)"
        rules = (*rules, ("captions of sounds that are not there", lost, "forgotten"))
    for what, statement, done in rules:
        if found := catalogue.mend(statement):
            yield Finding(f"{found} {what}", done)
            if done == again:
                yield _again()


def _vectors(catalogue: Catalogue) -> Iterator[Finding]:
    """Vectors that are no unit vectors, or of another length than most."""
    bad, dims = [], {}
    uploads = catalogue.changes.uploads()
    for clip in sorted(catalogue.complete() - uploads.keys()):
        if not (embedded := catalogue.windows(clip)):
            continue  # found by its rows
        dims[clip] = {len(window.vector) for window in embedded}
        if not all(sound(window) for window in embedded):
            bad.append(clip)
    sizes = [size for found in dims.values() for size in found]
    usual = max(set(sizes), key=sizes.count, default=0)
    bad += [clip for clip, found in dims.items() if found != {usual} and clip not in bad]
    for clip in bad:
        for table, column in (("windows", "clip"), ("clips", "id"), ("files", "clip")):
            catalogue.mend(f"DELETE FROM {table} WHERE {column} = ?", clip)
    if bad:
        yield Finding(f"{len(bad)} sounds with damaged vectors", "forgotten")
        yield _again()


def _files(
    catalogue: Catalogue, library: Path, progress: Callable[[float], None]
) -> tuple[int, list[Finding]]:
    """(files that changed since, what was found)."""
    if not library.is_dir():
        advice = "is its drive mounted? Nothing was forgotten"
        return 0, [Finding(f"the library {library} is not there", None, advice)]
    changed, gone, bad = 0, 0, []
    known = catalogue.stamps()
    for number, (path, size, mtime_ns, clip) in enumerate(known):
        try:
            status = (library / path).stat()
            if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
                changed += 1
                continue
            with (library / path).open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest()[:ID_LENGTH] != clip:
                    bad.append(path)
        except (FileNotFoundError, NotADirectoryError):
            gone += 1
        except OSError:
            bad.append(path)
        progress((number + 1) / len(known))
    found: list[Finding] = []
    if 2 * gone > len(known):
        advice = "is its drive mounted? If they are meant to be gone: the same without --check"
        found.append(Finding(f"{gone} of {len(known)} files are not there", None, advice))
    else:
        changed += gone
    for path in bad:
        catalogue.mend("UPDATE files SET mtime_ns = -1 WHERE path = ?", path)
    if bad:
        shown = ", ".join(bad[:3]) + (" …" if len(bad) > 3 else "")
        what = f"{len(bad)} files hold other bytes than were embedded, or cannot be read: {shown}"
        found += [Finding(what, "marked as changed"), _again()]
    return changed, found


def _generation(catalogue: Catalogue, out: Path, origin: Origin) -> Iterator[Finding]:
    """The searchable files against the catalogue; where they differ they are made from it."""
    why = _difference(catalogue, out, origin)
    if why is None:
        return
    first = next(iter(catalogue.clips()), None)
    dim = len(catalogue.windows(first.id)[0].vector) if first else _dim(out)
    if dim is None:
        yield Finding(f"the searchable files: {why}", None, "index the library again")
        return
    try:
        write_generation(out, catalogue, dim, origin)
    except OSError as error:
        left = f"{out} cannot be written ({error.strerror}): make room, and check again"
        yield Finding(f"the searchable files: {why}", None, left)
        return
    still = _difference(catalogue, out, origin)
    done = None if still else "made anew from the catalogue"
    yield Finding(f"the searchable files: {why}", done, still)


def _difference(catalogue: Catalogue, out: Path, origin: Origin) -> str | None:
    try:
        index = Index.open(out)
    except LibraryIndexError as error:
        return str(error).partition("; ")[0].partition(": give")[0]
    if index.fingerprint != origin.fingerprint:
        return "they are of another checkpoint"
    clips, windows = catalogue.count()
    if (len(index), index.windows) != (clips, windows):
        return f"{len(index)} clips in {index.windows} windows, not {clips} in {windows}"
    for clip, known in zip(index.clips, catalogue.clips(), strict=True):
        if clip.id != known.id:
            return f"{clip.path} is where {known.path} should be"
        there, rows = catalogue.windows(clip.id), index.rows_of(clip)
        if len(there) != len(rows):
            return f"{clip.path} has {len(rows)} windows, not {len(there)}"
        vectors = np.stack([window.vector for window in there])
        if np.abs(index.rows(rows) - vectors).max() > _EQUAL:
            return f"the vectors of {clip.path} are others"
        if (clip.paths, clip.stored) != (known.paths, known.stored):
            return f"{clip.path} lies elsewhere"
        if clip.metadata != known.metadata:
            return f"the metadata of {clip.path} is another"
    return None


def _dim(out: Path) -> int | None:
    try:
        return Index.open(out).dim
    except LibraryIndexError:
        return None


def _again() -> Finding:
    advice = "give the same command without --check"
    return Finding("some sounds must be embedded again", None, advice)
