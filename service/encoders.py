"""The encoding process: sole owner of the model and its device."""

import contextlib
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch

from m2d_clap.index.hits import unit, units
from m2d_clap.index.windows import windows
from m2d_clap.model import Checkpoint, Clap, Waveform, fastest_precision
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.config import Engine
from m2d_clap.model.engines import engine
from m2d_clap.model.errors import CheckpointError
from m2d_clap.service import frames, logs
from m2d_clap.service.device import device
from m2d_clap.service.heap import Heap
from m2d_clap.service.hearing import encode_classes, encode_spans
from m2d_clap.service.jobs import CaptionJob, Encoded, Failed, Kind, Plan, Ready, Vectors
from m2d_clap.service.lanes import Encode, Lanes
from m2d_clap.service.speaking import encode_captions
from m2d_clap.service.stages import Stages

_LOG = logging.getLogger(__name__)
_TOGETHER = 40  # windows of one call, which bounds the memory of a long upload


def serve(connection: socket.socket, plan: Plan) -> None:
    """The process's main: Ready or Failed. Then for each (number, kind, items) that number and Encoded
    or Failed; before that, maybe, with None, which says that another job would find room already.

    Ends when the other side closes; Ctrl-C and SIGTERM, which may reach every process of the
    server, are the other side's to handle: it finishes what it has accepted.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logs.install(plan.log_level)
    # Every length of sound leaves kernels behind: by oneDNN's own measure far too many are kept.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "48")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "48")
    try:
        clap, captioner = _load(plan)
    except Exception as error:  # noqa: BLE001  (whatever it is, the server must hear of it)
        _LOG.exception("the encoders could not be loaded")
        frames.put(connection, Failed(str(error) or type(error).__name__))
        return
    # Out of the collector's sight: what is there now lives as long as the process.
    gc.collect()
    gc.freeze()
    frames.put(connection, Ready(clap.device.type, clap.precision))
    model = _Model(clap, captioner, plan.engine)
    heap = Heap()
    speaking = threading.Lock()

    def say(number: int, answer: Encoded | Failed | None) -> None:
        with contextlib.suppress(OSError), speaking:  # the server may be gone
            frames.put(connection, (number, answer))
        if isinstance(answer, Failed) and _lost(clap.device):
            # Nothing works on it any more in this process: another one takes its place.
            connection.shutdown(socket.SHUT_RDWR)
        if answer is not None:
            heap.tidy()

    while True:
        try:
            number, kind, items = frames.get(connection)
        except (EOFError, OSError):
            return
        model.begin(kind, items, partial(say, number), partial(say, number, None))
        del items


class _Model:
    """What answers jobs, on all cores or on the GPU."""

    def __init__(self, clap: Clap, captioner: Captioner | None, engine: Engine) -> None:
        self._clap = clap
        self._captioner = captioner
        # Compiled code has its number of threads within.
        self._apart = engine != "compile"
        self._lanes = Lanes(torch.get_num_threads()) if clap.device.type == "cpu" else None

    def begin(
        self,
        kind: Kind,
        items: Sequence[Any],
        answered: Callable[[Encoded | Failed], None],
        room: Callable[[], None],
    ) -> None:
        """answered: told what came of a job, at once or from the lanes that work on it. room: called when
        a lane has nothing to do before that. One job fails, not the process."""
        encode: Encode = partial(ENCODE[kind], self._clap) if kind != "captions" else self._captions
        stages = Stages()
        # One sound or text is waited for by one person, and worked on by all cores.
        alone = len(items) == 1 and not (self._lanes and self._lanes.busy)
        if self._lanes is None or alone or not (kind == "texts" or self._apart):
            made = _made(encode, items, stages)
        else:
            costs = [_cost(item) for item in items]
            made = self._lanes.begin(encode, items, costs, stages, room)

        def told(made: Future[list[Any]]) -> None:
            error = made.exception()
            if error is None:
                answered(Encoded(made.result(), dict(stages.seconds)))
                return
            _LOG.error("encoding %d %s failed", len(items), kind, exc_info=error)
            answered(Failed(f"{type(error).__name__}: {error}"))

        made.add_done_callback(told)

    def _captions(self, items: Sequence[Any], stages: Stages) -> list[Any]:
        return encode_captions(self._captioner, self._clap, items, stages)


def _made(encode: Encode, items: Sequence[Any], stages: Stages) -> Future[list[Any]]:
    future: Future[list[Any]] = Future()
    try:
        future.set_result(encode(items, stages))
    except Exception as error:  # noqa: BLE001  (whatever it is, the caller must hear of it)
        future.set_exception(error)
    return future


def _lost(device: torch.device) -> bool:
    """Whether a GPU fails at anything, as it does for good after some errors."""
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        _LOG.exception("the GPU is lost to this process")
        return True
    return False


def encode_texts(
    clap: Clap, items: Sequence[Sequence[str]], stages: Stages | None = None
) -> list[Vectors]:
    """Unit vectors (texts, dim) of each tuple of texts."""
    flat = [text for item in items for text in item]
    with (stages or Stages()).measured("encode_text"):
        # By length, as texts encoded together are padded to the longest.
        order = sorted(range(len(flat)), key=lambda i: len(flat[i]))
        embedded = clap.embed_text([flat[i] for i in order]).cpu().numpy()
    vectors = np.empty_like(embedded)
    vectors[order] = units(embedded)
    return np.split(vectors, np.cumsum([len(item) for item in items])[:-1])


def encode_sounds(
    clap: Clap, sounds: Sequence[Waveform], stages: Stages | None = None
) -> list[Vectors]:
    """The unit vector (dim,) of each sound; of one longer than an index window, its windows' mean."""
    cut = [list(windows([sound.samples], sound.sample_rate)) for sound in sounds]
    flat = [
        Waveform(w.samples, s.sample_rate) for w_s, s in zip(cut, sounds, strict=True) for w in w_s
    ]
    vectors = np.concatenate(list(_embedded(clap, flat, stages or Stages())))
    ends = np.cumsum([len(of_one) for of_one in cut])
    return [unit(of_one.mean(axis=0)) for of_one in np.split(vectors, ends[:-1])]


