"""What the web service costs beside its encoders and its index, and how it holds when overrun.

    python tests/benchmarks/service_load.py               # a few minutes, every line
    python tests/benchmarks/service_load.py texts --rounds 5 --json

`m2d-clap serve` runs as a process of its own, with the bundled checkpoint, a made-up library and
the settings it comes with. Each line is measured in rounds, the server's turn and its peer's one
after the other; printed are medians over the rounds, and their ratio. The peers, in this process:
encoder and index asked bare, text by text in turns with the server (`one`), in batches of 64
(`texts`), `read_audio` and the encoder over 16 files (`uploads`); for `cached` it is /livez, the
server's hello-world; `start` has none.
`overload` has ten times as many clients as full load, each of which asks again when Retry-After
has passed.

The clients (clients.py) are one thread on plain sockets. What that used of the processor is printed too (`client`, of one
core): so little that it is left in the server's figures. The peers pay for none, nor for HTTP.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import httpx
import numpy as np
import torch
from clients import HITS, Connection, Load, get, load, search_text, sentences, upload
from scipy.io import wavfile

from m2d_clap.index import Index, build_index
from m2d_clap.model import Checkpoint, Clap, bundled, fastest_precision, read_audio
from m2d_clap.model.sounds import write_library
from m2d_clap.service.encoders import encode_sounds, encode_texts

_REST = 0.003  # seconds between two turns: threads that hope for more to do are still busy
TEXTS_TOGETHER, UPLOADS_TOGETHER, TIMES = 64, 16, 10


def noises(count: int) -> list[bytes]:
    """Sound files of 10 s at 44.1 kHz, so that resampling is paid for as with most uploads."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        file = io.BytesIO()
        wavfile.write(file, 44_100, rng.normal(0, 3000, 441_000).astype(np.int16))
        files.append(file.getvalue())
    return files


