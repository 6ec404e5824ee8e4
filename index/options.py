"""How an index is made, of whatever library."""

from dataclasses import dataclass

from m2d_clap.index.captions import Captioning
from m2d_clap.index.kinds import Wish
from m2d_clap.index.pipeline import BATCH_SECONDS, Remote


@dataclass(frozen=True)
class Options:
    """batch_seconds: of sound that are embedded together, and lost at most by a kill; wish: the kind
    of index, None for what there was; captioning: also captions every sound that has no caption by
    this captioner; remote: embeds elsewhere, where not here; forget: though most of what is known is
    missing."""

    batch_seconds: float = BATCH_SECONDS
    wish: Wish | None = None
    captioning: Captioning | None = None
    remote: Remote | None = None
    forget: bool = False


USUAL = Options()
