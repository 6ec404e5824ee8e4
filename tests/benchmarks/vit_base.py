"""Clips a second of a model of the published size through the service, beside plain float32 torch.

    python tests/benchmarks/vit_base.py --json

A ViT-Base with random weights is served as torch runs it by itself (bfloat16 where the processor
has it) and on OpenVINO (skipped where that extra is missing). Ten-second clips, no two alike, are
uploaded to POST /v1/search/audio, `--together` at a time. The peers of the same run, all in turns:
the same encoder in float32, in a bare loop over the same clips; and this machine's rate of float32
matrix products, from which the reference runtime's figure follows (it reaches about 0.87 of it).
Medians of the rounds; ratios above 1 are in the service's favour. One client thread a clip in
flight, on the same cores: what it costs counts against the service.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import wavfile

from m2d_clap.index.build import build_index
from m2d_clap.model import Checkpoint, Clap, Waveform
from m2d_clap.model.config import ClapConfig, EncoderConfig, Engine, ProjectorConfig
from m2d_clap.model.engines import engine

RATE, SECONDS = 16000, 10
OF_REFERENCE = 0.87  # of the rate of matrix products
CONFIG = ClapConfig(
    name="vit-base-random",
    encoder=EncoderConfig(frames=1001),
    projector=ProjectorConfig("semantic", dim=768),
)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--together", type=int, default=8, help="clips in flight")
    options.add_argument("--clips", type=int, default=80, help="a round")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="of the encoders")
    options.add_argument("--json", action="store_true", help="for machines")
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    clap = Clap(CONFIG).eval()
    engines: list[Engine] = ["torch"]
    if find_spec("openvino"):
        engines.append("openvino")
    rng = np.random.default_rng(0)
    figures: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        index = made_index(folder, clap, rng)
        servers = {e: stack.enter_context(server(index, e, chosen.threads)) for e in engines}
        for _ in range(chosen.rounds + 1):
            sounds = [noise(rng) for _ in range(chosen.clips)]
            bare = bare_rate(clap, sounds[: chosen.together])
            figures.setdefault("float32", []).append(bare)
            figures.setdefault("matrix_gflops", []).append(matrix_rate() / 1e9)
            for name, address in servers.items():
                rate = served_rate(address, sounds, chosen.together)
                figures.setdefault(name, []).append(rate)
    report = summary({name: statistics.median(f[1:]) for name, f in figures.items()})
    report |= {f"cosine_{e}": cosine(clap, e, chosen.threads, noise(rng)) for e in engines}
    report |= {"together": chosen.together, "threads": chosen.threads, "rounds": chosen.rounds}
    print(json.dumps(report) if chosen.json else "\n".join(f"{k}: {v}" for k, v in report.items()))


def summary(medians: dict[str, float]) -> dict[str, object]:
    """Clips a second of each, and the service's in units of both peers."""
    reference = OF_REFERENCE * medians["matrix_gflops"] * 1e9 / clip_flops()
    report: dict[str, object] = {
        "matrix_gflops": round(medians["matrix_gflops"], 1),
        "reference_clips_a_second": round(reference, 3),
        "float32_loop_clips_a_second": round(medians["float32"], 3),
    }
    for name in ("torch", "openvino"):
        if name in medians:
            report[f"{name}_clips_a_second"] = round(medians[name], 3)
            report[f"{name}_to_reference"] = round(medians[name] / reference, 2)
            report[f"{name}_to_float32_loop"] = round(medians[name] / medians["float32"], 2)
    return report


def clip_flops() -> float:
    """Operations of a clip's forward pass, multiply-adds as two: the blocks alone."""
    size = CONFIG.encoder
    tokens, width = CONFIG.grid_rows * size.columns + 1, size.width
    return size.depth * (24 * tokens * width**2 + 4 * tokens**2 * width)


def matrix_rate() -> float:
    """Float32 operations a second of square matrix products."""
    a, b = torch.randn(2, 2048, 2048)
    torch.mm(a, b)
    start = time.perf_counter()
    for _ in range(8):
        torch.mm(a, b)
    return 8 * 2 * 2048**3 / (time.perf_counter() - start)


def noise(rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(0, 0.1, RATE * SECONDS).astype(np.float32)


def bare_rate(clap: Clap, sounds: list[NDArray[np.float32]]) -> float:
    """Clips a second of the float32 encoder by itself, in one batch."""
    start = time.perf_counter()
    clap.embed_audio([Waveform(samples, RATE) for samples in sounds])
    return len(sounds) / (time.perf_counter() - start)


def served_rate(address: str, sounds: list[NDArray[np.float32]], together: int) -> float:
    """Clips a second of the service, from the first upload to the last answer."""
    files = [wav(samples) for samples in sounds]
    with (
        httpx.Client(base_url=address, trust_env=False, timeout=300) as client,
        ThreadPoolExecutor(together) as pool,
    ):

        def ask(file: bytes) -> None:
            client.post("/v1/search/audio", files={"file": ("a.wav", file)}).raise_for_status()

        start = time.perf_counter()
        list(pool.map(ask, files))
        return len(files) / (time.perf_counter() - start)


def wav(samples: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    wavfile.write(file, RATE, (samples.clip(-1, 1) * 32767).astype(np.int16))
    return file.getvalue()


def cosine(clap: Clap, name: Engine, threads: int, samples: NDArray[np.float32]) -> float:
    """Between this clip's embedding as the service computes it, in bfloat16, and in float32."""
    sound = [Waveform(samples, RATE)]
    exact = clap.embed_audio(sound)
    clap.precision = "bfloat16"
    clap.audio.backbone.engine = engine(clap, name, threads)
    fast = clap.embed_audio(sound)
    clap.precision, clap.audio.backbone.engine = "float32", None
    return round(torch.cosine_similarity(exact, fast).item(), 6)


def made_index(folder: Path, clap: Clap, rng: np.random.Generator) -> Path:
    """A library of two clips; enough to search in, and all the time goes into encoding."""
    library = folder / "library"
    library.mkdir()
    for name in ("a.wav", "b.wav"):
        (library / name).write_bytes(wav(noise(rng)))
    checkpoint = Checkpoint.of(clap)
    checkpoint.save(folder / "model")
    build_index(library, folder / "index", folder / "model", checkpoint.fingerprint, clap)
    return folder / "index"


@contextmanager
def server(index: Path, engine: str, threads: int) -> Iterator[str]:
    """The address of a server that is ready."""
    chosen = {"M2D_CLAP_ENGINE": engine, "M2D_CLAP_THREADS": str(threads)}
    command = [Path(sys.executable).with_name("m2d-clap"), "serve", index, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **chosen}
    ) as process:
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            address = next(word for word in words if word.startswith("http"))
            while httpx.get(f"{address}/readyz", trust_env=False).status_code != 200:
                if process.poll() is not None:
                    raise SystemExit("the server ended before it was ready")
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
