"""Published data sets that become manifests. A further one: a file here, and a line below."""

from pathlib import Path

from m2d_clap.training.layouts.audiocaps import AUDIOCAPS
from m2d_clap.training.layouts.audioset import AUDIOSET
from m2d_clap.training.layouts.auto_acd import AUTO_ACD
from m2d_clap.training.layouts.clotho import CLOTHO
from m2d_clap.training.layouts.conversion import Report, convert
from m2d_clap.training.layouts.esc50 import ESC50
from m2d_clap.training.layouts.fsd50k import FSD50K
from m2d_clap.training.layouts.layout import Layout
from m2d_clap.training.layouts.urbansound8k import URBANSOUND8K
from m2d_clap.training.layouts.wavcaps import WAVCAPS

__all__ = ["LAYOUTS", "Layout", "Report", "convert", "detect"]

LAYOUTS = {
    layout.name: layout
    for layout in (
        AUDIOCAPS,
        AUDIOSET,
        AUTO_ACD,
        CLOTHO,
        ESC50,
        FSD50K,
        URBANSOUND8K,
        WAVCAPS,
    )
}


def detect(source: Path) -> str | None:
    """The name of the data set whose tables lie in the folder, None where none do."""
    return next((name for name, layout in LAYOUTS.items() if layout.recognises(source)), None)
