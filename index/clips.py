"""The clips of an index, as columns: a million of them open at once, and are read when asked for."""

import bisect
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.texts import Texts, load, save


@dataclass(frozen=True)
class Clip:
    """A sound of the library. paths: every file that holds it, relative to the library; metadata:
    what else is known of it; stored: where the index folder keeps it, of a sound that was uploaded
    (the last of its paths is then a name only)."""

    id: str
    seconds: float
    paths: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stored: str | None = None

    @property
    def path(self) -> str:
        return self.paths[0]


class Clips:
    """Clips by number, in the order of their first paths.

    facts: JSON of each; seconds: (clips,); paths and owners: (files,), every path and the number
    of its clip; order: (clips,), numbers in the order of the ids.
    """

    def __init__(
        self,
        ids: Sequence[str],
        facts: Sequence[str],
        seconds: NDArray[np.float64],
        paths: Sequence[str],
        owners: NDArray[np.int64],
        order: NDArray[np.int64],
    ) -> None:
        self.ids = ids
        self.seconds = seconds
        self.paths = paths
        self.owners = owners
        self._facts = facts
        self._order = order

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> "Clips":
        """In memory."""
        ids: list[str] = []
        facts: list[str] = []
        paths: list[str] = []
        seconds, counts = array("d"), array("q")
        for clip in clips:
            ids.append(clip.id)
            facts.append(_facts(clip))
            paths.extend(clip.paths)
            seconds.append(clip.seconds)
            counts.append(len(clip.paths))
        owners = np.repeat(np.arange(len(ids)), np.array(counts, np.int64))
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        return cls(ids, facts, np.array(seconds, np.float64), paths, owners, order)

    def write(self, folder: Path) -> None:
        """On disk when this returns."""
        Texts.write(folder, "ids", self.ids)
        Texts.write(folder, "facts", self._facts)
        Texts.write(folder, "paths", self.paths)
        save(folder / "seconds.npy", self.seconds)
        save(folder / "path-owners.npy", self.owners)
        save(folder / "id-order.npy", self._order)

    @classmethod
    def open(cls, folder: Path) -> "Clips":
        """Raises OSError or ValueError where something is missing or damaged."""
        columns = (Texts.open(folder, name) for name in ("ids", "facts", "paths"))
        ids, facts, paths = columns
        seconds: Any = load(folder / "seconds.npy")
        order = load(folder / "id-order.npy")
        if not len(ids) == len(facts) == len(seconds) == len(order):
            raise ValueError("its columns are of different lengths")
        return cls(ids, facts, seconds, paths, load(folder / "path-owners.npy"), order)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> Clip:
        return _clip(self._facts[number])

    def __iter__(self) -> Iterator[Clip]:
        return map(_clip, self._facts)

    def number(self, clip_id: str) -> int | None:
        """The number of a clip; None where there is none with this id."""
        at = bisect.bisect_left(self._order, clip_id, key=lambda n: self.ids[int(n)])
        if at == len(self._order):
            return None
        number = int(self._order[at])
        return number if self.ids[number] == clip_id else None

    def metadata(self, key: str) -> Iterator[tuple[int, Any]]:
        """(number, value) of every clip that has this key."""
        named = json.dumps(key)
        for number, facts in enumerate(self._facts):
            if named in facts and key in (metadata := json.loads(facts)[3]):
                yield number, metadata[key]


class Ordered(Sequence[Clip]):
    """Clips by their place in an order of numbers, read one by one."""

    def __init__(self, order: NDArray[np.int64], read: Callable[[int], Clip]) -> None:
        self._order = order
        self._read = read

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> Clip: ...
    @overload
    def __getitem__(self, at: slice) -> list[Clip]: ...
    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self._read(int(number)) for number in self._order[at]]
        return self._read(int(self._order[at]))

    def __iter__(self) -> Iterator[Clip]:
        return (self._read(int(number)) for number in self._order)


def places(clip: Clip, library: Path, folder: Path) -> list[Path]:
    """Where its sound should lie, in the library and, of an upload, in the index folder."""
    own = [] if clip.stored is None else [folder / clip.stored]
    listed = clip.paths if clip.stored is None else clip.paths[:-1]
    return [*(library / path for path in listed), *own]


def _facts(clip: Clip) -> str:
    row = [clip.id, clip.seconds, clip.paths, dict(clip.metadata), clip.stored]
    return json.dumps(row, separators=(",", ":"))


def _clip(facts: str) -> Clip:
    clip_id, seconds, paths, metadata, stored = json.loads(facts)
    return Clip(clip_id, seconds, tuple(paths), metadata, stored)
