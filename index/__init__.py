"""A library of sounds, embedded and searchable.

The names are loaded when first asked for: who only decodes sound need not import torch and FAISS.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m2d_clap.index.build import build_index
    from m2d_clap.index.clips import Clip
    from m2d_clap.index.filters import Filter, FilterError
    from m2d_clap.index.hits import Hit, Place
    from m2d_clap.index.interface import SearchIndex
    from m2d_clap.index.progress import Progress, Report
    from m2d_clap.index.store import Index

__all__ = [
    "Clip",
    "Filter",
    "FilterError",
    "Hit",
    "Index",
    "Place",
    "Progress",
    "Report",
    "SearchIndex",
    "build_index",
]

_HOMES = {
    "build_index": "build",
    **dict.fromkeys(("Progress", "Report"), "progress"),
    **dict.fromkeys(("Filter", "FilterError"), "filters"),
    **dict.fromkeys(("Hit", "Place"), "hits"),
    "Index": "store",
    "SearchIndex": "interface",
    "Clip": "clips",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
