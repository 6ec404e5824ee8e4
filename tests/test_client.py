"""Every route, asked by our own client: searches, pages, tags along time, vectors, pictures, map."""

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.index import Index
from m2d_clap.model import Checkpoint, Clap, read_audio
from m2d_clap.service import cursors
from m2d_clap.service.cli import build as cli
from m2d_clap.service.client import AsyncClient, Client, ClientError, RefusedError
from m2d_clap.service.errors import CursorError
from m2d_clap.service.schemas import Hits, Narrowed


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[Client]:
    with Client(served) as client:
        yield client


@pytest.fixture(scope="module")
def index(served_folder: Path) -> Index:
    return Index.open(served_folder / "index")


@pytest.fixture(scope="module")
def clap(served_folder: Path) -> Clap:
    return Checkpoint.load(served_folder / "tiny").clap()


def wav(hz: float, seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    moments = np.arange(int(16000 * seconds)) / 16000
    wavfile.write(file, 16000, (0.4 * np.sin(2 * np.pi * hz * moments)).astype(np.float32))
    return file.getvalue()


def ids(found: Hits) -> list[str]:
    return [hit.id for hit in found.hits]


def refusal(error: pytest.ExceptionInfo[RefusedError]) -> tuple[int, str]:
    return error.value.status, error.value.type


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def test_pages_of_a_search_are_the_whole_list_and_foreign_cursors_are_refused(
    client: Client,
) -> None:
    whole = client.search_text("a beep", k=100)
    assert whole.next is None and whole.total == len(whole.hits) == 8
    paged, cursor = [], None
    while True:
        page = client.search_text("a beep", k=3, cursor=cursor)
        paged += ids(page)
        cursor = page.next
        if cursor is None:
            break
    assert paged == ids(whole)
    first = client.search_text("a beep", k=3).next
    for question in ({"query": "a boop"}, {"query": "a beep", "filter": "seconds > 1"}):
        with pytest.raises(RefusedError) as error:
            client.search_text(k=3, cursor=first, **question)
        assert refusal(error) == (422, "/problems/invalid-cursor")
    odd = ["x", "AAAA", base64.urlsafe_b64encode(b"[" * 600).decode()]
    for cursor in odd:
        with pytest.raises(RefusedError) as error:
            client.search_text("a beep", cursor=cursor)
        assert refusal(error) == (422, "/problems/invalid-cursor")
    with pytest.raises(RefusedError) as error:
        client.search_text("a beep", cursor="é")
    assert refusal(error) == (422, "/problems/invalid-request")


def test_filters_folders_ids_and_least_scores_narrow_a_search(client: Client) -> None:
    whole = client.search_text("a beep", k=100)
    deep = client.search_text("a beep", filter='path under "low/deep"')
    assert {hit.path for hit in deep.hits} == {"low/deep/tone 200.wav", "low/deep/tone 300.wav"}
    assert deep.total == 2
    assert ids(client.search_text("a beep", within="low/deep")) == ids(deep)
    assert set(ids(client.search_text("a beep", within=[*ids(deep), "none"]))) == set(ids(deep))
    assert client.search_text("a beep", within=[]).hits == []
    limit = whole.hits[3].score
    assert ids(client.search_text("a beep", min_score=limit)) == ids(whole)[:4]
    relevant = client.search_text("a beep", min_relevance=whole.hits[2].relevance)
    assert ids(relevant) == ids(whole)[:3] and relevant.next is None
    with pytest.raises(RefusedError, match="column 11") as error:
        client.search_text("a beep", filter="seconds < five")
    assert refusal(error) == (422, "/problems/invalid-filter")


def test_relevance_is_read_beside_the_score_and_falls_with_it(client: Client) -> None:
    assert client.index().relevance == ["text", "sound"]
    for found in (client.search_text("a beep"), client.search_audio(wav(500))):
        relevances = [hit.relevance for hit in found.hits]
        assert all(value is not None and 0 <= value <= 1 for value in relevances)
        assert relevances == sorted(relevances, key=lambda value: -(value or 0))
        assert relevances[0] != relevances[-1]


def test_what_shall_not_be_heard_is_subtracted_with_half_the_weight(
    client: Client, index: Index, clap: Clap
) -> None:
    both = unit(clap.embed_text(["a beep", "a hum"]).numpy())
    expected = index.search(both[0] - 0.5 * both[1], 8)
    found = client.search_text("a beep", ["a hum"])
    assert ids(found) == [hit.clip.id for hit in expected]
    scores = [hit.score for hit in found.hits]
    assert scores == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_texts_clips_and_uploads_are_added_by_their_weights(
    client: Client, index: Index, clap: Clap, tmp_path: Path
) -> None:
    like = next(clip for clip in index.clips if "1200" in clip.path)
    unlike = next(clip for clip in index.clips if "200" in clip.path and clip is not like)
    file = tmp_path / "x.wav"
    file.write_bytes(wav(700))
    sound = clap.embed_audio([read_audio(file, 16000)]).numpy()
    text = clap.embed_text(["rain"]).numpy()
    question = (
        2.0 * unit(text)[0] + index.vector(like) - 0.5 * index.vector(unlike) + 1.5 * unit(sound)[0]
    )
    out = frozenset([like.id, unlike.id])
    expected = index.search(question, 8, leave_out=out)
    found = client.search({"rain": 2.0}, {like.id: 1.0, unlike.id: -0.5}, [(file, 1.5)])
    assert ids(found) == [hit.clip.id for hit in expected]
    scores = [hit.score for hit in found.hits]
    assert scores == pytest.approx([hit.score for hit in expected], abs=1e-4)
    assert all(hit.relevance is not None for hit in found.hits)
    paged = client.search({"rain": 2.0}, {like.id: 1.0, unlike.id: -0.5}, [(file, 1.5)], k=2)
    then = client.search(
        {"rain": 2.0}, {like.id: 1.0, unlike.id: -0.5}, [(file, 1.5)], k=9, cursor=paged.next
    )
    assert ids(paged) + ids(then) == ids(found)


def test_one_part_alone_is_the_same_as_its_own_route(client: Client) -> None:
    weighted, plain = client.search({"rain": 3.0}), client.search_text("rain")
    assert ids(weighted) == ids(plain)
    for one, other in zip(weighted.hits, plain.hits, strict=True):
        assert (one.score, one.relevance) == pytest.approx((other.score, other.relevance))
    alone = client.search(sounds=[(wav(500), 1.0)])
    assert ids(alone) == ids(client.search_audio(wav(500)))


@pytest.mark.parametrize(
    ("texts", "clips"), [({}, {}), ({"rain": 0.0}, {}), ({"rain": 1.0, "rain ": -1.0}, {})]
)
def test_a_question_without_a_direction_is_refused(
    client: Client, texts: dict[str, float], clips: dict[str, float]
) -> None:
    with pytest.raises(RefusedError) as error:
        client.search(texts, clips)
    assert refusal(error) == (422, "/problems/no-direction")


def test_an_unknown_example_is_refused_by_its_id(client: Client) -> None:
    with pytest.raises(RefusedError, match="'none'") as error:
        client.search(clips={"none": 1.0})
    assert refusal(error) == (404, "/problems/unknown-clip")


MULTIPART = [
    ({"query": (None, "no json")}, "query"),
    ({"query": (None, '{"texts": 3}')}, "texts"),
    ({"query": (None, "{}"), "sound": ("x", b"x")}, "sound"),
    ({"file": (None, "a text")}, "file"),
]


@pytest.mark.parametrize(("parts", "field"), MULTIPART)
def test_a_wrong_part_of_a_mixed_question_is_named(
    served: str, parts: dict[str, tuple[str | None, bytes]], field: str
) -> None:
    answer = httpx.post(f"{served}/v1/search", files=parts, trust_env=False)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].split(".")[0] == field


