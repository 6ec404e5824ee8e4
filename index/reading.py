"""Files → pieces to be embedded: windows of each sound, then its end, or why it is no sound."""

import hashlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from m2d_clap.index.walk import File
from m2d_clap.index.windows import Window, windows
from m2d_clap.model import decode
from m2d_clap.model.errors import AudioError


@dataclass(frozen=True)
class Heard:
    """A window to be embedded. read: bytes of the file read up to it, roughly."""

    file: File
    clip: str
    position: int
    window: Window
    read: int


@dataclass(frozen=True)
class Whole:
    """A file's end. seconds: None where the same sound was, or is being, read elsewhere."""

    file: File
    clip: str
    seconds: float | None


@dataclass(frozen=True)
class Broken:
    """A file that is no sound. clip: None where not even its bytes could be read; lasting: whether
    it will be so as long as the file does not change."""

    file: File
    clip: str | None
    reason: str
    lasting: bool


Piece = Heard | Whole | Broken


class Reader:
    """Reads files in any number of threads; every content once.

    rate in Hz; complete: clips that need not be read; begun: how many windows of a clip are not
    to be yielded again.
    """

    def __init__(self, library: Path, rate: int, complete: set[str], begun: dict[str, int]) -> None:
        self._library = library
        self._rate = rate
        self._begun = begun
        self._claimed = dict.fromkeys(complete, "")

    def pieces(self, file: File) -> Generator[Piece, None, None]:
        """Heard …, then Whole or Broken. Holds one window at a time, whatever the length."""
        clip = None
        try:
            with (self._library / file.path).open("rb") as source:
                clip = hashlib.file_digest(source, "sha256").hexdigest()[:16]
                # setdefault is atomic: of two threads with the same content one wins
                if self._claimed.setdefault(clip, file.path) != file.path:
                    yield Whole(file, clip, None)
                    return
                source.seek(0)
                yield from self._heard(file, clip, source)
        except AudioError as error:
            yield Broken(file, clip, str(error), lasting=True)
        except OSError as error:
            yield Broken(file, clip, f"it cannot be read: {error.strerror}", lasting=False)
        except Exception as error:  # noqa: BLE001 — one odd file must not stop all that follow
            yield Broken(file, clip, f"decoding failed: {error!r}", lasting=False)

    def _heard(self, file: File, clip: str, source: BinaryIO) -> Generator[Piece, None, None]:
        seconds = 0.0
        there = self._begun.get(clip, 0)
        for position, window in enumerate(windows(decode(source, self._rate), self._rate)):
            seconds = window.end
            if position >= there:
                yield Heard(file, clip, position, window, source.tell())
        yield Whole(file, clip, seconds)
