"""A new generation while the index is being served and written to.

What is written meanwhile lies beside the new generation as it lay beside the old one. Run by
itself, as the server does: `python -m m2d_clap.index.compaction FOLDER`.
"""

import os
import shutil
import sys
from pathlib import Path

from m2d_clap.index.catalogue import CATALOGUE_FILE, LOCK_FILE, Catalogue
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.generation import OfCatalogue, current, make, switch
from m2d_clap.index.kinds import Wish
from m2d_clap.index.lock import held
from m2d_clap.index.origin import Origin
from m2d_clap.index.store import Index

_PATIENCE = 60.0


def compact(folder: Path, wish: Wish | None = None) -> bool:
    """Makes a generation of everything there is now, and switches to it; false where another one was
    switched to meanwhile, which holds all of this too.

    Raises LibraryIndexError where there is no index, or it cannot be written; before anything is
    made where somebody else is at work on it, or there is no room.
    """
    index = Index.open(folder)
    _refuse_full(folder, index.generation)
    with held(folder / LOCK_FILE, _PATIENCE):
        pass  # whoever holds it now for long would still do so when all is made
    origin = Origin(index.fingerprint, index.checkpoint, index.library)
    before = current(folder)
    file = folder / CATALOGUE_FILE
    with Catalogue.reading(file) as as_it_is:
        made = make(folder, OfCatalogue(as_it_is), index.dim, origin, wish)
    try:
        with Catalogue.open(file, _PATIENCE) as catalogue:
            if current(folder) != before:
                return False
            switch(folder, made, catalogue)
        return True
    finally:
        shutil.rmtree(made.place, ignore_errors=True)
        made.writing.close()


def _refuse_full(folder: Path, generation: int) -> None:
    place = folder / f"generation-{generation}"
    size, free = sum(f.stat().st_size for f in place.glob("*")), shutil.disk_usage(folder).free
    if free < size:
        raise LibraryIndexError(
            f"{folder} has room for {free / 1e6:.1f} MB, and the generation that is served takes "
            f"{size / 1e6:.1f} MB: a new one needs as much, so make room"
        )


def main() -> None:
    os.nice(10)
    try:
        compact(Path(sys.argv[1]))
    except (LibraryIndexError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
