"""What a stage costs: floating-point operations of a training step, counted, not timed.

The real learner runs forward and backward on torch's meta device, which has shapes but no numbers,
under torch's own counter. Hours follow from a rate that is an assumption; the true rate is
measured, on the machine, by a run's steps a second.

    python tests/benchmarks/stage_cost.py --gpus 4 --teraflops 100
"""

import argparse
import dataclasses
from contextlib import nullcontext
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from m2d_clap.model.clap import Clap
from m2d_clap.model.text_encoder import Tokens
from m2d_clap.training.examples import Examples
from m2d_clap.training.learner import Learner
from m2d_clap.training.masking import Mask, random_mask, structured_mask
from m2d_clap.training.stages import STAGES, Stage

CLIPS = {"1": 2_532_215, "1.1": 200_000, "2": 2_585_227, "2.1": 439_743}
"""Visited in an epoch (arXiv 2503.22104)."""
WORDS = 32
"""Tokens of a caption, padded, about; machine-made captions of these sets have 10 to 25 words."""
CLASSES = 527
BATCH = 8


def step_flops(stage: Stage) -> float:
    """Of one clip, forward and backward; a multiply-add counts two."""
    model = stage.model
    if stage.losses.labels:
        model = dataclasses.replace(model, labels=tuple(map(str, range(CLASSES))))
    stage = dataclasses.replace(stage, model=model)
    meta = torch.device("meta")
    with meta:
        learner = Learner(stage, Clap(model), "float32")
    learner.to(meta).requires_grad_(False)
    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(name.startswith(stage.learns))
    # Meta tensors have no precision to be lowered: autocast refuses them, even switched off.
    plain = patch("torch.autocast", lambda *_, **__: nullcontext())
    with plain, FlopCounterMode(display=False) as counter:
        examples = _examples(stage, meta)
        rows, terms = learner(examples)
        terms |= learner.compare(rows, examples)
        torch.stack(list(terms.values())).sum().backward()
    return counter.get_total_flops() / BATCH


def _examples(stage: Stage, meta: torch.device) -> Examples:
    images = torch.zeros(BATCH, 1, stage.model.front_end.mels, stage.frames, device=meta)
    sentences = tokens = labels = None
    if stage.learns_text:
        words = torch.zeros(BATCH, WORDS, dtype=torch.int64, device=meta)
        tokens = Tokens(words, None)  # type: ignore[arg-type] # no values to look for padding in
    elif stage.losses.contrast:
        sentences = torch.zeros(BATCH, stage.model.text.projection_in, device=meta)
    if stage.losses.labels:
        labels = torch.zeros(BATCH, CLASSES, device=meta)
    return Examples(images, _mask(stage, meta), sentences, None, tokens, labels)


def _mask(stage: Stage, meta: torch.device) -> Mask | None:
    rows, masking = stage.model.grid_rows, stage.masking
    columns, generator = stage.frames // stage.model.encoder.patch_frames, torch.Generator()
    if masking.kind == "none":
        return None
    if masking.kind == "random":
        return random_mask(BATCH, rows * columns, masking.ratio, generator, meta)
    return structured_mask(BATCH, rows, columns, masking.ratio, generator, meta)


def hours(stage: Stage, flops: float, gpus: int, teraflops: float) -> float:
    """Of the whole stage, at this many teraflops a second on each GPU."""
    return flops * CLIPS[stage.name] * stage.epochs / (gpus * teraflops * 1e12) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gpus", type=int, default=4)
    parser.add_argument("--teraflops", type=float, default=100.0, help="a second, on each GPU")
    asked = parser.parse_args()
    print("stage  GFLOP a clip  clips an epoch  epochs  total PFLOP  hours")
    for name, clips in CLIPS.items():
        stage = STAGES[name]
        flops = step_flops(stage)
        total = flops * clips * stage.epochs / 1e15
        took = hours(stage, flops, asked.gpus, asked.teraflops)
        print(
            f"{name:5}  {flops / 1e9:12.1f}  {clips:14,}  {stage.epochs:6}  {total:11,.0f}  "
            f"{took:5.1f}"
        )


if __name__ == "__main__":
    main()
