"""Every sound embedded again, with another checkpoint, while the old index serves."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from m2d_clap.index import live
from m2d_clap.index.build import NOTHING, build_index
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.generation import current
from m2d_clap.index.kinds import Wish
from m2d_clap.index.options import USUAL, Options
from m2d_clap.index.progress import Progress, Report
from m2d_clap.index.swap import put_in_place, refuse_mount
from m2d_clap.model import Clap

_PATIENCE = 60.0  # seconds for a change that the service is writing


def build_anew(
    library: Path,
    out: Path,
    checkpoint: Path,
    fingerprint: str,
    clap: Clap,
    progress: Callable[[Progress], None] = lambda _: None,
    options: Options = USUAL,
) -> tuple[Report, Path | None]:
    """Builds beside `out` and switches when it is done; returns where the old index is kept.

    What was deleted from `out` stays left out, and its kind is kept, where `options.wish` is None. Stopped,
    the same call goes on. Raises LibraryIndexError as `build_index` does, and where `out` holds
    sounds that came by the service: they are in no library to be read from again.
    """
    refuse_mount(out)
    aside = out.with_name(f"{out.name}.next")
    if (aside / CATALOGUE_FILE).is_file():
        with Catalogue.open(aside / CATALOGUE_FILE) as catalogue:
            begun = catalogue.origin()
        if begun is not None and begun.fingerprint != fingerprint:
            shutil.rmtree(aside)  # begun with a third checkpoint, and never finished
    replaces: Mapping[str, str] = NOTHING
    if (out / CATALOGUE_FILE).is_file():
        with Catalogue.reading(out / CATALOGUE_FILE) as catalogue:
            deleted = _deleted(catalogue, library, out)
            replaces = catalogue.paths()
        if deleted:
            aside.mkdir(exist_ok=True)
            with Catalogue.open(aside / CATALOGUE_FILE) as catalogue:
                catalogue.changes.leave_out(deleted)
        if options.wish is None and (before := current(out).get("wish")):
            options = replace(options, wish=Wish(**before))
    given = (library, aside, checkpoint, fingerprint, clap, progress, options)
    report = build_index(*given, replaces=replaces)
    try:
        return report, _switch(aside, out, library)
    except OSError as error:
        raise LibraryIndexError(
            f"{aside} is ready, but cannot take the place of {out} ({error.strerror}): rename it"
        ) from error


def _switch(aside: Path, out: Path, library: Path) -> Path | None:
    """Takes in what was deleted meanwhile; nobody can write to the old index until it is replaced."""
    if not (out / CATALOGUE_FILE).is_file():
        return put_in_place(aside, out)
    with Catalogue.open(out / CATALOGUE_FILE, _PATIENCE) as catalogue:
        for clip in _deleted(catalogue, library, out):
            live.delete(aside, clip)
        return put_in_place(aside, out)


def _deleted(catalogue: Catalogue, library: Path, out: Path) -> set[str]:
    if uploads := len(catalogue.changes.uploads()):
        raise LibraryIndexError(
            f"{out} holds {uploads} sounds that were uploaded to the service and are not in "
            f"{library}: put them there and delete them from the service, or index into a new --out"
        )
    return catalogue.changes.deleted()
