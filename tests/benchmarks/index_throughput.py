"""How many seconds of sound `m2d-clap index` takes in a second.

    python tests/benchmarks/index_throughput.py --checkpoint clap-2025 --library ~/sounds
    python tests/benchmarks/index_throughput.py --seconds 600 --json

The clock starts when the model is loaded. The index goes to a temporary folder. Decoding runs in
threads beside the encoder, so the three shares, each step run alone over the same sounds, say
where the work is, not how the time adds up. Other load on the machine counts: run it on a quiet
one, twice.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile

from m2d_clap.index import build_index
from m2d_clap.index.options import Options
from m2d_clap.index.pipeline import BATCH_SECONDS
from m2d_clap.index.walk import walk
from m2d_clap.index.windows import Window, windows
from m2d_clap.model import Checkpoint, Clap, Waveform, bundled, decode
from m2d_clap.model.errors import AudioError

_SAMPLE_SECONDS = 120.0


def main(words: Sequence[str] | None = None) -> None:
    """Measures, and prints one line or one JSON object."""
    options = _options().parse_args(words)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    checkpoint = Checkpoint.load(options.checkpoint)
    clap = checkpoint.clap()
    with tempfile.TemporaryDirectory() as folder:
        library = options.library or _noise(Path(folder) / "noise", options.seconds)
        out = Path(folder) / "index"
        shares = _shares(library, out, clap)  # also warms the model up
        start = time.perf_counter()
        report = build_index(
            library,
            out,
            options.checkpoint,
            checkpoint.fingerprint,
            clap,
            options=Options(options.batch_seconds),
        )
        elapsed = time.perf_counter() - start
    figures = {
        "sound_seconds": round(report.seconds, 1),
        "elapsed_seconds": round(elapsed, 2),
        "times_real_time": round(report.seconds / elapsed, 1),
        "shares": shares,
        "model": checkpoint.config.name,
        "torch_threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "batch_seconds": options.batch_seconds,
    }
    if options.json:
        print(json.dumps(figures))
        return
    parts = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    print(
        f"{figures['times_real_time']} × real time: {figures['sound_seconds']} s of sound in "
        f"{figures['elapsed_seconds']} s with {figures['model']} on {figures['torch_threads']} "
        f"threads ({parts})"
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--library", type=Path, help="folder of sounds (default: made of noise)")
    parser.add_argument(
        "--checkpoint", type=Path, default=bundled(), help="default: the bundled one"
    )
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="noise to make, in clips of 10 s (default 600)"
    )
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    parser.add_argument(
        "--batch-seconds", type=float, default=BATCH_SECONDS, help=f"default {BATCH_SECONDS:g}"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


def _noise(folder: Path, seconds: float) -> Path:
    """Clips of 10 s at 44.1 kHz, so that resampling is paid for as in most libraries."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(max(1, round(seconds / 10))):
        noise = random.normal(0, 3000, 441_000).astype(np.int16)
        wavfile.write(folder / f"{number:05}.wav", 44_100, noise)
    return folder


def _shares(library: Path, out: Path, clap: Clap) -> dict[str, float]:
    """What part of the work is decoding, log-mel and encoding, over the library's first sounds."""
    rate = clap.config.front_end.sample_rate
    start = time.perf_counter()
    cut: list[Window] = []
    for file in walk(library, out).files:
        try:
            cut += windows(decode(library / file.path, rate), rate)
        except AudioError:
            continue
        if sum(window.end - window.start for window in cut) >= _SAMPLE_SECONDS:
            break
    if not cut:
        raise SystemExit(f"no sound was found in {library}: name another --library")
    decoded = time.perf_counter()
    mels = [clap.log_mel(Waveform(window.samples, rate)) for window in cut]
    heard = time.perf_counter()
    clap.project(clap.grids(mels))
    times = [decoded - start, heard - decoded, time.perf_counter() - heard]
    names = ("decode", "log-mel", "encode")
    return {n: round(t / sum(times), 3) for n, t in zip(names, times, strict=True)}


if __name__ == "__main__":
    main()