def test_a_clip_s_neighbours_do_not_hold_itself(client: Client, index: Index) -> None:
    long = next(clip for clip in index.clips if clip.seconds > 20)
    found = client.similar(long.id, k=3)
    expected = index.search(index.vector(long), 4)
    assert ids(found) == [hit.clip.id for hit in expected if hit.clip.id != long.id][:3]
    short = client.similar(long.id, filter="seconds < 1")
    assert {hit.id for hit in short.hits} == {c.id for c in index.clips if c.seconds < 1}
    assert short.hits and short.total == len(short.hits)


def test_tags_along_time_cover_the_sound(client: Client, served_folder: Path) -> None:
    file = served_folder / "library" / "low" / "tone 500.wav"
    found = client.tags(file, k=3, timeline=True)
    assert found.scores == "cosine" and len(found.tags) == 3 and found.timeline is not None
    starts = [moment.start for moment in found.timeline]
    assert starts == [2.0 * number for number in range(13)]
    assert [moment.end for moment in found.timeline] == [*starts[1:], pytest.approx(25.0)]
    assert all(len(moment.tags) == 3 for moment in found.timeline)
    short = client.tags(wav(500, 0.4), k=1, timeline=True).timeline
    assert short is not None and [(m.start, m.end) for m in short] == [(0.0, pytest.approx(0.4))]
    assert client.tags(wav(500), k=1).timeline is None


