"""What indexing costs: how busy its slowest part is, how much memory a long recording takes, and
what a second run costs of the first.

    python tests/benchmarks/index_curves.py busy                 # short and long files together
    python tests/benchmarks/index_curves.py long --hours 10      # one recording, a bell hidden in it
    python tests/benchmarks/index_curves.py again --files 2000   # then 1 % of them changed
    python tests/benchmarks/index_curves.py many --files 1000000 # all but decoding and encoding

`many` gives files of one byte the vectors of index_million.py in place of reading them: what is left is
what an index costs beside its encoder, told without the making of the vectors. Add for each clip what
`again` says of `first_seconds`.

Everything is made up, and seeded, in a temporary folder (ten hours take 1.2 GB there). Clocks start
when the model is loaded. Memory is the resident set of this process and its decoders, sampled 50
times a second, and `above_start` what it grew by since the imports, model included. Other load on
the machine counts: run it on a quiet one.
"""

import argparse
import hashlib
import json
import os
import tempfile
import threading
import time
import wave
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from index_million import Points
from numpy.typing import NDArray
from scipy.io import wavfile

from m2d_clap.index import Index, Report, build_index
from m2d_clap.index.embed import Encoded
from m2d_clap.index.options import Options
from m2d_clap.index.pipeline import Remote, Work
from m2d_clap.index.reading import Heard, Piece, Whole
from m2d_clap.index.windows import WINDOW_SECONDS, Window
from m2d_clap.model import Checkpoint, Clap, Waveform, bundled

_RATE = 16000
_HIDDEN_SECONDS = 6.0


@dataclass
class Memory:
    """Bytes resident, at the start and at most, of this process and its children."""

    start: int
    peak: int