@contextlib.contextmanager
def serving(index: Path, log: Path) -> Iterator[tuple[str, int]]:
    """The address of a server that is ready."""
    # Not the script: in the image it does not lie beside the interpreter.
    command = [sys.executable, "-c", "from m2d_clap.service.cli import main; main()"]
    with (
        log.open("w") as err,
        subprocess.Popen(
            [*command, "serve", index, "--port", "0"], stdout=subprocess.PIPE, stderr=err, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            found = re.search(r"http://([\d.]+):(\d+)", process.stdout.readline())
            assert found is not None, log.read_text()
            address = (found[1], int(found[2]))
            while 200 not in load(address, itertools.repeat(get("/readyz")), 1, 0.05, 0.0).seconds:
                time.sleep(0.1)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class Bench:
    """The server, and its peers in this process."""

    def __init__(self, address: tuple[str, int], index: Path, clap: Clap, seconds: float) -> None:
        self.address = address
        self.seconds = seconds
        self.clap = clap
        self.folder = index
        self.index = Index.open(index)
        self.vectors = faiss.read_index(str(next(index.glob("generation-*/vectors.faiss"))))
        self.texts = sentences(0)
        self.noises = noises(UPLOADS_TOGETHER)
        encode_texts(clap, [["the text encoder is loaded with the first text"]])

    def ask(self, requests: Iterator[bytes], together: int, pause: float = 0.0) -> Load:
        seen = load(self.address, requests, together, self.seconds, pause)
        strange = {status for status in seen.seconds if status not in (200, 503)}
        assert not strange, f"answered with {strange}"
        return seen

    def new_texts(self) -> Iterator[bytes]:
        return map(search_text, self.texts)

    def uploads(self, route: str = "/v1/search/audio") -> Iterator[bytes]:
        return itertools.cycle([upload(noise, route) for noise in self.noises])

    def start(self) -> dict[str, float]:
        """How long a second server takes until it is ready, and what its own process holds then."""
        began = time.perf_counter()
        with (
            tempfile.TemporaryDirectory() as folder,
            serving(self.folder, Path(folder) / "log") as at,
        ):
            ready = time.perf_counter() - began
            page = httpx.get(f"http://{at[0]}:{at[1]}/metrics", trust_env=False).text
        held = re.search(r"^process_resident_memory_bytes (\S+)", page, re.MULTILINE)
        assert held is not None
        return {"ready_s": ready, "server_mb": float(held[1]) / 1e6}

    def one(self) -> dict[str, float]:
        """p50 of one client's text searches beside encoder and search, text by text in turns."""
        asking, encoding, searching = [], [], []
        connection = Connection(self.address)
        connection.socket.setblocking(True)
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            connection.ask(search_text(next(self.texts)))
            while (status := connection.read()) is None:
                pass
            assert status == 200, f"answered with {status}"
            asking.append(time.perf_counter() - connection.start)
            time.sleep(_REST)
            start = time.perf_counter()
            vector = encode_texts(self.clap, [[next(self.texts)]])[0][0]
            encoded = time.perf_counter()
            self.index.search(vector, HITS)
            searching.append(time.perf_counter() - encoded)
            encoding.append(encoded - start)
            time.sleep(_REST)
        connection.socket.close()
        service, encoder, search = map(statistics.median, (asking, encoding, searching))
        return {
            "service_ms": 1e3 * service,
            "encoder_ms": 1e3 * encoder,
            "search_ms": 1e3 * search,
            "added_ms": 1e3 * (service - encoder - search),
        }

    def many(self) -> dict[str, float]:
        """New texts from 64 clients beside the same number of them in batches."""
        seen = self.ask(self.new_texts(), TEXTS_TOGETHER)

        def batch() -> int:
            texts = list(itertools.islice(self.texts, TEXTS_TOGETHER))
            self.vectors.search(np.stack(encode_texts(self.clap, [texts])[0]), HITS)
            return len(texts)

        return self._rates(seen, self._repeated(batch))

    def cached(self) -> dict[str, float]:
        """Texts that were asked before, beside the plainest route."""
        known = list(itertools.islice(self.new_texts(), TEXTS_TOGETHER))
        self.ask(itertools.cycle(known), TEXTS_TOGETHER)
        seen = self.ask(itertools.cycle(known), TEXTS_TOGETHER)
        hello = self.ask(itertools.repeat(get("/livez")), TEXTS_TOGETHER)
        return self._rates(seen, hello.rate)

    def sounds(self) -> dict[str, float]:
        """Uploads from 16 clients beside decoding and encoding the same files."""
        seen = self.ask(self.uploads(), UPLOADS_TOGETHER)
        rate = self.clap.config.front_end.sample_rate

        def batch() -> int:
            encode_sounds(self.clap, [read_audio(io.BytesIO(n), rate) for n in self.noises])
            return len(self.noises)

        return self._rates(seen, self._repeated(batch))

    def overrun(self, requests: Iterator[bytes], together: int) -> dict[str, float]:
        """Full load, then ten times as many clients."""
        full = self.ask(requests, together)
        seen = self.ask(requests, together * TIMES, pause=1.0)
        answers = sum(map(len, seen.seconds.values()))
        return {
            "full_p99_ms": 1e3 * full.quantile(0.99),
            "accepted_p99_ms": 1e3 * seen.quantile(0.99),
            "times_p99": seen.quantile(0.99) / full.quantile(0.99),
            "refused_p50_ms": 1e3 * seen.quantile(0.5, 503),
            "refused": len(seen.seconds.get(503, [])) / answers,
            "full_per_second": full.rate,
            "accepted_per_second": seen.rate,
            "client": seen.client,
        }

    def _repeated(self, batch: Callable[[], int]) -> float:
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < self.seconds:
            done += batch()
        return done / (time.perf_counter() - start)

    @staticmethod
    def _rates(seen: Load, peer: float) -> dict[str, float]:
        return {
            "service_per_second": seen.rate,
            "peer_per_second": peer,
            "ratio": seen.rate / peer,
            "client": seen.client,
        }


LINES: dict[str, tuple[str, Callable[[Bench], dict[str, float]], dict[str, tuple[str, float]]]] = {
    "start": ("start to ready", Bench.start, {}),
    "one": ("text search, 1 client", Bench.one, {"added_ms": ("<=", 3.0)}),
    "texts": ("new texts, 64 clients", Bench.many, {"ratio": (">=", 0.8)}),
    "cached": ("cached texts, 64 clients", Bench.cached, {"ratio": (">=", 0.1)}),
    "uploads": ("uploads, 16 clients", Bench.sounds, {"ratio": (">=", 0.8)}),
    "overload-texts": (
        "new texts, 640 clients",
        lambda bench: bench.overrun(bench.new_texts(), TEXTS_TOGETHER),
        {"refused_p50_ms": ("<=", 100.0), "times_p99": ("<=", 3.0)},
    ),
    "overload-uploads": (
        "uploads, 160 clients",
        lambda bench: bench.overrun(bench.uploads(), UPLOADS_TOGETHER),
        {"refused_p50_ms": ("<=", 100.0), "times_p99": ("<=", 3.0)},
    ),
    "overload-captions": (
        "captions of uploads, 160 clients",
        lambda bench: bench.overrun(bench.uploads("/v1/captions"), UPLOADS_TOGETHER),
        {"refused_p50_ms": ("<=", 100.0), "times_p99": ("<=", 3.0)},
    ),
}
"""By name: what it is, how a round of it is measured, and what must hold."""


def measure(chosen: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Every chosen line's medians over the rounds."""
    checkpoint = Checkpoint.load(bundled())
    clap = checkpoint.clap()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_library(folder, per_kind=1)
        index = folder / "index"
        build_index(folder / "sounds", index, bundled(), checkpoint.fingerprint, clap)
        clap.precision = fastest_precision("cpu")
        with serving(index, folder / "log") as address:
            bench = Bench(address, index, clap, seconds)
            measured: dict[str, list[dict[str, float]]] = {line: [] for line in chosen}
            for _ in range(rounds):
                for line in chosen:
                    measured[line].append(LINES[line][1](bench))
                    print(line, measured[line][-1], file=sys.stderr)
    lines = {}
    for line, found in measured.items():
        medians = {key: statistics.median(each[key] for each in found) for key in found[0]}
        bounds = LINES[line][2]
        held = all(
            medians[key] <= bound if sign == "<=" else medians[key] >= bound
            for key, (sign, bound) in bounds.items()
        )
        lines[line] = {key: round(value, 3) for key, value in medians.items()} | {"holds": held}
    return {
        "lines": lines,
        "rounds": rounds,
        "seconds": seconds,
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "precision": clap.precision,
    }


def main() -> None:
    """Exit status 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lines", nargs="*", choices=[*LINES, []], help="default: all of them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn (default 6)")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    report = measure(options.lines or list(LINES), options.rounds, options.seconds)
    if options.json:
        print(json.dumps(report))
    else:
        for line, found in report["lines"].items():
            print(f"{LINES[line][0]}: {'holds' if found['holds'] else 'DOES NOT HOLD'}")
            print("   " + ", ".join(f"{k} {v:g}" for k, v in found.items() if k != "holds"))
    sys.exit(0 if all(found["holds"] for found in report["lines"].values()) else 1)


if __name__ == "__main__":
    main()
