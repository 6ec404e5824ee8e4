"""Files → pieces to be embedded: windows of each sound, then its end, or why it is no sound."""

import hashlib
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from m2d_clap.index.busy import Busy
from m2d_clap.index.facts import DAMAGED, facts
from m2d_clap.index.walk import File
from m2d_clap.index.windows import Window, windows
from m2d_clap.model.audio import decode
from m2d_clap.model.errors import AudioError

ID_LENGTH = 16


@dataclass(frozen=True)
class Opened:
    """A file's content. sha256: in hexadecimal; facts: what its header tells."""

    sha256: str
    facts: Mapping[str, Any]

    @property
    def clip(self) -> str:
        return self.sha256[:ID_LENGTH]


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
    """A file's end. seconds: None where the same sound was, or is being, read elsewhere; then facts
    are the header's alone. sha256 is the content's."""

    file: File
    clip: str
    seconds: float | None
    sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Broken:
    """A file that is no sound. clip: None where not even its bytes could be read; lasting: whether
    it will be so as long as the file does not change."""

    file: File
    clip: str | None
    reason: str
    lasting: bool


Piece = Heard | Whole | Broken


class Unreadable(Exception):
    """A file that is no sound. lasting: whether it will be so as long as it does not change."""

    def __init__(self, reason: str, lasting: bool) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Sound(Protocol):
    """A file being read. Everything raises Unreadable. damage: what could not be heard of it, once
    all windows were; None: nothing."""

    damage: str | None

    @property
    def opened(self) -> Opened: ...

    def windows(self) -> Iterator[tuple[Window, int]]:
        """(window, bytes of the file read so far) of all windows; once."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """Where sounds are read: here, or in processes of their own."""

    def open(self, file: Path, rate: int) -> Sound:
        """Raises Unreadable."""


class Here:
    """Reads in the thread that asks."""

    def __init__(self, busy: Busy) -> None:
        self._busy = busy

    def open(self, file: Path, rate: int) -> "OpenFile":
        return OpenFile(file, rate, self._busy)


class OpenFile:
    """One file, hashed when opened, decoded window by window in bounded memory."""

    def __init__(self, file: Path, rate: int, busy: Busy) -> None:
        self._rate = rate
        self._busy = busy
        self._source: BinaryIO | None = None
        self.damage: str | None = None
        with _explained(), busy.at("read"):
            self._source = file.open("rb")
            sha256 = hashlib.file_digest(self._source, "sha256").hexdigest()
            self._source.seek(0)
            self.opened = Opened(sha256, facts(self._source))

    def windows(self) -> Iterator[tuple[Window, int]]:
        assert self._source is not None
        self._source.seek(0)
        with _explained():
            start = time.perf_counter()
            blocks = decode(self._source, self._rate, told=self._damaged)
            cut = windows(blocks, self._rate)
            for window in cut:
                self._busy.add("decode", time.perf_counter() - start)
                yield window, self._source.tell()
                start = time.perf_counter()
            self._busy.add("decode", time.perf_counter() - start)

    def _damaged(self, how: str) -> None:
        self.damage = how

    def close(self) -> None:
        if self._source is not None:
            self._source.close()


class _explained:
    """Turns what reading and decoding raise into Unreadable."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        match error:
            case AudioError():
                raise Unreadable(str(error), lasting=True) from error
            case OSError():
                why = f"it cannot be read: {error.strerror}"
                raise Unreadable(why, lasting=False) from error
            case Exception():  # one odd file must not stop all that follow
                raise Unreadable(f"decoding failed: {error!r}", lasting=False) from error


class Reader:
    """Reads files in any number of threads; every content once.

    rate in Hz; complete: clips that need not be read; begun: how many windows of a clip are not
    to be yielded again.
    """

    def __init__(
        self,
        library: Path,
        rate: int,
        complete: set[str],
        begun: dict[str, int],
        source: Source | None = None,
    ) -> None:
        self._library = library
        self._rate = rate
        self._begun = begun
        self._claimed = dict.fromkeys(complete, "")
        self._source = Here(Busy(1)) if source is None else source

    def pieces(self, file: File) -> Generator[Piece, None, None]:
        """Heard …, then Whole or Broken. Holds one window at a time, whatever the length."""
        clip = None
        try:
            with closing(self._source.open(self._library / file.path, self._rate)) as sound:
                clip = sound.opened.clip
                # setdefault is atomic: of two threads with the same content one wins
                if self._claimed.setdefault(clip, file.path) == file.path:
                    seconds, there = 0.0, self._begun.get(clip, 0)
                    for position, (window, read) in enumerate(sound.windows()):
                        seconds = window.end
                        if position >= there:
                            yield Heard(file, clip, position, window, read)
                    known = dict(sound.opened.facts)
                    if sound.damage is not None:
                        known[DAMAGED] = sound.damage
                    yield Whole(file, clip, seconds, sound.opened.sha256, known)
                else:
                    yield Whole(file, clip, None, sound.opened.sha256, sound.opened.facts)
        except Unreadable as error:
            yield Broken(file, clip, str(error), error.lasting)
