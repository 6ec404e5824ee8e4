"""Every sound embedded again, with another checkpoint, while the old index serves."""

import shutil
from collections.abc import Callable
from pathlib import Path

from m2d_clap.index.build import BATCH_SECONDS, Progress, Report, build_index
from m2d_clap.index.captions import Captioning
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.swap import put_in_place
from m2d_clap.model import Clap


def build_anew(
    library: Path,
    out: Path,
    checkpoint: Path,
    fingerprint: str,
    clap: Clap,
    progress: Callable[[Progress], None] = lambda _: None,
    batch_seconds: float = BATCH_SECONDS,
    captioning: Captioning | None = None,
) -> tuple[Report, Path | None]:
    """Builds beside `out` and switches when it is done; returns where the old index is kept.

    Stopped, the same call goes on. Raises LibraryIndexError as `build_index` does, and where `out`
    holds sounds that came by the service: they are in no library to be read from again.
    """
    aside = out.with_name(f"{out.name}.next")
    if (out / CATALOGUE_FILE).is_file():
        with Catalogue.open(out / CATALOGUE_FILE) as catalogue:
            if uploads := catalogue.uploads():
                raise LibraryIndexError(
                    f"{out} holds {uploads} sounds that were uploaded to the service and are not "
                    f"in {library}: put them there, or index into a new --out"
                )
    if (aside / CATALOGUE_FILE).is_file():
        with Catalogue.open(aside / CATALOGUE_FILE) as catalogue:
            begun = catalogue.origin()
        if begun is not None and begun.fingerprint != fingerprint:
            shutil.rmtree(aside)  # begun with a third checkpoint, and never finished
    report = build_index(
        library, aside, checkpoint, fingerprint, clap, progress, batch_seconds, captioning
    )
    try:
        return report, put_in_place(aside, out)
    except OSError as error:
        raise LibraryIndexError(
            f"{aside} is ready, but cannot take the place of {out} ({error.strerror}): rename it"
        ) from error