ENCODE: dict[Kind, Callable[[Clap, Any, Stages], list[Vectors]]] = {
    "texts": encode_texts,
    "sounds": encode_sounds,
    "spans": encode_spans,
    "classes": encode_classes,
}
"""All but "captions", which the captioner makes, where there is one."""


def _embedded(clap: Clap, sounds: Sequence[Waveform], stages: Stages) -> Iterator[Vectors]:
    """Unit vectors (together, dim), some sounds at a time; the next ones' log-mels are made in a
    thread while these are encoded. Raises ValueError where the model gives no numbers."""

    @torch.inference_mode()
    def heard(start: int) -> list[torch.Tensor]:
        with stages.measured("logmel"):
            return [clap.log_mel(sound) for sound in sounds[start : start + _TOGETHER]]

    with ThreadPoolExecutor(1, "log-mel") as ahead:
        log_mels = heard(0)
        for start in range(0, len(sounds), _TOGETHER):
            following = start + _TOGETHER
            coming = ahead.submit(heard, following) if following < len(sounds) else None
            with stages.measured("encode_audio"):
                vectors = clap.project(clap.grids(log_mels)).cpu().numpy()
            if not np.isfinite(vectors).all():
                raise ValueError("the model gives embeddings that are not numbers")
            yield units(vectors)
            log_mels = coming.result() if coming else []


def _cost(item: Sequence[str] | Waveform | CaptionJob) -> int:
    """Letters, or samples."""
    if isinstance(item, CaptionJob):
        item = item.sound
    return len(item.samples) if isinstance(item, Waveform) else sum(map(len, item))


def _load(plan: Plan) -> tuple[Clap, Captioner | None]:
    if plan.threads:
        torch.set_num_threads(plan.threads)
    where = device(plan.device)
    checkpoint = Checkpoint.load(plan.checkpoint)
    if plan.fingerprint not in (None, checkpoint.fingerprint):
        raise CheckpointError(
            f"{plan.checkpoint} is another model than the one the index was made with: "
            "make the index again"
        )
    clap = checkpoint.clap(where)
    captioner = checkpoint.build_captioner(where) if checkpoint.captioner else None
    clap.text_encoder_path = plan.text_encoder_path
    clap.precision = fastest_precision(where) if plan.precision == "auto" else plan.precision
    if plan.engine != "torch":
        clap.audio.backbone.engine = engine(clap, plan.engine, plan.threads)
    rate = clap.config.front_end.sample_rate
    silence = Waveform(np.zeros(rate, np.float32), rate)
    clap.embed_audio([silence])
    if captioner is not None:
        captioner.listen(clap, [silence])
    if clap.config.text.kind != "none":
        clap.embed_text(["a sound"])
    return clap, captioner
