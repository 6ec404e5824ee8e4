"""Where a list was left off, as an opaque text that still holds when the index has changed.

A cursor names the last entry by what orders the list (score and id, or path), so that the next page
goes on behind it whatever was added or removed meanwhile. It also holds a digest of the question and
the model: with another question, or after the model was replaced, it is refused.
"""

import base64
import hashlib
import json
import math
from typing import Any

from m2d_clap.index import Place
from m2d_clap.service.errors import CursorError

_MOST_PASSED = 1 << 40


def digest(*question: Any) -> str:
    """A short text that is equal for equal questions. question: JSON values."""
    whole = json.dumps(question, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def of_place(question: str, place: Place) -> str:
    return _packed([question, place.score, place.clip, place.passed])


def place(question: str, cursor: str) -> Place:
    """Raises CursorError where it is no cursor, or one of another question."""
    score, clip, passed = _unpacked(question, cursor, 3)
    numbers = isinstance(score, float) and isinstance(passed, int)
    if not numbers or not isinstance(clip, str) or not math.isfinite(score):
        raise _odd()
    if not 0 <= passed < _MOST_PASSED:
        raise _odd()
    return Place(score, clip, passed)


def of_path(question: str, path: str) -> str:
    return _packed([question, path])


def path(question: str, cursor: str) -> str:
    """Raises CursorError as `place` does."""
    (found,) = _unpacked(question, cursor, 1)
    if not isinstance(found, str):
        raise _odd()
    return found


def _packed(values: list[Any]) -> str:
    text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    raw = text.encode("utf-8", "surrogatepass")  # a path need not be UTF-8
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unpacked(question: str, cursor: str, count: int) -> list[Any]:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _odd() from error
    if not isinstance(values, list) or len(values) != count + 1:
        raise _odd()
    if values[0] != question:
        raise CursorError(
            "the cursor belongs to another question or another model: ask again without it"
        )
    return values[1:]


def _odd() -> CursorError:
    return CursorError("this is no cursor: use `next` of an answer as it is")
