"""Long recordings: several moments of one, one moment as an example, tags out of the index."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.index import Clip, Index
from m2d_clap.service.cli import build as cli
from m2d_clap.service.client import Client, RefusedError


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[Client]:
    with Client(served) as client:
        yield client


@pytest.fixture(scope="module")
def index(served_folder: Path) -> Index:
    return Index.open(served_folder / "index")


@pytest.fixture(scope="module")
def long(index: Index) -> Clip:
    """Of 25 s."""
    return next(clip for clip in index.clips if clip.seconds > 20)


def wav(hz: float) -> bytes:
    file = io.BytesIO()
    times = np.arange(16000) / 16000
    wavfile.write(file, 16000, (0.4 * np.sin(2 * np.pi * hz * times)).astype(np.float32))
    return file.getvalue()


def refusal(error: pytest.ExceptionInfo[RefusedError]) -> tuple[int, str]:
    return error.value.status, error.value.type


def test_a_recording_is_found_with_all_its_moments(client: Client, long: Clip) -> None:
    (hit,) = client.search_text("a beep", within=[long.id], moments=5).hits
    assert hit.moments is not None
    assert sorted(each.start for each in hit.moments) == [0.0, 10.0, 15.0]
    scores = [each.score for each in hit.moments]
    assert scores == sorted(scores, reverse=True) and len({*scores}) == 3
    best, second, _ = hit.moments
    told = (hit.score, hit.relevance, hit.start, hit.end)
    assert (best.score, best.relevance, best.start, best.end) == told
    narrow = {"within": [long.id], "moments": 5}
    (above,) = client.search_text("a beep", min_score=second.score - 1e-6, **narrow).hits
    assert above.moments == [best, second]
    (above,) = client.search_text("a beep", min_relevance=best.relevance, **narrow).hits
    assert above.moments == [best]
    page = client.search_audio(wav(500), moments=2)
    assert [len(each.moments or []) for each in page.hits] == [
        2 if each.id == long.id else 1 for each in page.hits
    ]
    mixed = client.search({"a beep": 1.0}, sounds=[(wav(500), 0.5)], k=3, moments=2)
    assert all(each.moments and each.moments[0].relevance == each.relevance for each in mixed.hits)
    assert client.search_text("a beep").hits[0].moments is None
    for ask in (
        lambda: client.search_text("a beep", k=1000, moments=11),
        lambda: client.search_audio(wav(500), k=1000, moments=11),
        lambda: client.similar(long.id, k=1000, moments=11),
    ):
        with pytest.raises(RefusedError, match="ask in pages") as error:
            ask()
        assert refusal(error) == (422, "/problems/invalid-request")


def test_one_moment_of_a_clip_can_be_what_others_shall_sound_like(
    client: Client, index: Index, long: Clip
) -> None:
    moment = index.search(index.vector(long, 15.0), 4)
    expected = [hit.score for hit in moment if hit.clip.id != long.id][:3]
    similar = client.similar(long.id, at=15.0, k=3)
    parts = client.search(clips={long.id: 1.0}, at={long.id: 15.0}, k=3)
    for found in (similar, parts):
        assert [hit.score for hit in found.hits] == pytest.approx(expected, abs=1e-6)
    assert [hit.id for hit in similar.hits] == [hit.id for hit in parts.hits]
    below = client.similar(long.id, within="high")
    assert below.total == 4
    assert all(any(path.startswith("high/") for path in hit.paths) for hit in below.hits)
    whole = client.similar(long.id, k=3)
    assert [hit.score for hit in whole.hits] != pytest.approx(expected, abs=1e-6)
    with pytest.raises(RefusedError, match="another question"):
        client.similar(long.id, at=0.0, cursor=similar.next)
    with pytest.raises(RefusedError) as error:
        client.similar(long.id, at=-1.0)
    assert refusal(error) == (422, "/problems/invalid-request")
    with pytest.raises(ValueError, match="is not among clips"):
        client.search(texts={"a beep": 1.0}, at={long.id: 15.0})


def test_a_clip_is_tagged_by_what_its_index_holds(
    client: Client, served_folder: Path, long: Clip
) -> None:
    file = served_folder / "library" / "low" / "tone 500.wav"
    uploaded, kept = client.tags(file, k=5), client.clip_tags(long.id, k=5, timeline=True)
    assert [tag.name for tag in kept.tags] == [tag.name for tag in uploaded.tags]
    assert [tag.score for tag in kept.tags] == pytest.approx(
        [tag.score for tag in uploaded.tags], abs=1e-4
    )
    assert kept.timeline is not None
    assert [(m.start, m.end) for m in kept.timeline] == [(0, 10), (10, 20), (15, 25)]
    named = client.clip_tags(long.id, ["a tone, low", "rain"])
    assert {tag.name for tag in named.tags} == {"a tone, low", "rain"} and named.timeline is None
    with pytest.raises(RefusedError) as error:
        client.clip_tags("nobody")
    assert refusal(error) == (404, "/problems/unknown-clip")


def test_the_search_command_tells_several_moments(served: str, served_folder: Path) -> None:
    words = ["a beep", "--filter", "seconds > 20", "--moments", "3"]
    for place in (["--server", served], [str(served_folder / "index")]):
        result = CliRunner().invoke(cli(), ["search", *place, *words, "--json"])
        (row,) = json.loads(result.stdout)["hits"]
        assert sorted(each["start"] for each in row["moments"]) == [0.0, 10.0, 15.0]
        assert row["moments"][0] == {name: row[name] for name in ("score", "start", "end")}
        table = CliRunner().invoke(cli(), ["search", *place, *words]).stdout
        assert table.count("tone 500.wav") == 1 and "0:15.0–0:25.0" in table
