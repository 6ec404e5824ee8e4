"""Stretches of sound files → conventional features and CLAP embeddings, every one encoded once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from m2d_clap.model.audio import Samples, Waveform, decode
from m2d_clap.model.clap import Clap
from m2d_clap.model.errors import AudioError
from m2d_clap.training.manifest import Row

CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class Stretch:
    """A part of a file: `seconds` long, right-padded with zeros where the file is shorter.

    place: where it lies in a longer file, from 0 (its beginning) to 1 (its end). seconds None:
    the whole file.
    """

    file: Path
    seconds: float | None
    place: float = 0.0


def from_start(rows: Sequence[Row], seconds: float | None) -> list[Stretch]:
    """How clips are tested."""
    return [Stretch(row.file, seconds) for row in rows]


def at_random(rows: Sequence[Row], seconds: float | None, seed: int) -> list[Stretch]:
    """How clips are trained on: one stretch each, the same for the same seed."""
    if seconds is None:
        return from_start(rows, None)
    places = np.random.default_rng(seed).uniform(size=len(rows))
    return [Stretch(row.file, seconds, float(p)) for row, p in zip(rows, places, strict=True)]


def read_stretch(stretch: Stretch, sample_rate: int) -> Samples:
    """Mono float32 (samples,). Raises AudioError naming the file."""
    wanted = None if stretch.seconds is None else round(stretch.seconds * sample_rate)
    blocks, read = [], 0
    try:
        for block in decode(stretch.file, sample_rate):
            blocks.append(block)
            read += len(block)
            if wanted is not None and stretch.place == 0 and read >= wanted:
                break  # the rest is not wanted
    except AudioError as error:
        raise type(error)(f"{stretch.file}: {error}") from error
    samples = np.concatenate(blocks)
    if wanted is None:
        return samples
    start = round(stretch.place * max(0, len(samples) - wanted))
    cut = samples[start : start + wanted]
    return np.pad(cut, (0, wanted - len(cut)))


@dataclass(frozen=True)
class Embedded:
    """features: (sounds, rows · width) conventional clip features, frequency patches side by side,
    mean over time; clap: (sounds, dim) CLAP embeddings. Both float32 on the CPU."""

    features: Tensor
    clap: Tensor


class Listener:
    """Encodes stretches with one model; a stretch asked for again comes from memory."""

    def __init__(self, clap: Clap, progress: Callable[[int, int], None] | None = None) -> None:
        """progress: called with (done, all) of the stretches that are being encoded."""
        self.clap = clap
        self.progress = progress or (lambda done, of: None)
        self._known: dict[Stretch, tuple[Tensor, Tensor]] = {}

    def embed(self, stretches: Sequence[Stretch]) -> Embedded:
        """In their order. Raises AudioError naming the file that cannot be heard."""
        new = [s for s in dict.fromkeys(stretches) if s not in self._known]
        for chunk, heard in self._read(new):
            self._known.update(zip(chunk, self._encode(heard), strict=True))
        found = [self._known[s] for s in stretches]
        return Embedded(torch.stack([f for f, _ in found]), torch.stack([c for _, c in found]))

    def logits(self, stretches: Sequence[Stretch]) -> Tensor:
        """What the head says of each: (stretches, classes) float32 on the CPU. Raises as `embed`."""
        rate = self.clap.config.front_end.sample_rate
        said: dict[Stretch, Tensor] = {}
        for chunk, heard in self._read(list(dict.fromkeys(stretches))):
            log_mels = [self.clap.log_mel(Waveform(samples, rate)) for samples in heard]
            said.update(zip(chunk, self.clap.logits(log_mels).cpu(), strict=True))
        return torch.stack([said[s] for s in stretches])

    def _read(
        self, stretches: Sequence[Stretch]
    ) -> Iterator[tuple[Sequence[Stretch], list[Samples]]]:
        """Some at a time, with their samples; the next are decoded while these are encoded."""
        starts = range(0, len(stretches), CLIPS_AT_ONCE)
        chunks = [stretches[i : i + CLIPS_AT_ONCE] for i in starts]
        rate = self.clap.config.front_end.sample_rate
        with ThreadPoolExecutor() as pool:

            def read(chunk: Sequence[Stretch]) -> list[Future[Samples]]:
                return [pool.submit(read_stretch, stretch, rate) for stretch in chunk]

            ahead = read(chunks[0]) if chunks else []
            for number, chunk in enumerate(chunks):
                reading, ahead = ahead, read(chunks[number + 1]) if number + 1 < len(chunks) else []
                yield chunk, [samples.result() for samples in reading]
                self.progress(number * CLIPS_AT_ONCE + len(chunk), len(stretches))

    def _encode(self, sounds: Sequence[Samples]) -> list[tuple[Tensor, Tensor]]:
        rate = self.clap.config.front_end.sample_rate
        # A clip no longer than the stretch is the same wherever it is cut: encode equals once.
        keys = [samples.tobytes() for samples in sounds]
        places = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        distinct = dict(zip(keys, sounds, strict=True))
        waveforms = [Waveform(distinct[key], rate) for key in places]
        grids = self.clap.grids([self.clap.log_mel(w) for w in waveforms])
        features = torch.stack([grid.clip().float() for grid in grids]).cpu()
        projected = self.clap.project(grids).cpu()
        return [(features[places[key]], projected[places[key]]) for key in keys]
