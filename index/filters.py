"""What a clip must be to be found: a small expression language, parsed into frozen values.

    seconds < 5 and path ~ "birds/*" and not format = "mp3"

    expression = conjunction { "or" conjunction }
    conjunction = term { "and" term }
    term       = "not" term | "(" expression ")" | comparison
    comparison = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
               | field "~" text          (a pattern: * any characters, ? one, [ab] either)
               | field "under" text      (in this folder, or below it)
               | field "in" "(" value { "," value } ")"
    value      = text in "…" or '…', with \\" \\' \\\\ inside | number

Fields: `id`, `path`, `folder`, `name` (the file's), `format` (its extension in small letters, no
dot), `seconds`, and `metadata.KEY`. Words of the language may be written in capitals. `~` and
`format` do not tell capitals from small letters; everything else does. A comparison holds for a clip
that lies in several files when it holds for one of them; `!=` is `not … =`. A metadata key that a
clip lacks, or whose value is of the other kind, equals nothing. Texts are compared as NFC: what macOS
writes as two characters is the one that people type.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from m2d_clap.index.errors import LibraryIndexError

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "~", "under"]
Value = str | float

TEXTS = ("id", "path", "folder", "name", "format")
NUMBERS = ("seconds",)
METADATA = "metadata."
LONGEST = 4000
_DEEPEST = 40
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')
      | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[A-Za-z_][\w.-]*)
      | (?P<sign><=|>=|!=|[=<>~(),])
    )""",
    re.VERBOSE | re.ASCII,
)


def nfc(text: str) -> str:
    """A text whose letters are one character each where Unicode has one."""
    return unicodedata.normalize("NFC", text)


class FilterError(LibraryIndexError):
    """A filter that cannot be read. column: of the first character that does not fit, from 1."""

    def __init__(self, column: int, reason: str) -> None:
        super().__init__(f"the filter cannot be read at column {column}: {reason}")
        self.column = column


def _composed(value: Value) -> Value:
    return nfc(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Compare:
    """A field against one value."""

    field: str
    operator: Operator
    value: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _composed(self.value))


@dataclass(frozen=True)
class OneOf:
    """A field that equals one of the values."""

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(map(_composed, self.values)))


@dataclass(frozen=True)
class Not:
    part: "Filter"


@dataclass(frozen=True)
class All:
    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class AnyOf:
    parts: tuple["Filter", ...]


Filter = Compare | OneOf | Not | All | AnyOf


def parse(text: str) -> Filter:
    """The tree of an expression. Raises FilterError."""
    if len(text) > LONGEST:
        raise FilterError(LONGEST + 1, f"it is longer than {LONGEST} characters")
    return _Parser(text).whole()


def both(*filters: Filter | None) -> Filter | None:
    """What satisfies every filter that is given; None without any."""
    given = tuple(f for f in filters if f is not None)
    return All(given) if len(given) > 1 else given[0] if given else None


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> Filter:
        found = self._expression()
        if self._next.kind != "end":
            raise self._unexpected("`and`, `or` or the end")
        return found

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _expression(self) -> Filter:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise FilterError(self._next.column, f"more than {_DEEPEST} levels are inside others")
        parts = [self._conjunction()]
        while self._took("or"):
            parts.append(self._conjunction())
        self._depth -= 1
        return AnyOf(tuple(parts)) if len(parts) > 1 else parts[0]

    def _conjunction(self) -> Filter:
        parts = [self._term()]
        while self._took("and"):
            parts.append(self._term())
        return All(tuple(parts)) if len(parts) > 1 else parts[0]

    def _term(self) -> Filter:
        denied = 0
        while self._took("not"):
            denied += 1
        if self._took("("):
            found = self._expression()
            self._expect(")")
        else:
            found = self._comparison()
        return Not(found) if denied % 2 else found

    def _comparison(self) -> Filter:
        field = self._field()
        token = self._next
        operator = token.text.lower()
        if self._took("in"):
            self._expect("(")
            values = [self._value(field)]
            while self._took(","):
                values.append(self._value(field))
            self._expect(")")
            return OneOf(field, tuple(values))
        if operator not in Operator.__args__ or token.kind == "text":  # type: ignore[attr-defined]
            raise self._unexpected("one of = != < <= > >= ~ under in")
        number, text = field in NUMBERS, field in TEXTS
        if (text and operator in ("<", "<=", ">", ">=")) or (number and operator in ("~", "under")):
            kind = "text" if text else "a number"
            raise FilterError(
                token.column, f"{field} is {kind}, for which {operator} has no meaning"
            )
        self._at += 1
        value = self._value("path" if operator in ("~", "under") else field)
        return Compare(field, operator, value)  # type: ignore[arg-type]

    def _field(self) -> str:
        token = self._next
        known = token.text in (*TEXTS, *NUMBERS) or (
            token.text.startswith(METADATA) and len(token.text) > len(METADATA)
        )
        if token.kind != "word" or not known:
            names = ", ".join((*TEXTS, *NUMBERS, f"{METADATA}KEY"))
            raise self._unexpected(f"`not`, `(` or one of the fields {names}")
        self._at += 1
        return token.text

    def _value(self, field: str) -> Value:
        token = self._next
        if token.kind == "text" and field not in NUMBERS:
            self._at += 1
            plain = re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
            return plain.lower() if field == "format" else plain
        if token.kind == "number" and field not in TEXTS:
            number = float(token.text)
            if not math.isfinite(number):
                raise FilterError(token.column, "the number is too large")
            self._at += 1
            return number
        either = {True: "a number", False: 'a text in "quotes"'}
        kind = either[field in NUMBERS]
        raise self._unexpected(
            kind if field in (*TEXTS, *NUMBERS) else " or ".join(either.values())
        )

    def _took(self, word: str) -> bool:
        token = self._next
        if token.kind in ("word", "sign") and token.text.lower() == word:
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            raise self._unexpected(f"`{sign}`")

    def _unexpected(self, wanted: str) -> FilterError:
        token = self._next
        found = "it ends" if token.kind == "end" else f"here stands {token.text[:40]}"
        return FilterError(token.column, f"{wanted} must follow, but {found}")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:]
            column = at + len(rest) - len(rest.lstrip()) + 1
            odd = text[column - 1]
            reason = (
                "a text begins here that never ends, or holds an unknown \\ sequence"
                if odd in "\"'"
                else f"{odd} has no meaning here"
            )
            raise FilterError(column, reason)
        kind = str(match.lastgroup)
        yield _Token(kind, match[kind], match.start(kind) + 1)
        at = match.end()
    yield _Token("end", "", end + 1)
