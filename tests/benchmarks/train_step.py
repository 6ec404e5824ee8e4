"""How fast a stage trains: step time, clips a second, and what share of the machine that uses.

    python tests/benchmarks/train_step.py --stage 1 --batch 512 --device cuda
    python tests/benchmarks/train_step.py --stage 1-mini --batch 32 --steps 3 --json

Sounds, captions and weights are random. The step is `train`'s own, its examples made ahead in
threads. Utilisation is model FLOP/s over the measured rate of square matrix products on the same
device in the same precision. Model FLOPs are counted by formula, multiply-adds as two, and what a
device does twice to save memory counts once (PaLM, arXiv 2204.02311, appendix B). Of a transformer
block of width d and MLP ratio r over T tokens, forward:

    2 T (4 + 2 r) d² + 4 T² d

and twice that backward where it learns. The shares are parts of a step run one after another: data
(one thread's work, which a run hides behind the rest), forward, backward, optimiser.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from m2d_clap.model import Checkpoint, Clap
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.examples import Examples
from m2d_clap.training.execution import Execution
from m2d_clap.training.lessons import Lessons
from m2d_clap.training.loop import Trainer
from m2d_clap.training.masking import kept
from m2d_clap.training.stages import STAGES, Stage

CLASSES = tuple(f"class {number}" for number in range(527))
WORDS = [
    "a",
    "dog",
    "barks",
    "while",
    "rain",
    "falls",
    "on",
    "a",
    "tin",
    "roof",
    "and",
    "somebody",
    "far",
    "away",
    "closes",
    "a",
    "wooden",
    "door",
]


def main(words: Sequence[str] | None = None) -> None:
    """Measures, and prints a few lines or one JSON object."""
    options = _options().parse_args(words)
    on_cuda = options.device.startswith("cuda")
    compiled = on_cuda if options.compile is None else options.compile
    execution = Execution(
        options.accumulate, options.checkpoint_activations, compiled, 4 if on_cuda else 1
    )
    stage = dataclasses.replace(STAGES[options.stage], batch=options.batch, visits=0, balance=0.0)
    steps = options.steps
    trainer = Trainer(
        dataclasses.replace(stage, epochs=2 * (steps + 3), warm_up=0),
        training_set(stage, options.batch),
        0,
        options.device,
        Checkpoint.of(Clap(stage.model)) if stage.parent else None,
        precision=options.precision,
        execution=execution,
    )
    examples = trainer.take()
    flops = step_flops(trainer.stage, examples)
    for _ in range(2):
        trainer.advance()
    seconds = statistics.median(_timed(trainer.advance, options.device, steps))
    rate = matrix_rate(options.device, options.precision)
    figures = {
        "stage": stage.name,
        "batch": options.batch,
        "device": _name(options.device),
        "precision": options.precision,
        "accumulate": options.accumulate,
        "checkpoint_activations": options.checkpoint_activations,
        "compiled": compiled,
        "threads": torch.get_num_threads(),
        "step_seconds": seconds,
        "clips_a_second": options.batch / seconds,
        "model_tflops_a_step": flops / 1e12,
        "model_tflops_a_second": flops / seconds / 1e12,
        "matrix_tflops_a_second": rate / 1e12,
        "utilisation": flops / seconds / rate,
        "gigabytes": torch.cuda.max_memory_allocated() / 1e9 if on_cuda else None,
        "seconds_of": breakdown(trainer, options.device, steps),
    }
    trainer.close()
    print(json.dumps(figures) if options.json else _told(figures))


def step_flops(stage: Stage, examples: Examples) -> float:
    """Of one step over these examples, forward and backward, by formula."""
    model, losses = stage.model, stage.losses
    size, dim = model.encoder, model.clap_dim
    texts = _text_flops(stage, examples)
    if examples.images is None:
        return texts
    sounds, _, _, frames = examples.images.shape
    patches = model.grid_rows * (frames // size.patch_frames)
    seen = patches if examples.mask is None else examples.mask.keep
    if stage.masking.kind == "random":
        assert seen == kept(patches, stage.masking.ratio)
    learns = any(name.startswith("clap.audio.backbone") or name == "clap." for name in stage.learns)
    # Of the first layer nothing but its weights needs a gradient.
    embedding = 2 * patches * size.patch_mels * size.patch_frames * size.width * (1 + learns)
    online = size.depth * block_flops(1 + seen, size.width, size.mlp_ratio) * (1 + 2 * learns)
    flops = embedding + online
    if losses.m2d:
        ours = stage.predictor
        flops += size.depth * block_flops(1 + patches - seen, size.width, size.mlp_ratio)
        around = 2 * (1 + seen + 1 + patches) * size.width * ours.width
        flops += 3 * (around + ours.depth * block_flops(1 + patches, ours.width, 4.0))
    if losses.contrast and model.projector.kind == "semantic":
        projector = model.projector
        block = block_flops(1 + seen, size.width, projector.mlp_ratio)
        to_dim = 0 if dim == size.width else 2 * size.width * dim
        flops += 3 * (projector.blocks * block + to_dim)
    elif losses.contrast:
        flops += 3 * 2 * model.projector.hidden * (size.width + dim)
    if losses.labels:
        flops += 3 * 2 * size.width * len(model.labels)
    return sounds * flops + texts


def _text_flops(stage: Stage, examples: Examples) -> float:
    """Captions and lessons through what learns of the text side, and all scores."""
    model, flops = stage.model, 0.0
    projected = 2 * model.text.projection_in * model.clap_dim
    for tokens in (examples.tokens, examples.lesson):
        if tokens is None:
            continue
        texts, length = tokens.ids.shape
        size = model.text.architecture
        width, layers = size["hidden_size"], size["num_hidden_layers"]
        encoder = layers * block_flops(length, width, size["intermediate_size"] / width)
        encoder += 2 * length * size.get("embedding_size", 0) * width
        flops += 3 * texts * (encoder + projected)
    candidates = examples.heard
    if examples.sentences is not None:
        candidates = len(examples.sentences)
        # A frozen sentence needs no gradient; the projection's weights do.
        flops += 2 * candidates * projected
    if stage.losses.contrast:
        # Both sides of a product of embeddings learn, or the sounds' only.
        learned = 3 if stage.learns_text or model.text.projection != "none" else 2
        flops += learned * 2 * examples.heard * candidates * model.clap_dim
    return flops


def block_flops(tokens: int, width: int, mlp_ratio: float) -> float:
    """Of a transformer block over one sequence, forward."""
    return 2 * tokens * (4 + 2 * mlp_ratio) * width**2 + 4 * tokens**2 * width


def matrix_rate(device: str, precision: str) -> float:
    """FLOP/s of square matrix products, as large as one device likes them."""
    size = 8192 if device.startswith("cuda") else 2048
    dtype = getattr(torch, precision)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = _timed(lambda: a @ b, device, 12)[2:]
    return 2 * size**3 / statistics.median(times)


def breakdown(trainer: Trainer, device: str, steps: int) -> dict[str, float]:
    """Median seconds of a step's parts."""
    batches, made = trainer.batches, []

    def forward() -> None:
        for number in range(trainer.execution.accumulate):
            part = made[-1].part(number, trainer.execution.accumulate)
            rows, _ = trainer.learner(part)
            if trainer.execution.accumulate == 1:
                trainer.learner.compare(rows, part)

    found: dict[str, list[float]] = {"data": [], "forward": [], "backward": [], "optimiser": []}
    for _ in range(steps):
        found["data"] += _timed(lambda: made.append(batches.at(trainer.step)), device, 1)
        made[-1] = made[-1].to(trainer.clap.device)
        (ahead,) = _timed(forward, device, 1)
        terms = []
        (both,) = _timed(lambda t=terms: t.append(trainer.gradients(made[-1])), device, 1)
        found["forward"].append(ahead)
        found["backward"].append(both - ahead)
        found["optimiser"] += _timed(lambda t=terms: trainer.update(t[0]), device, 1)
    return {name: statistics.median(times) for name, times in found.items()}


