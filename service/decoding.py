"""The decoding process: an open file → mono samples, under limits on CPU time, memory and files.

`python -m m2d_clap.service.decoding FD` answers jobs on the socket FD until its other end closes.
A job brings two open files: the sound, and one without a name that takes the samples, so that no
sample is copied through a pipe. While it decodes, the process can open no further file or socket.
FFmpeg parses whatever strangers send; a crash, a bomb or a hang here costs one request.
"""

import contextlib
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO, FileIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from m2d_clap.model import errors
from m2d_clap.model.audio import AudioLimits, decode
from m2d_clap.model.glimpses import glimpses

LONGEST_MESSAGE = 4096


@dataclass(frozen=True)
class Job:
    """What to make of a file. rate in Hz; seconds: refused beyond, or `cut` there.

    glimpses: so many stretches of `length` samples, evenly over the `seconds`, instead of all of it.
    cpu_seconds, memory (bytes above the idle process): what decoding may use.
    """

    rate: int
    seconds: float | None
    cut: bool
    channels: int
    cpu_seconds: int
    memory: int
    glimpses: int = 0
    length: int = 0


@dataclass(frozen=True)
class Answer:
    """samples: how many float32 were written, or 0; error: class and text of the refusal."""

    samples: int = 0
    seconds: float = 0.0
    error: str | None = None
    reason: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Answer":
        return cls(error=type(error).__name__, reason=str(error)[:1000])


def main(descriptor: int) -> None:
    """Greets with an empty answer once everything is loaded, then answers job after job."""
    # The server ends this process, when no request needs it any more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    list(decode(_silence(), 16000))  # whatever is loaded lazily
    glimpses(_silence(), 16000, 0.2, 1, 64)
    # Out of the collector's sight: these objects live as long as the process.
    gc.freeze()
    with socket.socket(fileno=descriptor) as server:
        server.send(_packed(Answer()))
        while True:
            message, files, _, _ = socket.recv_fds(server, LONGEST_MESSAGE, 2)
            if not message:
                return
            server.send(_packed(Answer()))  # from here on its death is this job's
            answer = _answer(Job(**json.loads(message)), *files)
            server.send(_packed(answer))


def _answer(job: Job, source: int, out: int) -> Answer:
    start = time.perf_counter()
    samples = 0
    try:
        with (
            os.fdopen(source, "rb") as file,
            os.fdopen(out, "wb", buffering=0) as taken,
            _limited(job),
        ):
            file.seek(0)
            for block in _blocks(job, file):
                _write(taken, block.data.cast("B"))
                samples += block.size
    except errors.AudioError as error:
        return Answer.of(error)
    except MemoryError:
        return Answer(error="AudioTooCostlyError", reason="decoding it needs too much memory")
    except OSError as error:
        return Answer(error="AudioTooCostlyError", reason=f"decoding it failed: {error.strerror}")
    except Exception as error:  # noqa: BLE001 — an odd file must not end the process
        return Answer(error="NotAudioError", reason=f"decoding failed: {type(error).__name__}")
    return Answer(samples, time.perf_counter() - start)


def _blocks(job: Job, file: BinaryIO) -> Iterator[NDArray[np.float32]]:
    limits = AudioLimits(None if job.cut else job.seconds, job.channels)
    if job.glimpses:
        seconds = job.seconds or 0.0
        yield glimpses(file, job.rate, seconds, job.glimpses, job.length, limits)
        return
    most = int(job.seconds * job.rate) if job.cut and job.seconds is not None else None
    samples = 0
    for block in decode(file, job.rate, limits):
        left = len(block) if most is None else min(len(block), most - samples)
        yield block[:left]
        samples += left
        if samples == most:
            return


def _write(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


@contextlib.contextmanager
def _limited(job: Job) -> Iterator[None]:
    """CPU time beyond the limit ends the process; memory beyond it fails; no file can be opened."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + job.cpu_seconds + 1
    limits = {
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_AS: _address_space() + job.memory,
        resource.RLIMIT_NOFILE: 0,
    }
    before = {kind: resource.getrlimit(kind) for kind in limits}
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a system that does not know this limit
            resource.setrlimit(kind, (limit, before[kind][1]))
    try:
        yield
    finally:
        for kind, limit_before in before.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, limit_before)


def _address_space() -> int:
    """Bytes of address space in use; generous where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1 << 36
    return pages * resource.getpagesize()


def _silence() -> BinaryIO:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 44100, 0, "NONE", ""))
        writer.writeframes(bytes(44100))
    file.seek(0)
    return file


def _packed(answer: Answer) -> bytes:
    return json.dumps(asdict(answer)).encode() + b"\n"


if __name__ == "__main__":
    main(int(sys.argv[1]))
