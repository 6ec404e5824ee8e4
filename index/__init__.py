"""A library of sounds, embedded and searchable."""

from m2d_clap.index.build import Progress, Report, build_index
from m2d_clap.index.store import Clip, Hit, Index

__all__ = ["Clip", "Hit", "Index", "Progress", "Report", "build_index"]
