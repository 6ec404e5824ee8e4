"""An address → the engine that answers there: the one place where they are told apart.

sounds.index                                a folder: FAISS generations in it
milvus://[USER:PASSWORD@]HOST[:PORT]/NAME   a Milvus service, the collection NAME
milvus:FOLDER                               milvus-lite, embedded, in a folder
"""

from dataclasses import dataclass
from pathlib import Path

from m2d_clap.index.base import INDEX_FILE
from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.generation import sweep, unchanged, write_generation
from m2d_clap.index.interface import Engine, SearchIndex
from m2d_clap.index.kinds import Wish
from m2d_clap.index.origin import Origin
from m2d_clap.index.store import Index


@dataclass(frozen=True)
class Faiss:
    """Generations in a folder, beside the catalogue."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def there(self) -> bool:
        return (self.folder / INDEX_FILE).exists()

    def open(self) -> SearchIndex:
        return Index.open(self.folder)

    def write(
        self, catalogue: Catalogue, dim: int, origin: Origin, wish: Wish | None = None
    ) -> tuple[int, int]:
        there = unchanged(self.folder, catalogue, origin, wish)
        if there is None:
            return write_generation(self.folder, catalogue, dim, origin, wish)
        sweep(self.folder, catalogue)
        return there


def engine_at(address: Path | str) -> Engine:
    """Raises LibraryIndexError where an address of Milvus cannot be read, or its client is missing."""
    if isinstance(address, str) and address.startswith("milvus"):
        from m2d_clap.index.milvus.address import SCHEMES, parse  # an extra, slow to import

        if address.partition(":")[0] in SCHEMES and ":" in address:
            from m2d_clap.index.milvus.engine import Milvus

            return Milvus(parse(address))
    return Faiss(Path(address))


def open_index(address: Path | str) -> SearchIndex:
    """Raises LibraryIndexError saying how to make one where there is none, or mend it."""
    return engine_at(address).open()
