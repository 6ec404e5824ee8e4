"""A real server, asked over HTTP: it finds, tags, plays, and refuses what is broken, clearly."""

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import Index, build_index
from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.service.server import PortError, bind, is_loopback, url

RATE = 16000


def tone(seconds: float, hz: float) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def encoded(samples: np.ndarray, rate: int, container: str, codec: str, fmt: str = "fltp") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        for start in range(0, len(samples), 500_000):
            block = samples[None, start : start + 500_000]
            frame = av.AudioFrame.from_ndarray(block, format=fmt, layout="mono")
            frame.sample_rate = rate
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library of tones, a tiny checkpoint and an index."""
    folder = tmp_path_factory.mktemp("made")
    for hz in (200, 500, 1200, 3000):
        (folder / "library").mkdir(exist_ok=True)
        wavfile.write(folder / "library" / f"tone {hz}.wav", RATE, tone(1.0, hz))
    torch.manual_seed(0)
    clap = Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=32, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 384, 32),
            text=TextConfig("minilm", max_tokens=256),
        )
    ).eval()
    checkpoint = Checkpoint.of(clap)
    checkpoint.save(folder / "tiny")
    build_index(folder / "library", folder / "index", folder / "tiny", checkpoint.fingerprint, clap)
    return folder


@contextlib.contextmanager
def serving(made: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """The real command on a free port, ready; ended as an operator ends it."""
    script = Path(sys.executable).with_name("m2d-clap")
    with subprocess.Popen(
        [script, "serve", made / "index", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "M2D_CLAP_PRECISION": "float32",
            **{f"M2D_CLAP_{k.upper()}": v for k, v in settings.items()},
        },
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http"))
            with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
                wait_for(client, 200)
                yield process, client
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in (0, -signal.SIGTERM)
        finally:
            process.kill()


def wait_for(client: httpx.Client, status: int) -> httpx.Response:
    """The answer of /readyz as soon as it has this status."""
    end = time.monotonic() + 60
    while (answer := client.get("/readyz")).status_code != status:
        assert time.monotonic() < end, answer.text
        time.sleep(0.01)
    return answer


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator[httpx.Client]:
    with serving(made, max_upload_bytes="8000000", threads="1") as (_, client):
        yield client


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert body["title"] and body["detail"]
    assert body["instance"] == response.request.url.path
    return response.status_code, body["type"]


def test_a_text_finds_every_clip_with_its_cosine(client: httpx.Client, made: Path) -> None:
    response = client.post("/v1/search/text", json={"query": "a high beep", "k": 3})
    assert response.status_code == 200, response.text
    hits = response.json()["hits"]
    clap = Checkpoint.load(made / "tiny").clap()
    expected = Index.open(made / "index").search(clap.embed_text(["a high beep"])[0].numpy(), 3)
    assert [h["path"] for h in hits] == [h.clip.path for h in expected]
    assert [h["score"] for h in hits] == pytest.approx([h.score for h in expected], abs=1e-5)
    assert hits[0]["start"] == 0 and hits[0]["end"] == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["x.wav", "x.txt", "../../etc/passwd"])
def test_an_uploaded_sound_finds_itself_whatever_its_name(client: httpx.Client, name: str) -> None:
    file = {"file": (name, wav(tone(1.0, 500)), "text/plain")}
    hit = client.post("/v1/search/audio", files=file, data={"k": "1"}).json()["hits"][0]
    assert hit["path"] == "tone 500.wav"
    assert hit["score"] == pytest.approx(1, abs=1e-4)


def test_the_built_in_labels_hold_audioset_with_mids(client: httpx.Client) -> None:
    answer = client.post("/v1/tags", files={"file": wav(tone(1, 500))}, data={"k": "1000"}).json()
    mids = {tag["name"]: tag["mid"] for tag in answer["tags"]}
    assert sum(mid is not None for mid in mids.values()) == 527
    assert mids["Bark"] == "/m/05tny_"
    assert mids["Morse code"] is None
    scores = [tag["score"] for tag in answer["tags"]]
    assert scores == sorted(scores, reverse=True)


def test_labels_of_ones_own_may_hold_commas(client: httpx.Client) -> None:
    data = {"labels": ["a dog, barking", "rain", "rain"]}
    answer = client.post("/v1/tags", files={"file": wav(tone(1, 500))}, data=data).json()
    assert sorted(tag["name"] for tag in answer["tags"]) == ["a dog, barking", "rain"]


def test_a_clip_is_described_and_played_in_ranges(client: httpx.Client, made: Path) -> None:
    hit = client.post("/v1/search/text", json={"query": "x", "k": 1}).json()["hits"][0]
    clip = client.get(f"/v1/clips/{hit['id']}").json()
    assert clip["paths"] == [hit["path"]] and clip["seconds"] == pytest.approx(1.0)
    whole = (made / "library" / clip["path"]).read_bytes()
    assert client.get(clip["audio"]).content == whole
    part = client.get(clip["audio"], headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == whole[100:200]
    assert client.get(clip["audio"], headers={"Range": "bytes=9999999-"}).status_code == 416


def test_an_unknown_clip_or_path_is_not_found(client: httpx.Client) -> None:
    for path in ("/v1/clips/none", "/v1/clips/none/audio", "/v1/clips/..%2f..%2fetc/audio"):
        assert problem(client.get(path))[0] == 404
    assert problem(client.get("/v1/clips/none"))[1] == "/problems/unknown-clip"
    assert problem(client.get("/v2")) == (404, "/problems/not-found")
    assert problem(client.get("/v1/tags")) == (405, "/problems/method-not-allowed")


def test_a_wrong_method_is_told_all_that_its_path_takes(client: httpx.Client) -> None:
    for path, allowed in (("/v1/clips", "GET, POST"), ("/v1/clips/none", "DELETE, GET")):
        response = client.put(path)
        assert problem(response) == (405, "/problems/method-not-allowed")
        assert response.headers["allow"] == allowed


def test_a_clip_whose_file_is_gone_says_so(client: httpx.Client, made: Path) -> None:
    hits = client.post("/v1/search/text", json={"query": "x", "k": 10}).json()["hits"]
    hit = next(h for h in hits if h["path"] == "tone 200.wav")
    shutil.move(made / "library" / hit["path"], made / "away.wav")
    try:
        assert problem(client.get(hit["audio"])) == (410, "/problems/clip-file-gone")
    finally:
        shutil.move(made / "away.wav", made / "library" / hit["path"])


WRONG_QUERIES = (
    '{"query": ""}',
    '{"query": "  "}',
    '{"query": 3}',
    "{}",
    "[]",
    "no json",
    '{"query": "a", "k": 0}',
    '{"query": "a", "k": 1e9}',
    '{"query": "a", "k": NaN}',
    '{"query": "a", "top": 3}',
    '{"query": "\\ud800"}',
    f'{{"query": "{"a" * 1001}"}}',
    json.dumps({"query": "a"} | {f"{number}": 0 for number in range(20_000)}),
)


@pytest.mark.parametrize("body", WRONG_QUERIES)
def test_a_wrong_query_says_which_field(client: httpx.Client, body: str) -> None:
    headers = {"content-type": "application/json"}
    response = client.post("/v1/search/text", content=body, headers=headers)
    assert problem(response) == (422, "/problems/invalid-request")
    assert 0 < len(response.json()["errors"]) < 50


def test_one_bad_upload_of_several_ends_the_request_and_leaves_no_file_open(
    made: Path, client: httpx.Client
) -> None:
    def ask() -> int:
        files = [("file", b"no sound"), *[("file", wav(tone(0.5, 500)))] * 9]
        return client.post("/v1/search", files=files, data={"query": "{}"}).status_code

    def opened() -> float:
        page = client.get("/metrics").text
        return float(
            next(w for w in page.splitlines() if w.startswith("process_open_fds")).split()[1]
        )

    assert ask() == 415
    before = opened()
    assert [ask() for _ in range(10)] == [415] * 10
    assert opened() < before + 10


def with_rate(rate: int) -> bytes:
    header = bytearray(wav(tone(0.2, 500)))
    header[24:28] = rate.to_bytes(4, "little")
    return bytes(header)


def with_nan() -> bytes:
    samples = tone(1.0, 500)
    samples[700] = np.nan
    return wav(samples)


def picture_only() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


BROKEN = {
    "empty": (lambda: b"", 415),
    "text": (lambda: b"this is no sound " * 50, 415),
    "a truncated mp3": (lambda: encoded(tone(2, 500), RATE, "mp3", "libmp3lame")[:500], 415),
    "a playlist": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", 415),
    "ten silent hours": (
        lambda: encoded(np.zeros(36_000_000, np.int16), 1000, "flac", "flac", "s16"),
        413,
    ),
    "NaN samples": (with_nan, 422),
    "a rate of 1 Hz": (lambda: with_rate(1), 422),
    "a rate of 2^31 - 1 Hz": (lambda: with_rate(2**31 - 1), 422),
    "no audio stream": (picture_only, 415),
    "too many bytes": (lambda: b"\x00" * 8_000_001, 413),
    "far too many bytes": (lambda: b"\x00" * 30_000_000, 413),
    "shorter than can be heard": (lambda: wav(tone(0.05, 500)), 415),
}


@pytest.mark.parametrize("route", ["/v1/search/audio", "/v1/tags"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_upload_is_a_problem_and_the_next_request_is_answered(
    client: httpx.Client, kind: str, route: str
) -> None:
    content, status = BROKEN[kind]
    answered, type_ = problem(client.post(route, files={"file": content()}))
    assert answered == status
    if status == 413:
        assert type_ in ("/problems/body-too-large", "/problems/audio-too-long")
    assert client.post("/v1/search/text", json={"query": "a beep"}).status_code == 200


def test_a_wrong_field_name_is_named(client: httpx.Client) -> None:
    response = client.post("/v1/tags", files={"sound": wav(tone(1, 500))})
    assert problem(response) == (422, "/problems/invalid-request")
    assert response.json()["errors"][0]["field"] == "file"


def test_a_body_that_is_no_multipart_is_a_problem(client: httpx.Client) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert problem(client.post("/v1/tags", content=b"--y\r\n", headers=headers))[0] in (400, 422)
    assert problem(client.post("/v1/tags", content=wav(tone(1, 500))))[0] == 422


def answered(client: httpx.Client, request: Iterable[bytes]) -> tuple[int, dict[str, Any]]:
    """Status and body of what is written to the server byte for byte, until it closes."""
    url_ = client.base_url
    with socket.create_connection((url_.host, url_.port or 80), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):  # it may have closed before all was sent
            for part in request:
                connection.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "request_",
    [b"this is no HTTP\r\n\r\n", b"GET /v1/clips?cursor=" + 70_000 * b"x" + b" HTTP/1.1\r\n\r\n"],
    ids=["noise", "long address"],
)
def test_what_is_no_http_is_a_problem_too(client: httpx.Client, request_: bytes) -> None:
    status, problem = answered(client, [request_])
    assert (status, problem["type"]) == (400, "/problems/unreadable-request")


def test_headers_without_end_are_not_collected_without_end(client: httpx.Client) -> None:
    header = b"x-%d: " + 60_000 * b"x" + b"\r\n"
    endless = (header % number for number in range(200))
    status, problem = answered(client, itertools.chain([b"GET /livez HTTP/1.1\r\n"], endless))
    assert (status, problem["type"]) == (431, "/problems/head-too-long")
    assert client.get("/livez").status_code == 200


def test_a_body_without_a_length_is_capped_too(client: httpx.Client) -> None:
    chunks = (b"x" * 1_000_000 for _ in range(2))
    headers = {"content-type": "application/json"}
    response = client.post("/v1/search/text", content=chunks, headers=headers)
    assert problem(response) == (413, "/problems/body-too-large")


def test_a_file_with_damaged_packets_is_still_searched(client: httpx.Client) -> None:
    data = bytearray(encoded(tone(4.0, 500), RATE, "mp3", "libmp3lame"))
    for place in range(3000, len(data), 4000):
        data[place : place + 60] = b"\xff" * 60
    assert client.post("/v1/search/audio", files={"file": bytes(data)}).status_code == 200


def test_the_openapi_document_names_every_operation(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    names = {operation["operationId"] for path in paths.values() for operation in path.values()}
    assert names >= {"search_text", "search_audio", "tag", "get_clip", "get_clip_audio"}
    form = client.get("/openapi.json").json()["components"]["schemas"]["Body_tag"]["properties"]
    assert set(form) == {"file", "labels", "k", "timeline", "trained"}


def test_the_openapi_document_tells_of_keys_and_limits(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    asking = document["paths"]["/v1/search/text"]["post"]
    assert {} in asking["security"] and {"key": []} in asking["security"]
    assert {"400", "401", "403", "429", "503"} <= set(asking["responses"])
    assert "busy" in asking["responses"]["503"]["content"]["application/problem+json"]["examples"]
    assert "security" not in document["paths"]["/livez"]["get"]


def test_a_checkpoint_that_did_not_make_the_index_is_refused_with_the_mending_command(
    made: Path, tmp_path: Path
) -> None:
    other = Clap(Checkpoint.load(made / "tiny").config)
    Checkpoint.of(other).save(tmp_path / "other")
    script = Path(sys.executable).with_name("m2d-clap")
    command = [script, "serve", made / "index", "--checkpoint", tmp_path / "other"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"m2d-clap index {made / 'library'} --out" in ended.stderr
    assert f"--checkpoint {tmp_path / 'other'}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_others_can_reach_says_so(made: Path) -> None:
    script = Path(sys.executable).with_name("m2d-clap")
    command = [script, "serve", made / "index", "--host", "0.0.0.0", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.send_signal(signal.SIGKILL)
    assert "warning" in line and "no API keys" in line


def test_a_taken_port_is_a_clear_error(made: Path) -> None:
    script = Path(sys.executable).with_name("m2d-clap")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [script, "serve", made / "index", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "choose another --port" in ended.stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the process through /proc")
def test_a_killed_encoding_process_is_told_and_replaced(made: Path) -> None:
    with serving(made, threads="1") as (process, client):
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
        children = [int(child) for file in tasks for child in file.read_text().split()]
        assert children
        for child in children:
            os.kill(child, signal.SIGKILL)
        down = wait_for(client, 503)
        assert problem(down) == (503, "/problems/worker-down")
        assert "signal 9" in down.json()["detail"]
        assert down.headers["retry-after"] == "1"
        refused = client.post("/v1/search/text", json={"query": "a beep"})
        assert problem(refused) == (503, "/problems/worker-down")
        assert client.get("/livez").status_code == 200
        wait_for(client, 200)
        assert client.post("/v1/search/text", json={"query": "a beep"}).status_code == 200


def test_ports_and_addresses_are_found_and_written_as_clients_need_them() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port, tries=20) as second:
            assert second.getsockname()[1] > port
            assert url(second) == f"http://127.0.0.1:{second.getsockname()[1]}"
    with pytest.raises(PortError, match="no host"):
        bind("a" * 64, 0)
    if socket.has_ipv6:
        with contextlib.suppress(PortError), bind("::1", 0) as third:
            assert url(third).startswith("http://[::1]:")
