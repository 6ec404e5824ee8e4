"""One index, two engines: FAISS in a folder and Milvus (embedded) answer every question alike."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from m2d_clap.index import Clip, Place, SearchIndex, live
from m2d_clap.index.catalogue import CATALOGUE_FILE, Catalogue
from m2d_clap.index.engines import Faiss, engine_at, open_index
from m2d_clap.index.errors import IndexUnreachableError, LibraryIndexError
from m2d_clap.index.exact import best_clips
from m2d_clap.index.filters import All, AnyOf, Compare, Filter, Not, OneOf, parse
from m2d_clap.index.hits import Hit
from m2d_clap.index.interface import Engine
from m2d_clap.index.live import Heard
from m2d_clap.index.milvus.address import parse as parse_address
from m2d_clap.index.moments import moments_of
from m2d_clap.index.origin import Origin
from m2d_clap.index.walk import File
from m2d_clap.index.windows import Embedded

DIM = 3


@dataclass(frozen=True)
class Sound:
    """What a test library is made of. vectors: of its windows, whole numbers."""

    id: str
    vectors: Sequence[tuple[float, ...]]
    seconds: float = 1.0
    paths: tuple[str, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)


SOUNDS = (
    Sound("a", [(1, 0, 0)], 1.0, ("birds/owl.WAV",), {"year": 1999, "by": "Ann"}),
    Sound("b", [(1, 1, 0)], 5.0, ("birds/night/owl 2.mp3", "copies/x.ogg"), {"year": "1999"}),
    Sound("c", [(1, 2, 0), (0, 0, 1)], 9.5, ("rain.flac",), {"wet": True, "place.lat": -60.5}),
    Sound("d", [(0, 1, 0)], 0.5, ("birdsong/[x] 'q\".wav",)),
)


def made(engine: Engine, sounds: Sequence[Sound]) -> SearchIndex:
    engine.folder.mkdir(parents=True, exist_ok=True)
    origin = Origin("f" * 64, Path("/model"), Path("/sounds"))
    with Catalogue.open(engine.folder / CATALOGUE_FILE) as catalogue:
        catalogue.claim(origin, engine.folder)
        said = {}
        paths = set()
        for sound in sounds:
            files = [File(path, 1, 1) for path in sound.paths or (f"{sound.id}.wav",)]
            vectors = np.array(sound.vectors, np.float32).reshape(-1, DIM)
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            catalogue.add(
                [(sound.id, n, Embedded(float(n), n + 1.0, v)) for n, v in enumerate(vectors)],
                [(sound.id, sound.seconds)],
                [(file, sound.id) for file in files],
            )
            said[files[0].path] = sound.said
            paths |= {file.path for file in files}
        catalogue.keep_only(paths)
        catalogue.tell(said)
        clips, windows = engine.write(catalogue, DIM, origin)
    index = engine.open()
    assert (len(index), index.windows) == (clips, windows)
    return index


@pytest.fixture(params=["faiss", "milvus"], scope="module")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An engine in a new folder, again and again."""
    if request.param == "milvus":
        pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
    scheme = {"faiss": "", "milvus": "milvus:"}[request.param]

    def new() -> Engine:
        return engine_at(f"{scheme}{tmp_path_factory.mktemp('index')}")

    return new


@pytest.fixture
def engine(places: Any) -> Engine:
    return places()  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def sounds(places: Any) -> SearchIndex:
    return made(places(), SOUNDS)


def ids(hits: Sequence[Any]) -> str:
    return "".join(hit.clip.id for hit in hits)


EVERYWHERE = np.array([3, 2, 1], np.float32)


