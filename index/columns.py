"""Filter → which clips it admits, over all clips of an index at once."""

import fnmatch
import operator
import re
from array import array
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.clips import Clips
from m2d_clap.index.filters import METADATA, All, AnyOf, Compare, Filter, Not, OneOf, Value, nfc

Mask = NDArray[np.bool_]

_KEYS_KEPT = 32  # of metadata: 16 bytes a clip, and each value once

_ORDERS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _format(path: str) -> str:
    stem, _, extension = _name(path).rpartition(".")
    return extension.lower() if stem else ""


OF_PATHS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "path": nfc,
        "folder": lambda path: nfc(path).rpartition("/")[0],
        "name": lambda path: _name(nfc(path)),
        "format": lambda path: _format(nfc(path)),
    }
)


class Columns:
    """The fields of every clip, side by side; each is made when first asked for."""

    def __init__(self, clips: Clips) -> None:
        self._clips = clips
        self._fields: dict[str, list[str]] = {}
        self._of_key = lru_cache(maxsize=_KEYS_KEPT)(self._read_key)

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
                mask: Mask = _ORDERS[sign](self._clips.seconds, value)
                return mask
            case Compare(field, sign, value):
                return self._where(field, _test(sign, value))

    def _one_of(self, field: str, values: frozenset[Value]) -> Mask:
        if field == "seconds":
            return np.isin(self._clips.seconds, np.array([*values], np.float64))
        return self._where(field, lambda value: _comparable(value) and value in values)

    def _where(self, field: str, test: Callable[[Any], bool]) -> Mask:
        count = len(self._clips)
        if field == "id":
            return np.fromiter(map(test, self._clips.ids), np.bool_, count)
        mask = np.zeros(count, np.bool_)
        if field.startswith(METADATA):
            values, chosen, numbers = self._of_key(field.removeprefix(METADATA))
            mask[numbers[np.fromiter(map(test, values), np.bool_, len(values))[chosen]]] = True
            return mask
        of_files = self._of_files(field)
        mask[self._clips.owners[np.fromiter(map(test, of_files), np.bool_, len(of_files))]] = True
        return mask

    def _read_key(self, key: str) -> tuple[list[Value], NDArray[np.int64], NDArray[np.int64]]:
        """Every value of a metadata key that can be compared, once; (found,): which of them, and of
        which clip."""
        values: dict[Value, int] = {}
        chosen, numbers = array("q"), array("q")
        for number, value in self._clips.metadata(key):
            if _comparable(value):
                value = nfc(value) if isinstance(value, str) else value
                chosen.append(values.setdefault(value, len(values)))
                numbers.append(number)
        return [*values], np.array(chosen, np.int64), np.array(numbers, np.int64)

    def _of_files(self, field: str) -> list[str]:
        if field not in self._fields:
            self._fields[field] = [*map(OF_PATHS[field], self._clips.paths)]
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