def test_a_moment_is_tagged_by_what_is_heard_in_it(client: Client, clap: Clap) -> None:
    low, high = read_audio(wav(200, 2.0), 16000), read_audio(wav(4000, 2.0), 16000)
    file = io.BytesIO()
    wavfile.write(file, 16000, np.concatenate([low.samples, high.samples]))
    labels = ["a hum", "a whistle", "rain"]
    timeline = client.tags(file.getvalue(), labels, timeline=True).timeline
    assert timeline is not None and len(timeline) == 2
    sentences = unit(clap.embed_text([f"{label} can be heard" for label in labels]).numpy())
    expected = unit(clap.embed_audio([low, high]).numpy()) @ sentences.T
    for moment, row in zip(timeline, expected, strict=True):
        scores = {tag.name: tag.score for tag in moment.tags}
        assert [scores[label] for label in labels] == pytest.approx(row.tolist(), abs=1e-3)


def test_the_trained_head_gives_probabilities_of_its_own_classes(
    client: Client, clap: Clap
) -> None:
    found = client.tags(wav(500), trained=True, timeline=True)
    assert found.scores == "probability"
    assert {(tag.name, tag.mid) for tag in found.tags} == {
        ("Bark", "/m/05tny_"),
        ("Rain", "/m/06mb1"),
        ("my own class", None),
    }
    grid = clap.grids([clap.log_mel(read_audio(wav(500), 16000))])[0]
    expected = clap.audio.logits(grid.clip(stacked=False)[None]).sigmoid()[0].tolist()
    scores = {tag.name: tag.score for tag in found.tags}
    named = [scores[name] for name in ("Bark", "Rain", "my own class")]
    assert named == pytest.approx(expected, abs=1e-4)
    assert found.tags[0].relevance == found.tags[0].score
    with pytest.raises(RefusedError, match="labels"):
        client.tags(wav(500), ["rain"], trained=True)
    assert [label.name for label in client.labels().trained] == ["Bark", "Rain", "my own class"]