@pytest.mark.parametrize(
    "text",
    [
        "seconds < 5",
        "seconds <= 5.0 and seconds > .5",
        "seconds in (1, 9.5, 3)",
        "seconds != 1",
        'path = "rain.flac"',
        'path ~ "BIRDS/*"',
        'path under "birds"',
        'path under "/birds/"',
        'path under ""',
        'path under "rain.flac"',
        'folder = ""',
        'folder under "birds"',
        'folder under "birds/night/owl 2.mp3"',
        'name under "rain.flac"',
        "name = 'owl.WAV'",
        'format in ("ogg", "flac")',
        'format != "ogg"',
        'not format = "mp3"',
        'id in ("a", "d", "z")',
        'id ~ "[AB]"',
        "metadata.year = 1999",
        'metadata.year = "1999"',
        "metadata.year != 1999",
        "metadata.year < 2000",
        "not metadata.year < 2000",
        'metadata.year in (1999, "1999")',
        'metadata.year >= "1"',
        'metadata.by ~ "an?"',
        'not metadata.by ~ "an?"',
        "metadata.wet = 1",
        "metadata.place.lat < -60",
        "metadata.missing > 0",
        "not metadata.missing > 0",
        'seconds<2 AND(format="wav"OR path under "x")',
        'seconds < 2 or seconds > 9 and format = "wav"',
        "not (seconds < 1 or seconds > 9)",
        r"""name = "[x] 'q\".wav" """,
        r"""name ~ '[[]x] \'q".wav'""",
    ],
)
def test_a_filter_admits_the_same_in_a_search_a_count_and_a_list(
    sounds: SearchIndex, text: str
) -> None:
    where = parse(text)
    listed = [c.id for c, there in zip(sounds.clips, sounds.admitted(where), strict=True) if there]
    assert sorted(ids(sounds.search(EVERYWHERE, 9, where))) == sorted(listed)
    assert sounds.count(where) == len(listed)


texts = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["", "birds", "owl.WAV", "wav", "rain.flac", "Ann", "1999", "*l*", "birds/*"]),
)
numbers = st.one_of(st.floats(-9, 9), st.sampled_from([1999.0, 0.5, -60.5, 1.0]))
FIELDS = ["path", "name", "folder", "format", "id", "metadata.by", "metadata.year"]
leaves: st.SearchStrategy[Filter] = st.one_of(
    st.builds(
        Compare, st.sampled_from(["seconds", "metadata.year", "metadata.place.lat"]),
        st.sampled_from(["<", "<=", "=", "!=", ">", ">="]), numbers,
    ),
    st.builds(Compare, st.sampled_from(FIELDS), st.sampled_from(["=", "!=", "~", "under"]), texts),
    st.builds(Compare, st.just("metadata.by"), st.sampled_from(["<", ">="]), texts),
    st.builds(
        OneOf, st.sampled_from(FIELDS), st.lists(texts, min_size=1, max_size=3).map(tuple)
    ),
)  # fmt: skip


def several(parts: st.SearchStrategy[Filter]) -> st.SearchStrategy[tuple[Filter, ...]]:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.builds(Not, part), st.builds(All, several(part)), st.builds(AnyOf, several(part))
    ),
    max_leaves=8,
)
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(where=trees)
def test_every_filter_finds_what_it_lists(sounds: SearchIndex, where: Filter) -> None:
    listed = {c.id for c, there in zip(sounds.clips, sounds.admitted(where), strict=True) if there}
    assert {*ids(sounds.search(EVERYWHERE, 9, where))} == listed


@st.composite
def libraries(draw: st.DrawFn) -> list[Sound]:
    """Vectors of whole numbers, so that many scores are equal; names in no order."""
    count = draw(st.integers(1, 8))
    number = st.integers(-2, 2)
    window = st.tuples(*[number] * DIM)
    vectors = draw(
        st.lists(st.lists(window, min_size=1, max_size=5), min_size=count, max_size=count)
    )
    names = draw(st.permutations([f"{n:02}" for n in range(count)]))
    return [Sound(name, rows) for name, rows in zip(names, vectors, strict=True)]


def pages(index: SearchIndex, query: NDArray[np.float32], k: int) -> Iterator[list[Any]]:
    page, passed = index.search(query, k), 0
    while page:
        yield page
        passed += len(page)
        page = index.search(query, k, after=Place(page[-1].score, page[-1].clip.id, passed))


