"""Filter → a boolean expression of Milvus that admits the same clips.

What Milvus cannot say as we mean it (`~` does not tell capitals from small letters and matches whole
texts) is answered from the clips' facts, and handed over as a list of ids. Numbers and texts of the
metadata lie in two fields of their own, so that a value of the other kind is a missing one, and a
missing one is told by `exists`: nothing is unknown to Milvus, and `not` means what it says.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from m2d_clap.index.clips import Clip
from m2d_clap.index.columns import OF_PATHS
from m2d_clap.index.filters import METADATA, All, AnyOf, Compare, Filter, Not, OneOf, Value, nfc

NOTHING = "position < -1"


def fields(clip: Clip) -> dict[str, Any]:
    """The columns that expressions name, of one clip."""
    paths = [*map(nfc, clip.paths)]
    of_paths = {name: [*map(of, paths)] for name, of in OF_PATHS.items()}
    below = {above for path in paths for above in _above(path)}
    known = {key: value for key, value in clip.metadata.items() if not isinstance(value, bool)}
    return {
        "clip": clip.id,
        "seconds": float(clip.seconds),
        "files": {**of_paths, "under": [*below, *paths], "folder_under": [*below]},
        "numbers": {k: float(v) for k, v in known.items() if isinstance(v, int | float)},
        "texts": {k: nfc(v) for k, v in known.items() if isinstance(v, str)},
    }


def expression(where: Filter, admits: Callable[[Filter], Iterable[str]]) -> str:
    """admits: the ids of all clips that a filter admits, for what cannot be said otherwise."""
    match where:
        case Not(part):
            return f"not ({expression(part, admits)})"
        case All(parts):
            return " and ".join(f"({expression(part, admits)})" for part in parts)
        case AnyOf(parts):
            return " or ".join(f"({expression(part, admits)})" for part in parts)
        case Compare(field, "!=", value):
            return f"not ({expression(Compare(field, '=', value), admits)})"
        case Compare(field, "=", value):
            said = _one_of(field, [value])
        case OneOf(field, values):
            said = _one_of(field, values)
        case Compare("path" | "folder" as field, "under", str(value)) if _plain(value):
            listed = "under" if field == "path" else "folder_under"
            said = f"json_contains(files[{quoted(listed)}], {quoted(value.strip('/'))})"
        case Compare("seconds", sign, value):
            said = f"seconds {sign} {value!r}"
        case Compare(field, "<" | "<=" | ">" | ">=" as sign, value) if _plain(value):
            said = _of_metadata(field, sign, value)
        case _:
            said = None
    return one_of("clip", admits(where)) if said is None else said


def one_of(field: str, texts: Iterable[str]) -> str:
    """That a text field is one of these."""
    listed = ", ".join(map(quoted, texts))
    return f"{field} in [{listed}]" if listed else NOTHING


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _one_of(field: str, values: Sequence[Value]) -> str | None:
    if not all(map(_plain, values)):
        return None
    texts = [value for value in values if isinstance(value, str)]
    if field == "seconds":
        return f"seconds in [{', '.join(repr(float(value)) for value in values)}]"
    if field == "id":
        return one_of("clip", texts)
    if field in OF_PATHS:
        return f"json_contains_any(files[{quoted(field)}], [{', '.join(map(quoted, texts))}])"
    return " or ".join(f"({_of_metadata(field, '==', value)})" for value in values)


def _of_metadata(field: str, sign: str, value: Value) -> str:
    column = "texts" if isinstance(value, str) else "numbers"
    given = quoted(value) if isinstance(value, str) else repr(value)
    held = f"{column}[{quoted(field.removeprefix(METADATA))}]"
    return f"exists {held} and {held} {sign} {given}"


def _plain(value: Value) -> bool:
    """Whether every parser reads it alike: no controls, no halves of characters."""
    return not isinstance(value, str) or value.isprintable()


def _above(path: str) -> Mapping[str, None]:
    """Every folder that a path lies in, the library itself too, which is nameless."""
    parts = path.split("/")[:-1]
    return dict.fromkeys("/".join(parts[:count]) for count in range(len(parts) + 1))
