"""How far a run of `index` is, and what it did: values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """What is on disk: files done of all, seconds of sound embedded by this run, and the share
    (0 … 1, by bytes) of what this run had to read."""

    done: int
    files: int
    seconds: float
    share: float = 0.0


@dataclass(frozen=True)
class Report:
    """What a run did.

    Files whose path, in the index before and now: new, only now; changed, both, with another
    content; moved, only now, with the content of one that is gone; gone, only before, and not
    moved; unchanged, neither read nor changed. identical: files that hold what another one holds.
    skipped: (path, reason) of files that are no sound; damaged: (path, what) of sounds embedded by
    this run that could be heard in part only; hidden: how many files and folders were
    not looked at (see Walk); deleted: files left out because the service deleted their sounds;
    embedded: sounds; seconds of sound embedded; captioned: sounds, by this run.
    busy: the share (0 … 1) of the time in which each part of the pipeline worked; slowest: the
    busiest, which all others waited for; None where nothing was read. elapsed: seconds.
    """

    clips: int
    windows: int
    embedded: int
    unchanged: int
    gone: int
    skipped: tuple[tuple[str, str], ...]
    hidden: int = 0
    seconds: float = 0.0
    new: int = 0
    changed: int = 0
    moved: int = 0
    identical: int = 0
    described: int = 0
    busy: Mapping[str, float] = field(default_factory=dict)
    slowest: str | None = None
    elapsed: float = 0.0
    captioned: int = 0
    damaged: tuple[tuple[str, str], ...] = ()
    deleted: int = 0