def training_set(stage: Stage, sounds: int) -> TrainingSet:
    """As many random sounds of ten seconds, each with its own caption."""
    generator = torch.Generator().manual_seed(0)
    frames, width = max(1001, stage.frames), stage.model.text.projection_in or stage.model.clap_dim
    heard = [
        (torch.randn(80, frames, generator=generator) * 4 - 7).half()
        for _ in range(min(sounds, 64))
    ]
    texts = tuple(f"{' '.join(WORDS)} {number}" for number in range(sounds))
    vectors = torch.randn(sounds, width, generator=generator)
    numbers = torch.arange(sounds)
    bank = CaptionBank((texts,), (vectors,), (numbers,), tuple((n,) for n in range(sounds)))
    labels = (torch.rand(sounds, len(CLASSES), generator=generator) < 0.004).float()
    if stage.labels == "one":
        labels = torch.eye(len(CLASSES))[numbers % len(CLASSES)]
    lessons = Lessons(texts, (), torch.randn(sounds, stage.model.clap_dim, generator=generator))
    repeated = [heard[number % len(heard)] for number in range(sounds)]
    return TrainingSet(repeated, bank, (), labels, CLASSES, lessons)


def _timed(work: Callable[[], object], device: str, times: int) -> list[float]:
    found = []
    for _ in range(times):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        found.append(time.perf_counter() - start)
    return found


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else device


def _told(figures: dict[str, object]) -> str:
    shares = figures["seconds_of"]
    assert isinstance(shares, dict)
    memory = "" if figures["gigabytes"] is None else f", {figures['gigabytes']:.1f} GB"
    return (
        f"stage {figures['stage']}, batch {figures['batch']}, {figures['precision']} on "
        f"{figures['device']}: {figures['step_seconds']:.3f} s a step, "
        f"{figures['clips_a_second']:.1f} clips a second{memory}\n"
        f"{figures['model_tflops_a_second']:.3f} model TFLOP/s of "
        f"{figures['matrix_tflops_a_second']:.3f} of matrix products: "
        f"{figures['utilisation']:.1%}\n"
        + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in shares.items())
    )


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", choices=STAGES, default="1")
    parser.add_argument("--batch", type=int, default=256, help="sounds a step (default 256)")
    parser.add_argument("--steps", type=int, default=10, help="measured, after two (default 10)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--accumulate", type=int, default=1, help="parts a batch is worked on in")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="torch.compile the blocks (default: on CUDA)",
    )
    parser.add_argument("--checkpoint-activations", action="store_true")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


if __name__ == "__main__":
    main()
