"""An index on Milvus: opened, and made equal to its catalogue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.calibration import Calibration, drawn, of_sounds
from m2d_clap.index.catalogue import Catalogue
from m2d_clap.index.clips import Clip
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.interface import SearchIndex
from m2d_clap.index.kinds import Wish
from m2d_clap.index.milvus.address import Address
from m2d_clap.index.milvus.collection import Collection, facts_of
from m2d_clap.index.milvus.store import MilvusIndex
from m2d_clap.index.origin import Origin
from m2d_clap.index.windows import Embedded

_KINDS = {"auto": "AUTOINDEX", "flat": "FLAT"}


@dataclass(frozen=True)
class Milvus:
    """A collection, and the folder of the one who writes to it."""

    address: Address

    def __str__(self) -> str:
        return self.address.text

    @property
    def folder(self) -> Path:
        return self.address.folder

    def there(self) -> bool:
        lite = self.address.lite
        if lite is not None and not lite.exists():
            return False
        return self._state(Collection(self.address)) is not None

    def open(self) -> SearchIndex:
        lite = self.address.lite
        state = None
        if lite is None or lite.exists():
            collection = Collection(self.address)
            state = self._state(collection)
        if state is None:
            raise LibraryIndexError(
                f"{self} holds no finished index; make one with: m2d-clap index LIBRARY --out {self}"
            )
        return MilvusIndex(collection, state).refreshed()

    def write(
        self, catalogue: Catalogue, dim: int, origin: Origin, wish: Wish | None = None
    ) -> tuple[int, int]:
        """Brings what differs: stopped at any time, the next run goes on from there."""
        collection = Collection(self.address)
        before = self._state(collection)
        if before is not None and before["fingerprint"] != origin.fingerprint:
            paths = Path(before["checkpoint"]), Path(before["library"])
            Origin(before["fingerprint"], *paths).refuse_other(origin, str(self))
        kind = self._kind(wish, before)
        if collection.there() and (before is None or before["kind"] != kind):
            collection.drop()  # nothing finished, or of another kind: all of it is in the catalogue
        if not collection.there():
            collection.create(dim, kind)
        changes = catalogue.changes.last()
        counts = self._bring(collection, catalogue)
        state: dict[str, Any] = {name: str(value) for name, value in vars(origin).items()}
        learned = _calibration(catalogue, counts)
        state |= {"format_version": 1, "dim": dim, "kind": kind, "changes": changes}
        state["generation"] = 1 + (0 if before is None else int(before["generation"]))
        state["calibration"] = None if learned is None else vars(learned)
        collection.note(state, dim)
        return len(counts), sum(count for _, count in counts)

    def _state(self, collection: Collection) -> dict[str, Any] | None:
        if not collection.there():
            return None
        collection.load()
        state = collection.state()
        if state is not None and state["format_version"] > 1:
            raise LibraryIndexError(f"{self} was made by another release: upgrade m2d-clap")
        return state

    def _kind(self, wish: Wish | None, before: dict[str, Any] | None) -> str:
        if wish is None:
            return _KINDS["auto"] if before is None else str(before["kind"])
        if wish.kind not in _KINDS or wish.memory is not None:
            raise LibraryIndexError(
                "on Milvus --kind is auto (what Milvus itself chooses) or flat, without --memory"
            )
        return _KINDS[wish.kind]

    def _bring(self, collection: Collection, catalogue: Catalogue) -> list[tuple[str, int]]:
        """(clip, how many windows) of all that is there then, by first path."""
        held = {
            row["facts"]["id"]: row["facts"] for row in collection.all("position == 0", ["facts"])
        }
        counts: list[tuple[str, int]] = []

        def differing() -> Iterator[tuple[Clip, Sequence[Embedded]]]:
            sizes = catalogue.sizes()
            for clip in catalogue.clips():
                if not (size := sizes.get(clip.id)):
                    continue
                counts.append((clip.id, size))
                if held.pop(clip.id, None) != facts_of(clip, size):
                    yield clip, catalogue.windows(clip.id)

        collection.put(differing())
        collection.delete([*held])
        return counts


def _calibration(catalogue: Catalogue, counts: Sequence[tuple[str, int]]) -> Calibration | None:
    """As a generation learns it, from the same windows."""
    owners = np.repeat(np.arange(len(counts)), [count for _, count in counts])
    if not len(owners):
        return None
    rows = np.array(drawn(len(owners)), np.int64)
    vectors: list[NDArray[np.float32]] = []
    first = np.cumsum([0, *(count for _, count in counts)])
    for number in np.unique(owners[rows]):
        windows = catalogue.windows(counts[number][0])
        mine = rows[owners[rows] == number] - first[number]
        vectors.extend(windows[at].vector for at in mine)
    return of_sounds(np.stack(vectors), owners[rows])
