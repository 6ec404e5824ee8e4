"""What a run was asked for, as names and values, and how two runs differ in it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

SHOWN = 12
"""Differences that are listed before they are only counted."""


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} → ("a.b", 1)."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield before + name, value


def differences(old: str, new: str) -> list[str]:
    """Lines, of two JSON objects: what is not the same in both, old → new."""
    try:
        there, now = (dict(flat(json.loads(text))) for text in (old, new))
    except (ValueError, AttributeError):
        return ["  all of it: what is there is no JSON object"]
    lines = [
        f"  {name}: {_told(there, name)} → {_told(now, name)}"
        for name in sorted({*there, *now})
        if _told(there, name) != _told(now, name)
    ]
    if len(lines) > SHOWN:
        return [*lines[:SHOWN], f"  and {len(lines) - SHOWN} more"]
    return lines or ["  the order of what it says"]


def _told(settings: Mapping[str, Any], name: str) -> str:
    return json.dumps(settings[name], ensure_ascii=False) if name in settings else "not there"
