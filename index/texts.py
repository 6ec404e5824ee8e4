"""A column of texts on disk: one file of UTF-8, one of where each begins; mapped, never read whole."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model.files import to_disk

# Python 3.11's ast, which np.load reads headers by, now and then fails where two threads are in it
# (python/cpython#106905).
_PARSING = threading.Lock()
_TOGETHER = 4096  # texts that are copied at once, where all are read


class Texts(Sequence[str]):
    """data: (bytes,) uint8; ends: (texts,) where each text ends."""

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self._data = data
        self._ends = ends

    @classmethod
    def write(cls, folder: Path, name: str, texts: Iterable[str]) -> None:
        ends: list[int] = []
        at = 0
        with (folder / f"{name}.txt").open("wb") as file:
            for text in texts:
                at += file.write(text.encode())
                ends.append(at)
        to_disk(folder / f"{name}.txt")
        save(folder / f"{name}-ends.npy", np.array(ends, np.int64))

    @classmethod
    def open(cls, folder: Path, name: str) -> "Texts":
        """Raises OSError or ValueError where the files are not there, or not whole."""
        ends = load(folder / f"{name}-ends.npy")
        size = (folder / f"{name}.txt").stat().st_size
        if size != (int(ends[-1]) if len(ends) else 0):
            raise ValueError(f"{name}.txt is {size} bytes long")
        data = np.zeros(0, np.uint8)
        if size:  # nothing cannot be mapped
            # As a plain array, whose slices cost a tenth of a memmap's.
            data = np.memmap(folder / f"{name}.txt", np.uint8, "r").view(np.ndarray)
        return cls(data, ends)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        first = int(self._ends[at - 1]) if at else 0
        return self._data[first : int(self._ends[at])].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        first = 0
        for start in range(0, len(self), _TOGETHER):
            ends = self._ends[start : start + _TOGETHER].tolist()
            part, base = self._data[first : ends[-1]].tobytes(), first
            for end in ends:
                yield part[first - base : end - base].decode()
                first = end


def save(file: Path, array: NDArray[np.generic]) -> None:
    """An array, on disk when this returns."""
    with file.open("wb") as opened:
        np.save(opened, array)
    to_disk(file)


def load(file: Path) -> NDArray[np.int64]:
    """An array, mapped; of any kind of number."""
    with _PARSING:
        mapped: NDArray[np.int64] = np.load(file, mmap_mode="r").view(np.ndarray)
    return mapped
