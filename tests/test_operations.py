"""A real server as its operator sees it: metrics, logs, reload, shutdown, and processes that die."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from scipy.io import wavfile

from m2d_clap.index import build_index
from m2d_clap.model import Checkpoint, Clap, ClapConfig, Waveform, bundled
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.service.encoders import encode_sounds
from m2d_clap.service.keys import KeyFile

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes through /proc")
RATE = 16000
RELOADED = 'm2d_clap_reloads_total{outcome="done"}'
SCRIPT = Path(sys.executable).with_name("m2d-clap")


def tone(seconds: float, hz: float) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, RATE, samples)
    return file.getvalue()


# Sentences need not mean anything here; MiniLM would take seconds of every start.
TEXT = TextConfig(
    "minilm", included=True, max_tokens=256, projection="linear", projection_in=32,
    architecture={
        "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32
    },
)  # fmt: skip


def make_model(folder: Path, seed: int, width: int = 32) -> tuple[Checkpoint, Clap]:
    torch.manual_seed(seed)
    clap = Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=width, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 384, 32),
            text=TEXT,
        )
    ).eval()
    checkpoint = Checkpoint.of(clap)
    checkpoint.save(folder)
    return checkpoint, clap


def make_index(folder: Path, *tones: int, seed: int = 0) -> None:
    (folder / "library").mkdir(exist_ok=True)
    for hz in tones:
        wavfile.write(folder / "library" / f"tone {hz}.wav", RATE, tone(1.0, hz))
    checkpoint, clap = make_model(folder / f"model-{seed}", seed)
    place = folder / f"model-{seed}"
    build_index(folder / "library", folder / "index", place, checkpoint.fingerprint, clap)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make_index(tmp_path, 200, 500)
    return tmp_path


class Server:
    """A running server, its log, and the processes it started."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        assert process.stdout is not None
        self.process = process
        self._log = log
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None, log.read_text()
        self.client = httpx.Client(base_url=address[0], timeout=60, trust_env=False)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def until(self, what: Any, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)  # asking is work too, for the server that is just starting

    def ready(self) -> bool:
        return self.client.get("/readyz").status_code == 200

    def metric(self, name: str) -> float:
        page = self.client.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def children(self, kind: str) -> list[int]:
        """Ids of the decoding ("decoding") or encoding ("spawn_main") processes."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = []
        for child in (int(c) for file in tasks for c in file.read_text().split()):
            with contextlib.suppress(OSError):
                if kind in Path(f"/proc/{child}/cmdline").read_text():
                    found.append(child)
        return found

    def upload(self, hz: float = 500, seconds: float = 1.0) -> httpx.Response:
        file = {"file": wav(tone(seconds, hz))}
        return self.client.post("/v1/search/audio", files=file, data={"k": "1"})


@contextlib.contextmanager
def serving(made: Path, **settings: str) -> Iterator[Server]:
    chosen = {"precision": "float32", "threads": "1", "reload_seconds": "0", **settings}
    log = made / "log"
    with (
        log.open("w") as err,
        subprocess.Popen(
            [SCRIPT, "serve", made / "index", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            env={**os.environ, **{f"M2D_CLAP_{k.upper()}": v for k, v in chosen.items()}},
        ) as process,
    ):
        try:
            server = Server(process, log)
            with server.client:
                server.until(server.ready)
                yield server
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) in (0, -signal.SIGTERM)
        finally:
            process.kill()


def test_metrics_tell_of_every_stage_and_the_log_of_every_request_but_not_its_text(
    made: Path,
) -> None:
    key = KeyFile(made / "keys.json").add("tester", ("read",))
    with serving(made, keys_file=str(made / "keys.json")) as server:
        assert server.upload().status_code == 401
        assert server.client.get("/metrics").status_code == 401
        server.client.headers["Authorization"] = f"Bearer {key}"
        assert server.upload().json()["hits"][0]["path"] == "tone 500.wav"
        query = {"query": "a secret wish"}
        assert server.client.post("/v1/search/text", json=query).status_code == 200
        for stage in ("decode", "logmel", "encode_audio", "search"):
            count = server.metric(f'm2d_clap_stage_seconds_count{{stage="{stage}"}}')
            assert count == (2 if stage == "search" else 1)
        assert server.metric('m2d_clap_stage_seconds_count{stage="encode_text"}') >= 2
        assert server.metric("m2d_clap_index_vectors") == 2
        assert server.metric("m2d_clap_index_generation") == 1
        assert server.metric("m2d_clap_ready") == 1
        assert server.metric('m2d_clap_queue_depth{queue="sounds"}') == 0
        assert server.metric('m2d_clap_batch_size_items_count{queue="sounds"}') == 1
        assert server.metric('m2d_clap_rejected_total{problem="unknown-key"}') == 2
        assert 'precision="float32"' in server.client.get("/metrics").text
        routes = [line["route"] for line in server.log() if line["event"] == "request"]
        assert routes.count("/v1/search/text") == 1 and "/v1/search/audio" in routes
        text = (made / "log").read_text()
        assert "secret wish" not in text and key.split("_")[2] not in text


def test_a_new_index_is_picked_up_by_itself_a_damaged_one_is_not_and_texts_are_logged_on_wish(
    made: Path,
) -> None:
    with serving(made, reload_seconds="0.1", log_texts="true") as server:
        server.client.post("/v1/search/text", json={"query": "a wish"})
        server.until(lambda: any(line.get("texts") == ["a wish"] for line in server.log()))
        assert server.upload(3000).json()["hits"][0]["path"] != "tone 3000.wav"
        make_index(made, 3000)
        server.until(lambda: server.metric("m2d_clap_index_vectors") == 3)
        assert server.upload(3000).json()["hits"][0]["path"] == "tone 3000.wav"
        whole = json.loads((made / "index" / "index.json").read_text())
        (made / "index" / "index.json").write_text("{")
        server.until(lambda: server.metric('m2d_clap_reloads_total{outcome="failed"}') >= 1)
        assert server.metric("m2d_clap_reload_failing") == 1
        assert server.ready() and server.upload(3000).status_code == 200
        failed = next(line for line in server.log() if line["event"] == "reload_failed")
        assert "damaged" in failed["reason"]
        # As over a network: the name of the next generation is seen before its folder is.
        late = json.dumps(whole | {"generation": "generation-9"})
        (made / "index" / "index.json").write_text(late)
        before = server.metric('m2d_clap_reloads_total{outcome="failed"}')
        server.until(lambda: server.metric('m2d_clap_reloads_total{outcome="failed"}') > before)
        (made / "index" / whole["generation"]).rename(made / "index" / "generation-9")
        server.until(lambda: server.metric("m2d_clap_reload_failing") == 0)
        assert server.upload(3000).json()["hits"][0]["path"] == "tone 3000.wav"


@contextlib.contextmanager
def asking(server: Server) -> Iterator[list[int]]:
    """Uploads without a pause, two at a time; how they were answered."""
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            statuses.append(server.upload(500).status_code)
            time.sleep(0.05)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ask) for _ in range(2)]
        try:
            yield statuses
        finally:
            stop.set()
        for one in running:
            one.result()


def test_another_checkpoint_takes_over_on_sighup_and_no_request_is_lost(made: Path) -> None:
    with serving(made) as server:
        old = server.children("spawn_main")
        assert len(old) == 1
        with asking(server) as statuses:
            switch_model(made)
            server.process.send_signal(signal.SIGHUP)
            server.until(lambda: server.metric(RELOADED) == 1)
            before = len(statuses)
            server.until(lambda: len(statuses) > before + 5)
        assert set(statuses) == {200}
        server.until(lambda: old[0] not in server.children("spawn_main"))
        assert len(server.children("spawn_main")) == 1
        assert server.upload(500).json()["hits"][0]["score"] == pytest.approx(1, abs=1e-3)


def switch_model(made: Path, seed: int = 1) -> None:
    """The index, made again with another checkpoint."""
    place, index = made / f"model-{seed}", made / f"index-{seed}"
    checkpoint, clap = make_model(place, seed)
    build_index(made / "library", index, place, checkpoint.fingerprint, clap)
    (index / "generation-1").rename(made / "index" / f"generation-{seed + 8}")
    facts = json.loads((index / "index.json").read_text())
    aside = made / "index" / "aside.json"
    aside.write_text(json.dumps(facts | {"generation": f"generation-{seed + 8}"}))
    aside.replace(made / "index" / "index.json")


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.kill)])
def test_a_process_killed_while_it_takes_over_is_started_again(made: Path, times: int) -> None:
    with serving(made) as server, asking(server) as statuses:
        for seed in range(1, times + 1):
            old = set(server.children("spawn_main"))
            switch_model(made, seed)
            server.process.send_signal(signal.SIGHUP)
            server.until(lambda old=old: set(server.children("spawn_main")) - old)
            for process in set(server.children("spawn_main")) - old:
                os.kill(process, signal.SIGKILL)
            server.until(lambda seed=seed: server.metric(RELOADED) == seed)
            before = len(statuses)
            server.until(lambda before=before: 200 in statuses[before:])
        assert server.metric('m2d_clap_reloads_total{outcome="failed"}') == 0
    assert set(statuses) <= {200, 503}


def test_sigterm_to_every_process_lets_what_was_accepted_finish(made: Path) -> None:
    with serving(made) as server, ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(server.upload, 500, 60.0) for _ in range(6)]
        server.until(lambda: server.metric('m2d_clap_stage_seconds_count{stage="decode"}') >= 1)
        everyone = [*server.children("decoding"), *server.children("spawn_main")]
        assert len(everyone) > 1
        for process in [server.process.pid, *everyone]:
            os.kill(process, signal.SIGTERM)
        done = [answer.exception() or answer.result().status_code for answer in answers]
        accepted = [d for d in done if not isinstance(d, httpx.ConnectError)]
        assert accepted and set(accepted) == {200}
        assert server.process.wait(60) in (0, -signal.SIGTERM)


SOUND = "/v1/search/audio"
DIES = {"decoding": "decoder", "spawn_main": "encoder"}


def kill_during_uploads(server: Server, kind: str) -> None:
    """Every client gets an answer, and the server is whole again."""
    server.until(server.ready)
    deaths = f'm2d_clap_process_deaths{{process="{DIES[kind]}"}}'
    file, before = {"file": wav(tone(60.0, 500))}, server.metric(deaths)
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(server.client.post, SOUND, files=file) for _ in range(16)]
        server.until(lambda: any(answer.running() for answer in answers))
        time.sleep(0.05)
        there = server.children(kind)
        for process in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        statuses = [answer.result(120).status_code for answer in answers]
    assert set(statuses) <= {200, 503}, statuses
    # the death of a process that was idle just then may be noticed only by the next request
    server.until(lambda: server.upload().status_code == 200)
    server.until(server.ready)
    assert there
    server.until(lambda: server.metric(deaths) > before)


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.kill)])
def test_killed_processes_leave_no_client_without_an_answer(made: Path, times: int) -> None:
    with serving(made) as server:
        for _ in range(times):
            kill_during_uploads(server, "decoding")
            kill_during_uploads(server, "spawn_main")


def test_bfloat16_keeps_the_direction_of_every_embedding() -> None:
    clap = Checkpoint.load(bundled()).clap()
    rng = np.random.default_rng(0)
    sounds = [tone(s, hz) + rng.normal(0, 0.02, int(s * RATE)) for s, hz in ((3, 200), (7, 2000))]
    waves = [Waveform(s.astype(np.float32), RATE) for s in sounds]
    exact = encode_sounds(clap, waves)
    clap.precision = "bfloat16"
    for one, other in zip(exact, encode_sounds(clap, waves), strict=True):
        assert 0.999 <= float(one @ other) < 1 + 1e-6
        assert not np.array_equal(one, other)  # it was computed in bfloat16 indeed
