"""Thousands of damaged sound files against a running server: no crash, no hang, no 500, no leak.

Sound files of many formats are damaged by bit flips, truncation and foreign headers, seeded, and
uploaded; a report as JSON, exit status 1 where anything is not as promised. `--route /v1/captions` tries
another route that takes a file.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
from scipy.io import wavfile

from m2d_clap.model import bundled

RATE = 48000
FORMATS = (
    *(("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus")),
    *(("webm", "libopus"), ("mp4", "aac"), ("adts", "aac"), ("matroska", "aac")),
    *(("asf", "wmav2"), ("aiff", "pcm_s16be"), ("wv", "wavpack"), ("mpegts", "mp2")),
)
SLOWEST = 10.0  # seconds an answer may take
GROWTH = 1.10  # of the memory after the warm-up
WARM_UP = 200


def encoded(container: str, codec: str) -> bytes:
    """Two seconds of a chord."""
    t = np.arange(2 * RATE) / RATE
    samples = sum(0.2 * np.sin(2 * np.pi * hz * t) for hz in (220, 550, 1800)).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        stream.bit_rate = 96_000
        wanted = stream.codec_context.codec.audio_formats[0].name
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        converter = av.AudioResampler(format=wanted, layout="mono", rate=RATE)
        for part in [*converter.resample(frame), *converter.resample(None)]:
            for packet in stream.encode(part):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


def mutated(rng: np.random.Generator, originals: list[bytes]) -> tuple[str, bytes]:
    """The kind of damage, and a damaged file."""
    data = bytearray(originals[rng.integers(len(originals))])
    kind = str(rng.choice(["flips", "header flips", "truncation", "splice", "header of another"]))
    if kind in ("flips", "header flips"):
        reach = len(data) if kind == "flips" else min(len(data), 256)
        for place in rng.integers(reach, size=int(2 ** rng.uniform(0, 9))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == "truncation":
        del data[int(rng.integers(len(data))) :]
    elif kind == "splice":
        other = originals[rng.integers(len(originals))]
        start, end = sorted(rng.integers(len(other), size=2))
        place = int(rng.integers(len(data)))
        data[place:place] = other[start:end]
    else:
        other = originals[rng.integers(len(originals))]
        size = int(rng.integers(4, 512))
        data[:size] = other[:size]
    return kind, bytes(data)


@contextlib.contextmanager
def serving(folder: Path, checkpoint: Path) -> Iterator[tuple[int, httpx.Client]]:
    """A server with an index of two tones."""
    script = Path(sys.executable).with_name("m2d-clap")
    (folder / "library").mkdir()
    for hz in (300, 900):
        sound = 0.3 * np.sin(2 * np.pi * hz * np.arange(16000) / 16000)
        wavfile.write(folder / "library" / f"{hz}.wav", 16000, sound.astype(np.float32))
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    asked = [script, "index", folder / "library", "--out", folder / "index"]
    subprocess.run([*asked, "--checkpoint", checkpoint], check=True, **quiet)
    command = [script, "serve", folder / "index", "--port", "0"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address is not None, "the server did not start"
            with httpx.Client(base_url=address[0], timeout=60, trust_env=False) as client:
                while client.get("/readyz").status_code != 200:
                    time.sleep(0.1)
                yield process.pid, client
        finally:
            process.send_signal(signal.SIGTERM)


def memory(pid: int) -> dict[int, int]:
    """Bytes of a process and of each below it; what they share is counted once."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for file in tasks for child in file.read_text().split()]
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    pss = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert pss is not None
    found = {pid: int(pss[1]) * 1024}
    for child in children:
        found |= memory(child)
    return found


def measure(
    count: int, seed: int, together: int, out: Path | None, route: str, checkpoint: Path
) -> dict[str, Any]:
    """Uploads `count` damaged files; the report."""
    originals = [encoded(*kind) for kind in FORMATS]
    rng = np.random.default_rng(seed)
    statuses: collections.Counter[str] = collections.Counter()
    bad: list[dict[str, Any]] = []
    slowest = 0.0

    def upload(number: int, kind: str, data: bytes) -> None:
        nonlocal slowest
        start = time.monotonic()
        try:
            response = client.post(route, files={"file": data})
            status = str(response.status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        seconds = time.monotonic() - start
        slowest = max(slowest, seconds)
        statuses[status] += 1
        if seconds > SLOWEST or status not in ("200", "413", "415", "422"):
            bad.append({"number": number, "kind": kind, "status": status, "seconds": seconds})
            if out is not None:
                (out / f"{number}.bin").write_bytes(data)

    def run(first: int, last: int) -> None:
        with ThreadPoolExecutor(together) as pool:
            for number in range(first, last, 100):
                batch = [
                    (n, *mutated(rng, originals)) for n in range(number, min(number + 100, last))
                ]
                list(pool.map(lambda one: upload(*one), batch))

    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), checkpoint) as (pid, client),
    ):
        run(0, WARM_UP)
        before = memory(pid)
        start = time.monotonic()
        run(WARM_UP, WARM_UP + count)
        took = time.monotonic() - start
        time.sleep(1.0)
        after = memory(pid)
        alive = client.get("/readyz").status_code == 200
        metrics = client.get("/metrics").text
    deaths = dict(re.findall(r'm2d_clap_process_deaths\{process="(\w+)"\} (\S+)', metrics))
    return {
        "route": route,
        "uploads": count,
        "seed": seed,
        "statuses": dict(statuses),
        "slowest_seconds": round(slowest, 3),
        "uploads_per_second": round(count / took, 1),
        "memory_before_mib": [b >> 20 for b in before.values()],
        "memory_after_mib": [b >> 20 for b in after.values()],
        "growth": round(sum(after.values()) / sum(before.values()), 4),
        "process_deaths": deaths,
        "ready_at_the_end": alive,
        "bad": bad,
        "passed": not bad and alive and sum(after.values()) <= GROWTH * sum(before.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--together", type=int, default=4, help="uploads at the same time")
    parser.add_argument("--out", type=Path, help="a folder for the files that were answered badly")
    parser.add_argument("--route", default="/v1/search/audio")
    parser.add_argument("--checkpoint", type=Path, default=bundled(), help="default: bundled")
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
    report = measure(
        chosen.count, chosen.seed, chosen.together, chosen.out, chosen.route, chosen.checkpoint
    )
    print(json.dumps(report, indent=2))
    sys.exit(0 if report["passed"] else 1)


if __name__ == "__main__":
    main()
