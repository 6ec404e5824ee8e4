"""A server that is given a library and no index makes it first, saying so, and then serves."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from m2d_clap.index import Index
from m2d_clap.service.first_index import is_due
from m2d_clap.service.settings import load

SCRIPT = Path(sys.executable).with_name("m2d-clap")


@contextlib.contextmanager
def started(folder: Path, served_folder: Path, *options: str) -> Iterator["Started"]:
    """A server of the small library, with its index in `folder`, as it comes up."""
    command = [SCRIPT, "serve", folder / "index", "--port", "0", *options]
    command += ["--library", served_folder / "library", "--checkpoint", served_folder / "tiny"]
    env = {**os.environ, "M2D_CLAP_THREADS": "1", "M2D_CLAP_PRECISION": "float32"}
    log = folder / "log"
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=env
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield Started(process, process.stdout.readline(), log)
        finally:
            process.kill()


class Started:
    """first: the line it said first."""

    def __init__(self, process: "subprocess.Popen[str]", first: str, log: Path) -> None:
        self.process = process
        self.first = first
        self._log = log
        found = re.search(r"http://[\d.:]+", first)
        self.address = found.group() if found else ""

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.address}{path}", trust_env=False, timeout=30)

    def until_ready(self) -> list[str]:
        """What /readyz said until it was 200."""
        said: list[str] = []
        end = time.monotonic() + 120
        while time.monotonic() < end:
            answer = self.get("/readyz")
            if answer.status_code == 200:
                return said
            assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
            said.append(answer.json()["detail"])
            time.sleep(0.05)
        raise AssertionError(said[-1])

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


def test_the_first_start_indexes_the_library_and_the_second_only_serves_it(
    tmp_path: Path, served_folder: Path
) -> None:
    with started(tmp_path, served_folder) as server:
        assert server.first.startswith("indexing ")
        server.process.send_signal(signal.SIGHUP)  # too early to be heard, and no reason to end
        assert server.get("/livez").json() == {"status": "alive"}
        refused = server.get("/v1/index")
        assert refused.status_code == 503 and "being indexed" in refused.json()["detail"]
        said = server.until_ready()
        assert any("the library is being indexed" in detail for detail in said)
        assert server.get("/v1/index").json()["clips"] == 8
        events = {event["event"]: event for event in server.events()}
        assert events["indexing"]["files"] == 9
        assert events["indexed"]["clips"] == 8 and events["indexed"]["left_out"] == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) in (0, -signal.SIGTERM)
    made = (tmp_path / "index" / "index.json").stat().st_mtime_ns
    with started(tmp_path, served_folder) as server:
        assert server.first.startswith("8 clips at ")
        server.process.send_signal(signal.SIGHUP)
        server.until_ready()
    assert (tmp_path / "index" / "index.json").stat().st_mtime_ns == made


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes through /proc")
def test_a_stop_during_the_first_index_ends_at_once_and_leaves_no_process(
    tmp_path: Path, served_folder: Path
) -> None:
    with started(tmp_path, served_folder) as server:
        assert server.get("/livez").status_code == 200
        tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
        children = [child for task in tasks for child in task.read_text().split()]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) in (0, -signal.SIGTERM)
    end = time.monotonic() + 60
    while any(_runs(child) for child in children):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert children
    assert not (tmp_path / "index" / "index.json").exists()


def test_a_library_without_a_sound_ends_the_start_with_the_reason(
    tmp_path: Path, served_folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing to hear")
    done = subprocess.run(
        [SCRIPT, "serve", tmp_path / "index", "--library", tmp_path / "empty", "--port", "0",
         "--checkpoint", served_folder / "tiny"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and "no sound was found in" in done.stderr.splitlines()[-1]
    # It is no index to be content with: once there are sounds, the next start takes them in.
    settings = load({"index": tmp_path / "index", "library": tmp_path / "empty"})
    assert len(Index.open(tmp_path / "index")) == 0 and is_due(settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is visible")
def test_cuda_without_a_gpu_is_refused_at_the_start_and_says_what_to_do(
    served_folder: Path,
) -> None:
    done = subprocess.run(
        [SCRIPT, "serve", served_folder / "index", "--device", "cuda", "--port", "0"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no CUDA GPU is visible" in done.stderr and "--gpus all" in done.stderr


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
