"""What a caption costs beside tags: milliseconds for one ten-second sound, and their ratio.

    python tests/benchmarks/caption_cost.py --checkpoint runs/captions/best
    python tests/benchmarks/caption_cost.py --untrained --json

From decoded sound to answer, in turns; medians. Tags: the sound's vector against the built-in labels,
embedded before. Captions: one, greedily, which is the default everywhere; with -n 3 the best of four
beams and two others. --untrained: a captioner of stage caption-mini with random weights over the same
checkpoint, which never ends a sentence before its longest and so costs the most there can be.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from m2d_clap.model import Checkpoint, Waveform, bundled, fastest_precision
from m2d_clap.model.captioner import END
from m2d_clap.model.captioning import Captioner
from m2d_clap.model.captions import USUAL, Decoding
from m2d_clap.model.config import TextConfig
from m2d_clap.model.text_encoder import find_tokenizer
from m2d_clap.service.encoders import encode_sounds, encode_texts
from m2d_clap.service.jobs import CaptionJob
from m2d_clap.service.speaking import encode_captions
from m2d_clap.service.tagging import rank, vocabulary
from m2d_clap.training.captioning.recipe import CAPTION_MINI
from m2d_clap.training.captioning.vocabulary import caption_vocabulary

SECONDS = 10.0


def main(words: Sequence[str] | None = None) -> None:
    """Measures, and prints one line or one JSON object."""
    options = _options().parse_args(words)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    checkpoint = Checkpoint.load(options.checkpoint)
    clap = checkpoint.clap()
    clap.precision = fastest_precision("cpu")
    captioner = _untrained(checkpoint) if options.untrained else checkpoint.build_captioner()
    labels = vocabulary()
    sentences = encode_texts(clap, [[label.prompt for label in labels]])[0]
    rate = clap.config.front_end.sample_rate
    samples = np.random.default_rng(0).normal(0, 0.1, int(SECONDS * rate)).astype(np.float32)
    sound = Waveform(samples, rate)
    how = Decoding(n=options.n, width=max(USUAL.width, options.n))

    def tag() -> None:
        rank(encode_sounds(clap, [sound])[0], sentences, labels, 10)

    def caption() -> None:
        encode_captions(captioner, clap, [CaptionJob(sound, how)])

    for warm in (tag, caption, tag, caption):
        warm()
    tags, captions = [], []
    for _ in range(options.rounds):
        tags.append(_milliseconds(tag))
        captions.append(_milliseconds(caption))
    figures = {
        "tags_ms": round(statistics.median(tags), 2),
        "caption_ms": round(statistics.median(captions), 2),
        "ratio": round(statistics.median(captions) / statistics.median(tags), 2),
        "rounds": options.rounds,
        "untrained": options.untrained,
        "model": checkpoint.config.name,
        "precision": clap.precision,
        "torch_threads": torch.get_num_threads(),
    }
    print(json.dumps(figures) if options.json else _line(figures))


def _untrained(checkpoint: Checkpoint) -> Captioner:
    texts = [label.prompt for label in vocabulary()]
    words = caption_vocabulary(texts, find_tokenizer(TextConfig("minilm")).definition)
    torch.manual_seed(0)
    sizes = CAPTION_MINI.sizes(checkpoint.config, len(json.loads(words)["model"]["vocab"]))
    made = Captioner(sizes, words).eval()
    with torch.no_grad():
        made.decoder.bias[END] = -1e4
    return made


def _milliseconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - start)


def _line(figures: dict[str, object]) -> str:
    return (
        f"{figures['model']}: tags {figures['tags_ms']} ms, caption {figures['caption_ms']} ms, "
        f"{figures['ratio']} times as much (10 s of sound, {figures['rounds']} rounds, "
        f"{figures['torch_threads']} threads, {figures['precision']})"
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--checkpoint", type=Path, default=bundled(), help="default: bundled")
    parser.add_argument("--untrained", action="store_true", help="random weights, longest captions")
    parser.add_argument("-n", type=int, default=1, help="captions; several are found by beams")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


if __name__ == "__main__":
    main()
