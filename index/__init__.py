"""A library of sounds, embedded and searchable."""

from m2d_clap.index.build import Progress, Report, build_index
from m2d_clap.index.clips import Clip
from m2d_clap.index.filters import Filter, FilterError
from m2d_clap.index.store import Hit, Index, Place

__all__ = [
    "Clip",
    "Filter",
    "FilterError",
    "Hit",
    "Index",
    "Place",
    "Progress",
    "Report",
    "build_index",
]