@settings(quick, max_examples=15)
@given(
    library=libraries(),
    question=st.tuples(*[st.integers(-3, 3)] * DIM),
    k=st.integers(1, 4),
    least=st.floats(-1, 1),
    data=st.data(),
)
def test_hits_are_those_of_brute_force_however_they_are_paged_and_shortened(
    places: Any,
    library: list[Sound],
    question: tuple[int, ...],
    k: int,
    least: float,
    data: st.DataObject,
) -> None:
    index = made(places(), library)
    query = np.array(question, np.float32)
    whole = index.search(query, len(library))
    assert [(-h.score, h.clip.id) for h in whole] == sorted((-h.score, h.clip.id) for h in whole)
    rows = np.array([row for sound in library for row in sound.vectors], np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    owners = np.repeat(np.arange(len(library)), [len(sound.vectors) for sound in library])
    best = {library[n].id: score for n, score, _ in best_clips(rows, owners, query, len(library))}
    assert {hit.clip.id: pytest.approx(hit.score, abs=1e-6) for hit in whole} == best
    unit = query / max(float(np.linalg.norm(query)), 1e-12)
    assert index.vectors(whole) @ unit == pytest.approx([hit.score for hit in whole], abs=1e-6)
    assert ids([hit for page in pages(index, query, k) for hit in page]) == ids(whole)
    out = frozenset(data.draw(st.lists(st.sampled_from([sound.id for sound in library]))))
    kept = [h for h in whole if h.score >= np.float32(least) and h.clip.id not in out]
    assert ids(index.search(query, 3, least=least, leave_out=out)) == ids(kept[:3])


def test_a_page_goes_on_behind_its_last_hit_when_clips_came_and_went(engine: Engine) -> None:
    angles = np.linspace(0, 1, 20)
    every = [Sound(f"{n:02}", [(np.cos(a), np.sin(a), 0)]) for n, a in enumerate(angles)]
    query = np.array([1, 0, 0], np.float32)
    first = made(engine, every[::2]).search(query, 3)
    assert [hit.clip.id for hit in first] == ["00", "02", "04"]
    after = made(engine, [every[n] for n in (0, 1, 5, 6, 7, 8, 9)])
    then = after.search(query, 3, after=Place(first[-1].score, "04", 3))
    assert [hit.clip.id for hit in then] == ["05", "06", "07"]


def test_a_clip_of_many_windows_does_not_hide_the_others(engine: Engine) -> None:
    long = Sound("long", [(1, 0, 0.001 * n) for n in range(300)])
    index = made(engine, [long, Sound("near", [(1, 1, 0)]), Sound("far", [(0, 1, 0)])])
    hits = index.search(np.array([1, 0, 0], np.float32), 3)
    assert [hit.clip.id for hit in hits] == ["long", "near", "far"]
    assert (hits[0].start, hits[0].end) == (0.0, 1.0)


BARKS = Sound("tape", [(0.2, 1, 0), (1, 0.1, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)], 5.0)


def test_every_moment_of_a_recording_is_told_best_first(engine: Engine) -> None:
    index = made(engine, [BARKS, Sound("near", [(1, 1, 0)])])
    query = np.array([2, 0, 0], np.float32)
    hits = index.search(query, 2)
    tape, near = index.moments(hits, query, 3)
    assert [(hit.start, hit.end) for hit in tape] == [(3.0, 4.0), (1.0, 2.0), (0.0, 1.0)]
    assert near == [hits[1]] and tape[0] == hits[0]
    assert index.vectors(tape) @ query / 2 == pytest.approx([hit.score for hit in tape])
    assert [hit.start for hit in index.moments(hits, query, 3, least=0.9)[0]] == [3.0, 1.0]
    assert [hit.start for hit in index.moments(hits, query, 100, least=1.0)[0]] == [3.0]
    assert len(index.moments(hits, query, 100)[0]) == 5
    assert index.moments([], query, 2) == []


def test_moments_of_many_recordings_are_those_of_each(engine: Engine) -> None:
    """One with many near windows does not take them from the others."""
    random = np.random.default_rng(0)
    tapes = [Sound("near", [(1, 0, 0.01 * n) for n in range(40)], 40.0)]
    for name in "abcd":
        windows = [tuple(map(float, row)) for row in random.normal(size=(20, DIM))]
        tapes.append(Sound(name, windows, 20.0))
    index = made(engine, tapes)
    query = np.array([1, 2, 3], np.float32)
    hits = index.search(query, 5)
    for hit, told in zip(hits, index.moments(hits, query, 4), strict=True):
        _, vectors = index.along(hit.clip)
        best = np.sort(vectors @ query / np.linalg.norm(query))[::-1][:4]
        assert [each.score for each in told] == pytest.approx(best.tolist(), abs=1e-6)
        assert {each.clip.id for each in told} == {hit.clip.id}


def test_the_end_of_a_recording_is_not_told_twice() -> None:
    tape = Clip("tape", 14.0, ("tape.wav",))
    own = Hit(tape, 0.5, 0.0, 10.0, 0)
    end = Hit(tape, 0.4, 4.0, 14.0, 1)
    assert moments_of([own], lambda _, __: [[own, end]], 5, None) == [[own]]
    apart = Hit(tape, 0.4, 6.0, 14.0, 1)
    assert moments_of([own], lambda _, __: [[own, apart]], 5, None) == [[own, apart]]
    assert moments_of([own], lambda _, __: [[own, apart]], 1, None) == [[own]]


def test_a_moment_that_an_index_that_is_not_exact_missed_comes_behind_the_hit() -> None:
    tape = Clip("tape", 30.0, ("tape.wav",))
    own, missed = Hit(tape, 0.5, 0.0, 10.0, 0), Hit(tape, 0.9, 20.0, 30.0, 2)
    assert moments_of([own], lambda _, __: [[missed, own]], 5, None) == [[own, missed]]


def test_one_moment_of_a_clip_has_the_vector_of_its_window(engine: Engine) -> None:
    index = made(engine, [BARKS])
    (clip,) = index.clips
    assert index.vector(clip, 3.0) == pytest.approx([1, 0, 0])
    assert index.vector(clip, 2.999) == pytest.approx([0, 1, 0])
    assert index.vector(clip, 1e9) == pytest.approx([0, 0, 1])
    assert index.vector(clip)[0] == pytest.approx(0.689, abs=1e-3)
    times, vectors = index.along(clip)
    assert times.tolist() == [[n, n + 1] for n in range(5)]
    assert vectors[[2, 3, 4]] == pytest.approx(np.array([(0, 1, 0), (1, 0, 0), (0, 0, 1)]))


def heard(number: int, **known: Any) -> tuple[Heard, io.BytesIO]:
    vector = np.zeros(DIM, np.float32)
    vector[number % DIM] = 1
    sound = Heard(
        f"{number:064x}"[::-1], "dog.wav", 1.5, [Embedded(0.0, 1.5, vector)], known, "f" * 64
    )
    return sound, io.BytesIO(b"bytes %d" % number)


def test_a_clip_is_in_milvus_when_its_first_window_is() -> None:
    pytest.importorskip("pymilvus")
    from m2d_clap.index.milvus.collection import _rows as rows

    clip = Clip("c" * 16, 30.0, ("a.wav",))
    windows = [
        Embedded(10.0 * n, 10.0 * n + 10, np.eye(DIM, dtype=np.float32)[n]) for n in range(3)
    ]
    assert [row["position"] for row in rows(clip, windows)] == [2, 1, 0]


def test_what_is_added_and_deleted_is_searched_at_once_and_kept_by_every_later_run(
    engine: Engine,
) -> None:
    before = made(engine, SOUNDS)
    sound, file = heard(2, title="Rex", loud=True)
    assert live.add(engine.folder, sound, file) and live.delete(engine.folder, "b")
    assert len(before) == 4 and before.refreshed() is not before
    with Catalogue.open(engine.folder / CATALOGUE_FILE) as catalogue:
        origin = catalogue.origin()
    assert origin is not None
    for again in (False, True):
        if again:
            with Catalogue.open(engine.folder / CATALOGUE_FILE) as catalogue:
                assert engine.write(catalogue, DIM, origin) == (4, 5)
        index = engine.open()
        assert index.changes == 2 and index.refreshed() is index
        assert (len(index), index.windows, index.seconds) == (4, 5, 12.5)
        query = np.array([0, 0, 1], np.float32)
        (hit,) = index.search(query, 1, parse("metadata.title = 'Rex' and metadata.loud != 1"))
        assert hit.clip.id == sound.id and hit.score == pytest.approx(1) and hit.end == 1.5
        assert index.clip("b") is None and index.clip(sound.id) == hit.clip
        (stored,) = index.files(hit.clip)
        assert stored.read_bytes() == b"bytes 2"
        paths = [clip.path for clip in index.clips]
        assert paths == sorted(paths) and paths[-1] == f"uploads/{sound.id}/dog.wav"
    live.delete(engine.folder, sound.id)
    assert index.refreshed().clip(sound.id) is None and index.refreshed().count(None) == 3


def test_another_run_brings_what_is_new_and_takes_away_what_is_gone(engine: Engine) -> None:
    first = made(engine, SOUNDS[:3])
    moved = Sound("a", SOUNDS[0].vectors, 1.0, ("elsewhere.wav",), {"year": 2000})
    index = made(engine, [moved, *SOUNDS[2:]])
    assert index.generation == first.generation + 1
    assert {clip.id: clip.paths[0] for clip in index.clips} == {
        "a": "elsewhere.wav",
        "c": "rain.flac",
        "d": SOUNDS[3].paths[0],
    }
    assert ids(index.search(EVERYWHERE, 9, parse("metadata.year = 2000"))) == "a"
    assert len(made(engine, [])) == 0 and engine.open().search(EVERYWHERE, 3) == []


def test_relevance_is_learned_from_the_same_windows(
    places: Any, sounds: SearchIndex, tmp_path: Path
) -> None:
    plain = made(Faiss(tmp_path / "plain"), SOUNDS)
    assert sounds.calibration is not None and plain.calibration is not None
    assert sounds.calibration.slope == pytest.approx(plain.calibration.slope, rel=1e-4)
    vectors, owners = sounds.sample()
    assert vectors == pytest.approx(plain.sample()[0]) and list(owners) == list(plain.sample()[1])
    assert sounds.means() == pytest.approx(plain.means(), abs=1e-6)
    assert sounds.means(slice(1, 3)) == pytest.approx(plain.means()[1:3], abs=1e-6)
    (rain,) = [clip for clip in sounds.clips if clip.id == "c"]
    assert sounds.vector(rain) == pytest.approx(plain.vector(rain), abs=1e-6)


def test_questions_without_an_answer_are_refused(sounds: SearchIndex) -> None:
    with pytest.raises(LibraryIndexError, match="at least one"):
        sounds.search(EVERYWHERE, 0)
    with pytest.raises(LibraryIndexError, match="4 numbers"):
        sounds.search(np.ones(4, np.float32))
    with pytest.raises(LibraryIndexError, match="not finite"):
        sounds.search(np.array([1, np.nan, 0], np.float32))
    with pytest.raises(LibraryIndexError, match="another checkpoint"):
        sounds.check_model("e" * 64, Path("other"))
    assert sounds.clip("no such") is None


def test_where_no_index_is_the_command_that_makes_one_is_told(engine: Engine) -> None:
    assert not engine.there()
    with pytest.raises(LibraryIndexError, match="m2d-clap index"):
        engine.open()


def test_milvus_is_asked_for_all_that_it_can_say_itself() -> None:
    from m2d_clap.index.milvus.expressions import expression

    def never(where: Filter) -> list[str]:
        raise AssertionError(f"{where} was answered by a list of ids")

    for text in (
        'seconds < 5 and not (path under "birds" or format in ("ogg", "flac"))',
        'metadata.year >= 1999 and metadata.by != "Ann" or folder = "a" and name = "b"',
        'id in ("a", "b") and metadata.year in (1999, "1999")',
    ):
        assert "in [" in expression(parse(text), never) or "json_contains" in expression(
            parse(text), never
        )
    assert expression(parse('path ~ "a*"'), lambda _: ["x", "y"]) == 'clip in ["x", "y"]'


@pytest.mark.parametrize(
    ("text", "uri", "name", "folder"),
    [
        ("milvus://db/sounds", "http://db:19530", "sounds", "sounds.index"),
        ("milvus+tls://ann:p%40ss@db:443/s?folder=/x/y", "https://db:443", "s", "/x/y"),
        ("milvus:a/b", "a/b/milvus.db", "clips", "a/b"),
        ("milvus:///a/b", "/a/b/milvus.db", "clips", "/a/b"),
    ],
)
def test_an_address_says_where_the_vectors_and_the_catalogue_are(
    text: str, uri: str, name: str, folder: str
) -> None:
    address = parse_address(text)
    assert (address.uri, address.collection, address.folder) == (uri, name, Path(folder))
    assert "p@ss" not in address.text and "p%40ss" not in address.text
    assert address.token == ("ann:p@ss" if "ann" in text else "")


@pytest.mark.parametrize(
    "text", ["milvus:", "milvus://db", "milvus://db/a-b", "milvus://db:x/s", "milvus://db/s?a=b"]
)
def test_an_address_that_cannot_be_read_is_refused_with_one_that_can(text: str) -> None:
    with pytest.raises(LibraryIndexError, match="milvus://HOST:PORT/NAME"):
        parse_address(text)


def test_a_folder_of_any_name_is_a_folder() -> None:
    assert engine_at("milvus") == Faiss(Path("milvus"))
    assert engine_at(Path("milvus:x")) == Faiss(Path("milvus:x"))


def test_a_service_that_is_not_there_is_told_apart_from_a_broken_index() -> None:
    pytest.importorskip("pymilvus")
    with pytest.raises(IndexUnreachableError, match=r"milvus://127\.0\.0\.1:9/sounds"):
        open_index("milvus://127.0.0.1:9/sounds")
