"""Filter → which clips it admits, over all clips of an index at once."""

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.filters import METADATA, All, AnyOf, Compare, Filter, Not, OneOf, Value

Mask = NDArray[np.bool_]

_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _format(path: str) -> str:
    stem, _, extension = _name(path).rpartition(".")
    return extension.lower() if stem else ""


_OF_PATHS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "path": lambda path: path,
        "folder": lambda path: path.rpartition("/")[0],
        "name": _name,
        "format": _format,
    }
)


class Described(Protocol):
    """What a filter can ask of a clip."""

    @property
    def id(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


class Columns:
    """The fields of every clip, side by side; each is made when first asked for."""

    def __init__(self, clips: Sequence[Described]) -> None:
        self._clips = clips
        self._fields: dict[str, list[str]] = {}

    def mask(self, wanted: Filter) -> Mask:
        """(clips,): whether the filter admits each."""
        match wanted:
            case Not(part):
                return ~self.mask(part)
            case All(parts):
                every: Mask = np.logical_and.reduce([self.mask(part) for part in parts])
                return every
            case AnyOf(parts):
                some: Mask = np.logical_or.reduce([self.mask(part) for part in parts])
                return some
            case OneOf(field, values):
                return self._one_of(field, frozenset(values))
            case Compare(field, "=", value):
                return self._one_of(field, frozenset([value]))
            case Compare(field, "!=", value):
                return ~self._one_of(field, frozenset([value]))
            case Compare("seconds", sign, value):
                mask: Mask = _ORDERS[sign](self._seconds, value)
                return mask
            case Compare(field, sign, value):
                return self._where(field, _test(sign, value))

    @cached_property
    def _seconds(self) -> NDArray[np.float64]:
        return np.array([clip.seconds for clip in self._clips], np.float64)

    @cached_property
    def _owners(self) -> NDArray[np.int64]:
        """(files,): the clip that each file holds."""
        return np.repeat(np.arange(len(self._clips)), [len(clip.paths) for clip in self._clips])

    def _one_of(self, field: str, values: frozenset[Value]) -> Mask:
        if field == "seconds":
            return np.isin(self._seconds, np.array([*values], np.float64))
        return self._where(field, lambda value: _comparable(value) and value in values)

    def _where(self, field: str, test: Callable[[Any], bool]) -> Mask:
        if field.startswith(METADATA):
            key = field.removeprefix(METADATA)
            found = (key in clip.metadata and test(clip.metadata[key]) for clip in self._clips)
            return np.fromiter(found, np.bool_, len(self._clips))
        if field == "id":
            return np.fromiter((test(c.id) for c in self._clips), np.bool_, len(self._clips))
        mask = np.zeros(len(self._clips), np.bool_)
        values = self._of_files(field)
        mask[self._owners[np.fromiter(map(test, values), np.bool_, len(values))]] = True
        return mask

    def _of_files(self, field: str) -> list[str]:
        if field not in self._fields:
            of = _OF_PATHS[field]
            self._fields[field] = [of(path) for clip in self._clips for path in clip.paths]
        return self._fields[field]


def _comparable(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _test(sign: str, value: Value) -> Callable[[Any], bool]:
    """Whether a field's value is so. Values of the other kind never are."""
    if sign == "~":
        pattern = re.compile(fnmatch.translate(str(value)), re.IGNORECASE)
        return lambda given: isinstance(given, str) and pattern.match(given) is not None
    if sign == "under":
        folder = str(value).strip("/")
        below = f"{folder}/" if folder else ""
        return lambda given: isinstance(given, str) and (given == folder or given.startswith(below))
    holds, kind = _ORDERS[sign], str if isinstance(value, str) else (int, float)
    return lambda given: (
        _comparable(given) and isinstance(given, kind) and bool(holds(given, value))
    )
