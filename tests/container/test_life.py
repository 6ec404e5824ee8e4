"""A container from its first start to its last request, and what goes wrong on the way."""

import concurrent.futures
import io
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from scipy.io import wavfile

from m2d_clap.model import Checkpoint, Clap, ClapConfig
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig

Ready = Callable[..., list[str]]


def exit_of(docker: Any, name: str) -> tuple[int, str]:
    """What a container that ends by itself ended with, and its log."""
    status = int(docker.ok("wait", name, timeout=120).split()[-1])
    return status, docker.ok("logs", name)


def test_the_first_start_indexes_and_the_next_ones_keep_the_index(
    docker: Any, library: Path, volume: str, ready: Ready
) -> None:
    volumes = ("--volume", f"{library}:/library:ro", "--volume", f"{volume}:/index")
    with docker.running("m2d-clap-life", *volumes) as address:
        start = time.monotonic()
        said = ready(address)
        first = time.monotonic() - start
        assert any("being indexed" in detail for detail in said)
        facts = httpx.get(f"{address}/v1/index", trust_env=False).json()
        start = time.monotonic()
        docker.ok("restart", "--time", "40", "m2d-clap-life")
        assert not any("being indexed" in detail for detail in ready(address))
        again = time.monotonic() - start
        assert httpx.get(f"{address}/v1/index", trust_env=False).json() == facts
        memory = docker.ok("stats", "--no-stream", "--format", "{{.MemUsage}}", "m2d-clap-life")
    print(
        f"\nstart to ready: {first:.1f} s with a first index of {facts['clips']} clips "
        f"({facts['seconds']:.0f} s of sound), {again:.1f} s with an index; {memory.strip()}"
    )


def test_what_was_accepted_is_answered_when_it_is_told_to_stop(
    docker: Any, library: Path, volume: str, ready: Ready
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * 60).astype(np.float32)
    body = io.BytesIO()
    wavfile.write(body, 16000, noise)
    upload = body.getvalue()

    def tag(address: str) -> tuple[float, int]:
        began = time.monotonic()
        files = {"file": ("noise.wav", upload)}
        answer = httpx.post(f"{address}/v1/tags", files=files, timeout=60, trust_env=False)
        return began, answer.status_code

    volumes = ("--volume", f"{library}:/library:ro", "--volume", f"{volume}:/index")
    with (
        docker.running("m2d-clap-drain", *volumes) as address,
        concurrent.futures.ThreadPoolExecutor(12) as pool,
    ):
        ready(address)
        asked = [pool.submit(tag, address) for _ in range(12)]
        time.sleep(1.0)  # all of them are on their way, few answered
        waiting = sum(not one.done() for one in asked)
        start = time.monotonic()
        docker.ok("stop", "--time", "40", "m2d-clap-drain")
        took = time.monotonic() - start
        assert [one.result()[1] for one in asked] == [200] * 12
        status, _ = exit_of(docker, "m2d-clap-drain")
        assert status == 0 and waiting > 0
    print(f"\nstopped in {took:.1f} s with {waiting} of 12 uploads unanswered: all were answered")


def test_a_checkpoint_that_the_index_was_not_made_with_ends_the_start(
    docker: Any, library: Path, volume: str, tmp_path: Path
) -> None:
    indexing = ("run", "--rm", "--volume", f"{library}/rain:/library:ro")
    indexing += ("--volume", f"{volume}:/index", docker.image, "index", "/library", "--out")
    docker.ok(*indexing, "/index")
    torch.manual_seed(0)
    other = ClapConfig(
        encoder=EncoderConfig(frames=64, width=32, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 384, 32),
        text=TextConfig("minilm", max_tokens=256),
    )
    Checkpoint.of(Clap(other).eval()).save(tmp_path / "other")
    options = ("--volume", f"{tmp_path}/other:/given:ro", "--volume", f"{volume}:/index")
    options += ("--env", "M2D_CLAP_CHECKPOINT=/given")
    with docker.running("m2d-clap-other", *options):
        status, log = exit_of(docker, "m2d-clap-other")
    assert status == 1 and "was made with another checkpoint" in log and "Traceback" not in log


def test_a_full_volume_ends_the_first_start_with_the_reason(
    docker: Any, library: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    size = ("-o", "size=200k,mode=0777")
    subprocess.run(["mount", "-t", "tmpfs", *size, "tmpfs", small], check=True)
    try:
        volumes = ("--volume", f"{library}:/library:ro", "--volume", f"{small}:/index")
        with docker.running("m2d-clap-full", *volumes):
            status, log = exit_of(docker, "m2d-clap-full")
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)
    assert status == 1 and "cannot be written" in log and "make room" in log
    assert ("full" in log or "No space" in log) and "Traceback" not in log


def test_published_weights_are_imported_by_the_documented_command(
    docker: Any, volume: str, published: dict[str, Path]
) -> None:
    weights = published["a"]
    folder = weights.parent
    place = f"/published/{folder.name}"
    said = docker.ok(
        "run", "--rm", "--volume", f"{folder}:{place}:ro", "--volume", f"{volume}:/models",
        docker.image, "import", f"{place}/{weights.name}", "/models/clap-2025",
        "--heads", "2", "--text-heads", "2",
    )  # fmt: skip
    assert "/models/clap-2025" in said and "fingerprint" in said
    told = docker.ok(
        "run", "--rm", "--volume", f"{volume}:/models:ro", docker.image, "info", "/models/clap-2025"
    )
    assert "front_end" in told