def test_embeddings_of_texts_and_sounds_are_the_model_s_in_both_formats(
    client: Client, served: str, clap: Clap
) -> None:
    texts = ["a dog barking", "rain"]
    expected = unit(clap.embed_text(texts).numpy())
    answer = client.embeddings(texts)
    assert np.array([e.embedding for e in answer.data]) == pytest.approx(expected, abs=1e-5)
    assert answer.model == "tiny" and [e.index for e in answer.data] == [0, 1]
    body = {"input": texts, "model": "any", "encoding_format": "base64", "user": "me"}
    raw = httpx.post(f"{served}/v1/embeddings", json=body, trust_env=False).json()
    floats = [np.frombuffer(base64.b64decode(e["embedding"]), "<f4") for e in raw["data"]]
    assert np.array(floats) == pytest.approx(expected, abs=1e-5)
    uri = f"data:audio/wav;base64,{base64.b64encode(wav(500)).decode()}"
    sound = client.embeddings([uri], "audio").data[0].embedding
    heard = unit(clap.embed_audio([read_audio(wav(500), 16000)]).numpy())[0]
    assert sound == pytest.approx(heard, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": []}, 422, "invalid_request"),
        ({"input": ""}, 422, "invalid_request"),
        ({"input": [1, 2]}, 422, "invalid_request"),
        ({"input": "x", "dimensions": 7}, 422, "invalid_request"),
        ({"input": ["x", "y" * 10_000]}, 422, "invalid_request"),
        ({"input": "x", "modality": "audio"}, 415, "not_audio"),
        ({"input": "data:audio/wav;base64,!", "modality": "audio"}, 415, "not_audio"),
        ({"input": "data:audio/wav;base64,AAAA", "modality": "audio"}, 415, "not_audio"),
    ],
)
def test_refused_embeddings_have_that_api_s_error(
    served: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = httpx.post(f"{served}/v1/embeddings", json=body, trust_env=False)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code and error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("score", [10**400, 1, True, None, "0.5"])
def test_a_made_up_cursor_is_refused(score: object) -> None:
    raw = json.dumps(["0" * 16, score, "clip", 1]).encode()
    with pytest.raises(CursorError):
        cursors.place("0" * 16, base64.urlsafe_b64encode(raw).decode().rstrip("="))


@pytest.mark.parametrize("path", ["a/" * 1000 + "b.wav", "Записи/" * 200, "\U0001f514" * 900])
def test_a_long_path_is_a_cursor_that_the_next_request_may_send(path: str) -> None:
    cursor = cursors.of_path("0" * 16, path)
    assert Narrowed(cursor=cursor).cursor == cursor
    assert cursors.path("0" * 16, cursor) == path


def test_the_library_is_listed_by_path_in_pages(client: Client, index: Index) -> None:
    first = client.clips(k=5)
    rest = client.clips(k=5, cursor=first.next)
    assert [c.path for c in [*first.clips, *rest.clips]] == [clip.path for clip in index.clips]
    assert first.total == 8 and rest.next is None
    twice = client.clips(filter='name ~ "copy*"').clips
    assert [clip.paths for clip in twice] == [["copy of 3000.WAV", "high/tone 3000.wav"]]
    with pytest.raises(RefusedError) as error:
        client.clips(cursor=first.next, filter="seconds > 0")
    assert refusal(error) == (422, "/problems/invalid-cursor")


def test_a_clip_s_sound_is_asked_for_once_and_in_parts(
    client: Client, served: str, index: Index
) -> None:
    clip = index.clips[0]
    whole = index.file(clip).read_bytes()
    assert client.audio(clip.id) == whole
    assert client.audio(clip.id, 100, 199) == whole[100:200]
    url = f"{served}/v1/clips/{clip.id}/audio"
    tag = httpx.get(url, trust_env=False).headers["etag"]
    for held in (tag, f'W/{tag}, "x"', "*"):
        answer = httpx.get(url, headers={"If-None-Match": held}, trust_env=False)
        assert answer.status_code == 304 and answer.content == b"" and answer.headers["etag"] == tag
    given = {"Range": "bytes=5-9", "If-Range": tag}
    assert httpx.get(url, headers=given, trust_env=False).content == whole[5:10]
    given["If-Range"] = '"other"'
    assert httpx.get(url, headers=given, trust_env=False).content == whole


def test_a_waveform_is_as_loud_as_the_sound_and_as_long(client: Client, index: Index) -> None:
    clip = next(clip for clip in index.clips if clip.seconds > 20)
    drawn = client.waveform(clip.id, 10)
    assert drawn.seconds == pytest.approx(25) and drawn.covered == pytest.approx(25, abs=0.01)
    # it swells from 0.1 to 0.6
    assert drawn.peaks == pytest.approx(np.linspace(0.15, 0.6, 10), abs=0.02)
    assert len(client.waveform(clip.id, 4000).peaks) == 4000


def test_a_spectrogram_shows_the_pitch_in_the_size_asked_for(
    client: Client, served: str, index: Index
) -> None:
    rows = []
    for hz in (300, 5000):
        clip = next(clip for clip in index.clips if clip.path.endswith(f"tone {hz}.wav"))
        picture = Image.open(io.BytesIO(client.spectrogram(clip.id, 64, 100)))
        assert picture.size == (64, 100)
        light = np.asarray(picture.convert("L"), np.float32)
        rows.append(int(light.mean(axis=1).argmax()))
    assert rows[0] > 70 and rows[1] < 30
    url = f"{served}/v1/clips/{index.clips[0].id}/spectrogram.png"
    dark, light = (httpx.get(url, params={"theme": t}, trust_env=False) for t in ("dark", "light"))
    assert dark.headers["etag"] != light.headers["etag"] and dark.content != light.content
    same = httpx.get(url, headers={"If-None-Match": dark.headers["etag"]}, trust_env=False)
    assert same.status_code == 304
    for wrong in ({"width": 0}, {"height": 5000}, {"theme": "blue"}):
        assert httpx.get(url, params=wrong, trust_env=False).status_code == 422


def test_the_map_holds_every_clip_and_is_told_unchanged(
    client: Client, served: str, index: Index
) -> None:
    laid = client.map()
    assert laid.ids == [clip.id for clip in index.clips]
    assert laid.names == [clip.path for clip in index.clips]
    assert all(-1 <= value <= 1 for value in [*laid.x, *laid.y]) and len(laid.x) == 8
    answer = httpx.get(f"{served}/v1/map", trust_env=False)
    held = {"If-None-Match": answer.headers["etag"]}
    assert httpx.get(f"{served}/v1/map", headers=held, trust_env=False).status_code == 304


def test_the_server_tells_what_it_serves(client: Client, index: Index) -> None:
    facts = client.index()
    assert (facts.library, facts.clips, facts.windows) == ("library", 8, index.windows)
    assert facts.seconds == pytest.approx(sum(c.seconds for c in index.clips), abs=0.01)
    assert facts.generation == 1 and facts.fingerprint == index.fingerprint
    model = client.model()
    assert (model.name, model.dim, model.sample_rate) == ("tiny", 384, 16000)
    assert model.text_encoder == "minilm" and model.trained_labels == 3
    assert len([x for x in client.labels().labels if x.mid]) == 527


def test_the_async_client_asks_the_same(client: Client, served: str) -> None:
    async def ask() -> None:
        async with AsyncClient(served) as waiting:
            found, tags, facts = await asyncio.gather(
                waiting.search_text("a beep", k=3),
                waiting.tags(wav(500), k=2),
                waiting.index(),
            )
            assert found == client.search_text("a beep", k=3)
            assert tags == client.tags(wav(500), k=2) and facts == client.index()
            clip = found.hits[0].id
            assert await waiting.clip(clip) == client.clip(clip)
            assert await waiting.audio(clip) == client.audio(clip)
            assert await waiting.similar(clip, k=2) == client.similar(clip, k=2)
            with pytest.raises(RefusedError, match="no clip"):
                await waiting.waveform("none")

    asyncio.run(ask())


def busy_then(answers: list[httpx.Response], asked: list[bytes]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.read())
        return answers.pop(0)

    return httpx.MockTransport(answer)


def busy() -> httpx.Response:
    body = {"type": "/problems/busy", "detail": "too much is waiting", "status": 503}
    return httpx.Response(503, json=body, headers={"Retry-After": "0"})


def test_a_busy_server_is_asked_again_with_the_whole_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    asked: list[bytes] = []
    done = httpx.Response(200, json={"scores": "cosine", "tags": []})
    transport = busy_then([busy(), busy(), done], asked)
    with Client("http://x", transport=transport) as client:
        assert client.tags(io.BytesIO(wav(500))).tags == []
    assert pauses == [0.25, 0.5]
    assert len(asked) == 3 and all(wav(500) in body for body in asked)


def test_patience_ends_and_the_last_refusal_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    transport = busy_then([busy(), busy()], [])
    with (
        Client("http://x", tries=2, transport=transport) as client,
        pytest.raises(RefusedError, match="too much is waiting") as error,
    ):
        client.index()
    assert refusal(error) == (503, "/problems/busy")


def test_a_server_that_is_none_or_another_is_told() -> None:
    other = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with (
        Client("http://x", transport=other) as client,
        pytest.raises(ClientError, match="m2d-clap"),
    ):
        client.index()
    odd = httpx.MockTransport(lambda _: httpx.Response(418, text="teapot"))
    moved = httpx.MockTransport(
        lambda _: httpx.Response(308, headers={"location": "https://x/v1/clips/a"})
    )
    with Client("http://x", transport=moved) as client:
        for asks in (client.delete, client.audio):
            with pytest.raises(ClientError, match="https://x/v1/clips/a"):
                asks("a")
    with Client("http://x", transport=odd) as client, pytest.raises(ClientError, match="418"):
        client.index()
    with Client("http://127.0.0.1:9") as client, pytest.raises(ClientError, match="is it running"):
        client.index()


@pytest.mark.parametrize(("server", "key"), [("http://host:80a", None), ("http://host", "é")])
def test_an_address_or_key_that_is_none_is_told(server: str, key: str | None) -> None:
    with pytest.raises(ClientError, match="is no address, or the key is none"):
        Client(server, key)


def test_the_key_is_sent_as_a_bearer_token() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"ids": [request.headers["authorization"]], "x": [0],
                                         "y": [0], "names": [""]})  # fmt: skip

    with Client("http://x", "secret", transport=httpx.MockTransport(answer)) as client:
        assert client.map().ids == ["Bearer secret"]


def test_the_search_command_asks_a_server_or_an_index(
    served: str, served_folder: Path, client: Client
) -> None:
    words = ["search", "a beep", "--server", served, "-k", "2", "--filter", "seconds > 1"]
    remote = CliRunner().invoke(cli(), [*words, "--json"])
    local = ["search", str(served_folder / "index"), "a beep", "-k", "2", "--filter", "seconds > 1"]
    near = CliRunner().invoke(cli(), [*local, "--json"])
    paths = [hit.path for hit in client.search_text("a beep", k=2, filter="seconds > 1").hits]
    for result in (remote, near):
        assert result.exit_code == 0, result.output
        rows = json.loads(result.stdout)["hits"]
        assert [row["path"] for row in rows] == paths
    assert paths[0].split("/")[-1] in CliRunner().invoke(cli(), words).stdout
    assert CliRunner().invoke(cli(), ["search", "a beep"]).exit_code == 2
    assert CliRunner().invoke(cli(), ["search", "x", "a beep", "--server", served]).exit_code == 2
