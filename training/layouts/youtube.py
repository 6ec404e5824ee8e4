"""Clips cut from YouTube videos, which every downloader names in its own way."""

import re
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

from m2d_clap.training.layouts.sounds import by_stem, sound_files

CUT = re.compile(r"Y?([\w-]{11})_[\d._]+", re.ASCII)


class Videos:
    """The clips below a folder, by video and start."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.stems = by_stem(sound_files(source))

    @cached_property
    def _cuts(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for stem in self.stems:
            if named := CUT.fullmatch(stem):
                found.setdefault(named[1], []).append(stem)
        return found

    def find(
        self,
        video: str,
        start: float | None = None,
        end: float | None = None,
        *more: str,
        others: Collection[str] = (),
    ) -> Path:
        """The file of a clip (start and end in seconds), a path that is not there if there is none.

        Sought by the names `stems` gives, then by those in `more`, and where the start is
        unknown by any start. others: stems of other clips' files, which are not taken.
        """
        names = [*stems(video, start, end), *more]
        if start is None:
            names += self._cuts.get(video, [])
        for stem in names:
            if stem in self.stems and stem not in others:
                return Path(self.stems[stem])
        return self.source / f"{next(stems(video, start, end))}.wav"


def stems(video: str, start: float | None, end: float | None = None) -> Iterator[str]:
    """File names without ending that are in use for a clip, the most telling first.

    <video>_<start>[_<end>] with whole seconds, seconds with three decimals, six digits (VGGSound)
    or milliseconds (AudioSet's strong labels), or the video alone; all also after a Y.
    """
    names = [video, f"Y{video}"]
    if start is not None:
        for write in ("{:.0f}".format, "{:.3f}".format, "{:06.0f}".format, _milliseconds):
            for name in names:
                yield f"{name}_{write(start)}"
                if end is not None:
                    yield f"{name}_{write(start)}_{write(end)}"
    yield from names


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"