def main(words: Sequence[str] | None = None) -> None:
    """Measures, and prints one JSON object."""
    options = _options().parse_args(words)
    if options.threads:
        torch.set_num_threads(options.threads)
    with watched() as memory, tempfile.TemporaryDirectory() as folder:
        model = Checkpoint.load(options.checkpoint)
        clap = model.clap()
        clap.precision = options.precision
        run = Run(Path(folder), options.checkpoint, model.fingerprint, clap, memory)
        measure = {"busy": _busy, "long": _long, "again": _again, "many": _many}[options.what]
        figures = measure(run, options)
    figures |= {
        "peak_mb": round(memory.peak / 1e6, 1),
        "above_start_mb": round((memory.peak - memory.start) / 1e6, 1),
        "model": model.config.name,
        "precision": options.precision,
        "torch_threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(figures))


@dataclass(frozen=True)
class Run:
    """A folder to work in, and the model."""

    folder: Path
    checkpoint: Path
    fingerprint: str
    clap: Clap
    memory: Memory

    @property
    def library(self) -> Path:
        return self.folder / "library"

    def index(self, remote: Remote | None = None) -> Report:
        made = self.checkpoint, self.fingerprint, self.clap
        return build_index(
            self.library, self.folder / "index", *made, options=Options(remote=remote)
        )


def _busy(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Half the sound in files of 1 to 30 s, half in files of 10 minutes; 44.1 kHz."""
    random = np.random.default_rng(0)
    run.library.mkdir()
    made, number = 0.0, 0
    while made < options.seconds:
        long = made >= options.seconds / 2
        seconds = 600.0 if long else float(random.uniform(1, 30))
        noise = random.normal(0, 3000, int(seconds * 44100)).astype(np.int16)
        wavfile.write(run.library / f"{number:06}.wav", 44100, noise)
        made, number = made + seconds, number + 1
    _warm(run.clap)
    report = run.index()
    return {
        "files": number,
        "sound_seconds": round(report.seconds),
        "elapsed_seconds": report.elapsed,
        "times_real_time": round(report.seconds / report.elapsed, 1),
        "busy": report.busy,
        "slowest": report.slowest,
    }


def _long(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Quiet, slowly changing noise, with a bell somewhere behind its middle."""
    run.library.mkdir()
    seconds = options.hours * 3600
    at = seconds * 0.6180339
    bell = _bell()
    _recording(run.library / "long.wav", int(seconds), at, bell)
    report = run.index()
    query = run.clap.embed_audio([Waveform(bell, _RATE)])[0].numpy()
    (hit,) = Index.open(run.folder / "index").search(query, 1)
    return {
        "sound_seconds": round(report.seconds),
        "windows": report.windows,
        "elapsed_seconds": report.elapsed,
        "busy": report.busy,
        "slowest": report.slowest,
        "hidden_at": round(at, 1),
        "found_at": [hit.start, hit.end],
        "score": round(hit.score, 3),
        "found": hit.start - WINDOW_SECONDS <= at <= hit.end + WINDOW_SECONDS,
    }


def _again(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Files of 3 s; then one in a hundred is written anew."""
    random = np.random.default_rng(0)
    run.library.mkdir()

    def write(number: int) -> None:
        noise = random.normal(0, 3000, 3 * _RATE).astype(np.int16)
        wavfile.write(run.library / f"{number:06}.wav", _RATE, noise)

    for number in range(options.files):
        write(number)
    _warm(run.clap)
    first = run.index()
    for number in range(0, options.files, 100):
        write(number)
    second = run.index()
    third = run.index()
    assert second.changed == len(range(0, options.files, 100))
    return {
        "files": options.files,
        "first_seconds": first.elapsed,
        "one_percent_changed_seconds": second.elapsed,
        "nothing_changed_seconds": third.elapsed,
        "share": round(second.elapsed / first.elapsed, 4),
    }


def _many(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Files of one byte in folders of a thousand; then one in a hundred is written anew."""
    points = Points(options.files, run.clap.config.clap_dim, 0)
    for number in range(options.files):
        if number % 1000 == 0:
            (run.library / f"{number // 1000:04}").mkdir(parents=True)
        _numbered(run.library, number).write_bytes(b".")
    drawing = 0.0

    def drawn(work: Work) -> Generator[Encoded, None, None]:
        nonlocal drawing
        for first in range(0, len(work.files), 1000):
            start = time.perf_counter()
            pieces: list[Piece] = []
            vectors = []
            for file in work.files[first : first + 1000]:
                sha256 = hashlib.sha256(f"{file.path} {file.mtime_ns}".encode()).hexdigest()
                window = Window(0.0, 10.0, np.zeros(0, np.float32))
                pieces.append(Heard(file, sha256[:16], 0, window, 0))
                pieces.append(Whole(file, sha256[:16], 10.0, sha256))
                vectors.append(points.vector(int(file.path[:4]) * 1000 + int(file.path[5:8])))
            drawing += time.perf_counter() - start
            yield pieces, vectors

    figures: dict[str, Any] = {"files": options.files}

    def timed(name: str) -> None:
        nonlocal drawing
        drawing, run.memory.peak = 0.0, 0
        seconds = run.index(drawn).elapsed - drawing
        above = (run.memory.peak - run.memory.start) / 1e6
        figures[name] = {"seconds": round(seconds, 2), "above_start_mb": round(above, 1)}

    timed("first")
    for number in range(0, options.files, 100):
        os.utime(_numbered(run.library, number), (1, 1))
    timed("one_percent_changed")
    timed("nothing_changed")
    start = time.perf_counter()
    index = Index.open(run.folder / "index")
    figures["open_seconds"] = round(time.perf_counter() - start, 3)
    took = []
    for query in points.block(1 << 40, 300):
        start = time.perf_counter()
        index.search(query, 10)
        took.append(1000 * (time.perf_counter() - start))
    p50, p95 = (round(float(np.quantile(took, q)), 2) for q in (0.5, 0.95))
    size = sum(f.stat().st_size for f in index.folder.rglob("*") if f.is_file())
    found = {"search_p50_ms": p50, "search_p95_ms": p95, "disk_mb": round(size / 1e6, 1)}
    return figures | found | {"kind": index.kind, "recall": index.recall}


def _numbered(library: Path, number: int) -> Path:
    return library / f"{number // 1000:04}" / f"{number % 1000:03}.wav"


def _warm(clap: Clap) -> None:
    """What is made when first used is made here."""
    clap.embed_audio([Waveform(np.zeros(10 * _RATE, np.float32), _RATE)] * 4)


def _bell() -> NDArray[np.float32]:
    moments = np.arange(int(_HIDDEN_SECONDS * _RATE)) / _RATE
    parts = [
        np.exp(-moments * fade) * np.sin(2 * np.pi * hz * moments)
        for hz, fade in ((220, 0.4), (440, 0.6), (529, 0.9), (660, 1.1), (880, 1.4), (1175, 2.0))
    ]
    bell: NDArray[np.float32] = (0.15 * np.sum(parts, axis=0)).astype(np.float32)
    return bell


def _recording(file: Path, seconds: int, at: float, hidden: NDArray[np.float32]) -> None:
    """Written a minute at a time."""
    random = np.random.default_rng(1)
    start = int(at * _RATE)
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, _RATE, 0, "NONE", ""))
        for minute in range(0, seconds, 60):
            count = min(60, seconds - minute) * _RATE
            loud = 0.01 + 0.01 * np.sin(minute / 997) ** 2
            block = random.standard_normal(count, np.float32) * np.float32(loud)
            first = minute * _RATE
            begin, end = max(first, start), min(first + count, start + len(hidden))
            if begin < end:
                block[begin - first : end - first] += hidden[begin - start : end - start]
            out.writeframes((block.clip(-1, 1) * 32767).astype(np.int16).tobytes())


@contextmanager
def watched() -> Iterator[Memory]:
    """Samples memory until the end of the context; Linux only."""
    memory = Memory(_resident(), 0)
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            memory.peak = max(memory.peak, _resident())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()
        memory.peak = max(memory.peak, _resident())


def _resident() -> int:
    """Bytes, of this process and the children it has now."""
    found = 0
    pids = [str(os.getpid())]
    for task in Path("/proc/self/task").iterdir():
        try:
            pids += (task / "children").read_text().split()
        except OSError:
            continue
    for pid in pids:
        try:
            found += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue  # it has ended
    return found * os.sysconf("SC_PAGE_SIZE")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("busy", "long", "again", "many"))
    parser.add_argument("--checkpoint", type=Path, default=bundled())
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seconds", type=float, default=9600, help="busy: of sound")
    parser.add_argument("--hours", type=float, default=10.0, help="long: of the recording")
    parser.add_argument("--files", type=int, default=2000, help="again, many: how many")
    return parser


if __name__ == "__main__":
    main()
