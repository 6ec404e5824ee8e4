"""Filters: what is written is what is found, and what cannot be read is shown to the column."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2d_clap.index import Index
from m2d_clap.index.base import Base
from m2d_clap.index.clips import Clip, Clips
from m2d_clap.index.columns import Columns
from m2d_clap.index.filters import (
    LONGEST,
    All,
    AnyOf,
    Compare,
    Filter,
    FilterError,
    Not,
    OneOf,
    both,
    parse,
)
from m2d_clap.index.joined import Joined
from m2d_clap.index.milvus.expressions import fields
from m2d_clap.index.origin import Origin
from m2d_clap.index.texts import Texts

SOUNDS = (
    Clip("a", 1.0, ("birds/owl.WAV",), {"year": 1999, "by": "Ann"}),
    Clip("b", 5.0, ("birds/night/owl 2.mp3", "copies/x.ogg"), {"year": "1999"}),
    Clip("c", 9.5, ("rain.flac",), {"wet": True}),
    Clip("d", 0.5, ("birdsong/[x] 'q\".wav",)),
)


def found(text: str) -> str:
    """Ids of the sounds that a filter admits."""
    mask = Columns(Clips.of(SOUNDS)).mask(parse(text))
    return "".join(s.id for s, admitted in zip(SOUNDS, mask, strict=True) if admitted)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("seconds < 5", "ad"),
        ("seconds <= 5.0 and seconds > .5", "ab"),
        ("seconds in (1, 9.5, 3)", "ac"),
        ("seconds != 1", "bcd"),
        ('path = "rain.flac"', "c"),
        ('path ~ "BIRDS/*"', "ab"),
        ('path under "birds"', "ab"),
        ('path under "/birds/"', "ab"),
        ('path under ""', "abcd"),
        ('path under "rain.flac"', "c"),
        ('folder = ""', "c"),
        ('folder = "birds/night"', "b"),
        ('folder under "birds"', "ab"),
        ("name = 'owl.WAV'", "a"),
        ('format = "WAV"', "ad"),
        ('format in ("ogg", "flac")', "bc"),
        ('format != "ogg"', "acd"),
        ('not format = "mp3"', "acd"),
        ('id in ("a", "d", "z")', "ad"),
        ("metadata.year = 1999", "a"),
        ('metadata.year = "1999"', "b"),
        ("metadata.year != 1999", "bcd"),
        ("metadata.year < 2000", "a"),
        ('metadata.by ~ "an?"', "a"),
        ("metadata.wet = 1", ""),
        ("metadata.missing > 0", ""),
        ('seconds<2 AND(format="wav"OR path under "x")', "ad"),
        ('seconds < 2 or seconds > 9 and format = "wav"', "ad"),
        ("not not seconds < 1", "d"),
        ("not (seconds < 1 or seconds > 9)", "ab"),
        (r"""name = "[x] 'q\".wav" """, "d"),
        (r"""name ~ '[[]x] \'q".wav'""", "d"),
    ],
)
def test_a_filter_admits_what_it_says(text: str, ids: str) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1),
        ("   ", 1),
        ("secnds < 5", 1),
        ("seconds", 8),
        ("seconds < ", 10),
        ("seconds < five", 11),
        ('seconds < "5"', 11),
        ("seconds ~ 5", 9),
        ('path < "a"', 6),
        ("path = 5", 8),
        ("path = birds", 8),
        ('path = "birds', 8),
        (r'path = "a\n"', 8),
        ("seconds < 5 seconds > 1", 13),
        ("seconds < 5 and", 16),
        ("(seconds < 5", 13),
        ("seconds < 5)", 12),
        ("seconds in ()", 13),
        ("seconds in (1 2)", 15),
        ("seconds in 1", 12),
        ("seconds < 1e999", 11),
        ("seconds == 5", 10),
        ("metadata. = 1", 1),
        ("seconds < 5 & 1", 13),
        ('"seconds" < 5', 1),
        ('seconds "<" 5', 9),
    ],
)
def test_what_cannot_be_read_is_shown_to_the_column(text: str, column: int) -> None:
    with pytest.raises(FilterError, match=f"column {column}") as caught:
        parse(text)
    assert caught.value.column == column


def test_long_and_deep_filters_are_refused_before_they_cost_anything() -> None:
    with pytest.raises(FilterError, match="longer"):
        parse("not " * LONGEST)
    with pytest.raises(FilterError, match="levels"):
        parse("(" * 500 + "seconds < 1" + ")" * 500)
    assert parse("not " * 900 + "seconds < 1") == Compare("seconds", "<", 1.0)


texts = st.text(max_size=8)
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(Compare, st.just("seconds"), st.sampled_from(["<", "<=", "=", "!="]), st.floats(-9, 9)),
    st.builds(Compare, st.sampled_from(["path", "name"]), st.sampled_from(["=", "~", "under"]), texts),
    st.builds(OneOf, st.just("id"), st.lists(st.sampled_from("abcd"), min_size=1).map(tuple)),
)  # fmt: skip


def pair(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[tuple[Filter, ...]]:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Not, part), st.builds(All, pair(part)), st.builds(AnyOf, pair(part))
    ),
    max_leaves=8,
)


def written(tree: Filter) -> str:
    match tree:
        case Not(part):
            return f"not ({written(part)})"
        case All(parts):
            return " and ".join(f"({written(p)})" for p in parts)
        case AnyOf(parts):
            return " or ".join(f"({written(p)})" for p in parts)
        case OneOf(name, values):
            return f"{name} in ({', '.join(map(quoted, values))})"
        case Compare(name, operator, value):
            return f"{name} {operator} {quoted(value)}"


def quoted(value: str | float) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


@given(trees)
def test_a_written_tree_is_read_as_it_was_and_admits_what_logic_says(tree: Filter) -> None:
    assert parse(written(tree)) == tree
    columns = Columns(Clips.of(SOUNDS))
    assert np.array_equal(columns.mask(Not(tree)), ~columns.mask(tree))
    assert np.array_equal(columns.mask(All((tree, Not(tree)))), np.zeros(len(SOUNDS), bool))
    assert np.array_equal(columns.mask(AnyOf((tree, Not(tree)))), np.ones(len(SOUNDS), bool))


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_column_inside_it(text: str) -> None:
    try:
        Columns(Clips.of(SOUNDS)).mask(parse(text))
    except FilterError as error:
        assert 1 <= error.column <= len(text) + 1


def test_several_filters_hold_together_and_none_is_none() -> None:
    short, long = parse("seconds < 1"), parse("seconds > 9")
    assert both(None, None) is None
    assert both(short, None) == short
    assert both(short, long) == All((short, long))


def test_a_filter_reaches_the_vectors(tmp_path: Path) -> None:
    angles = np.linspace(0, 1, 40, dtype=np.float32)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    clips = [Clip(f"{n:02}", n, (f"{n:02}.wav",)) for n in range(20)]
    owners = [n // 2 for n in range(40)]
    base = Base.of(clips, owners, [(0.0, 1.0)] * 40, vectors)
    index = Index(tmp_path, Origin("f", Path("c"), Path("l")), base)
    hits = index.search(np.array([1, 0], np.float32), 3, parse("seconds >= 15"))
    assert [hit.clip.id for hit in hits] == ["15", "16", "17"]
    assert index.search(np.array([1, 0], np.float32), 3, parse("seconds < 0")) == []
    assert index.admitted(parse("seconds >= 15")).sum() == 5


def test_what_macos_writes_as_two_characters_is_the_one_that_people_type() -> None:
    path, by = normalize("NFD", "küche/töpfe.wav"), normalize("NFD", "Jürgen")
    clip = Clip("a", 1.0, (path,), {"by": by})
    columns = Columns(Clips.of([clip]))
    for text in (
        'path ~ "*KÜCHE*"',
        'path = "küche/töpfe.wav"',
        'path under "küche"',
        'folder in ("küche")',
        'name = "töpfe.wav"',
        'metadata.by = "Jürgen"',
    ):
        assert columns.mask(parse(text)).all()
        assert columns.mask(parse(normalize("NFD", text))).all()
    held = fields(clip)
    assert held["files"]["path"] == ["küche/töpfe.wav"]
    assert {"küche", "küche/töpfe.wav"} <= {*held["files"]["under"]}
    assert held["texts"] == {"by": "Jürgen"}
    assert clip.path == path, "as it is on disk"


def test_a_metadata_key_is_read_once_for_any_number_of_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    real = Clips.metadata

    def metadata(clips: Clips, key: str) -> Iterator[tuple[int, Any]]:
        asked.append(key)
        return real(clips, key)

    monkeypatch.setattr(Clips, "metadata", metadata)
    columns = Columns(Clips.of(SOUNDS))
    admitted = [
        columns.mask(parse(f"metadata.year {rest}")).tolist()
        for rest in ("= 1999", '= "1999"', "> 5", '~ "19*"', "in (1, 1999)", '< "2"', "= 7")
    ]
    number, text, none = [True, *[False] * 3], [False, True, False, False], [False] * 4
    assert admitted == [number, text, number, text, number, text, none]
    assert asked == ["year"]


def test_texts_on_disk_are_read_in_parts_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m2d_clap.index.texts._TOGETHER", 3)
    for count in range(8):
        written = [("ü" * n, "", "x")[n % 3] for n in range(count)]
        Texts.write(tmp_path, "some", written)
        assert [*Texts.open(tmp_path, "some")] == written


def test_long_tapes_are_found_without_fetching_all_their_windows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    real = Joined.nearest

    def nearest(joined: Joined, query: Any, fetch: int, admitted: Any) -> Any:
        fetched.append(fetch)
        return real(joined, query, fetch, admitted)

    monkeypatch.setattr(Joined, "nearest", nearest)
    vectors = np.random.default_rng(0).normal(size=(20 * 400, 8)).astype(np.float32)
    vectors[:400] = vectors[0] + 0.01 * vectors[:400]  # one clip's windows before all others
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    clips = [Clip(f"{n:02}", 4000.0, (f"{n:02}.wav",)) for n in range(20)]
    owners = [n // 400 for n in range(len(vectors))]
    base = Base.of(clips, owners, [(0.0, 10.0)] * len(vectors), vectors)
    index = Index(tmp_path, Origin("f", Path("c"), Path("l")), base)
    best = (vectors @ vectors[0]).reshape(20, 400).max(axis=1)
    hits = index.search(vectors[0], 3)
    assert [int(hit.clip.id) for hit in hits] == np.argsort(-best)[:3].tolist()
    assert fetched[0] < 30
