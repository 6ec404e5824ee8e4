"""Twenty steps of tiny stages, in as many processes as torchrun starts; run by
test_distributed.py. Writes the weights of every process and the terms it saw.

    python -m torch.distributed.run --nproc-per-node 2 distributed_run.py FOLDER PARTS,… STAGE …
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Clap
from m2d_clap.model.config import ClapConfig, EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.training import distributed
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.execution import USUAL, Execution
from m2d_clap.training.lessons import Lessons
from m2d_clap.training.loop import Trainer
from m2d_clap.training.m2d import PredictorConfig
from m2d_clap.training.stages import (
    STAGE_1,
    STAGE_1_1,
    STAGE_1_MINI,
    STAGE_2,
    STAGE_2_1_MINI,
    Stage,
)

ENCODER = EncoderConfig(frames=64, width=16, depth=1, heads=2)
SHORT: dict[str, Any] = {
    "frames": 64,
    "epochs": 10,
    "warm_up": 1,
    "batch": 8,
    "visits": 0,
    "base_rate": 0.02,
    "lesson": 11,
    "predictor": PredictorConfig(16, 1, 2),
}
BERT = {
    "vocab_size": 30522,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
OWN = BERT | {"embedding_size": 8}
MODELS = {
    "1": ClapConfig(
        encoder=ENCODER,
        projector=ProjectorConfig("semantic", dim=8),
        text=TextConfig("nv-embed-v2", projection="linear", projection_in=8),
    ),
    "1.1": ClapConfig(encoder=ENCODER, head_input=16),
    "2": ClapConfig(
        encoder=ENCODER,
        projector=ProjectorConfig("semantic", dim=16),
        text=TextConfig("bert-base", included=True, max_tokens=64, architecture=BERT),
    ),
    "1-mini": ClapConfig(encoder=ENCODER, projector=ProjectorConfig("mlp", 8, 16)),
    "2.1-mini": ClapConfig(
        encoder=ENCODER,
        projector=ProjectorConfig("semantic", dim=8),
        text=TextConfig(
            "wordpiece-mini",
            included=True,
            max_tokens=64,
            architecture=OWN,
            projection="linear",
            projection_in=16,
        ),
    ),
}
STAGES = {
    stage.name: dataclasses.replace(stage, model=MODELS[stage.name], **SHORT)
    for stage in (STAGE_1, STAGE_1_1, STAGE_2, STAGE_1_MINI, STAGE_2_1_MINI)
}


def training_set() -> TrainingSet:
    """Fifteen sounds, which come out even in no number of processes, and four captions."""
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    sounds = [torch.from_numpy(rng.normal(-8, 3, (80, 64 + n))).half() for n in range(15)]
    texts = ("low noise", "high noise", "a click", "a long hum")
    vectors = torch.randn(4, 8, generator=generator)
    of_sound = tuple((n % 4,) for n in range(15))
    bank = CaptionBank((texts,), (vectors,), (torch.arange(4),), of_sound)
    labels = torch.eye(4)[[n % 4 for n in range(15)]]
    lessons = Lessons(
        (
            *texts,
            "rain",
            "a dog",
            "wind in the trees",
            "steps",
            "a bell",
            "a car",
            "a very low hum",
        ),
        (),
        torch.randn(11, 8, generator=generator),
    )
    return TrainingSet(sounds, bank, (), labels, texts, lessons)


def trainer(stage: Stage, execution: Execution = USUAL) -> Trainer:
    """A trainer of the tiny stage, its parent made at random."""
    parent = None
    if stage.parent is not None:
        torch.manual_seed(1)
        parent = Checkpoint.of(Clap(stage.model))
    return Trainer(
        stage, training_set(), 0, parent=parent, precision="float32", execution=execution
    )


def main(folder: Path, parts: list[int], names: list[str]) -> None:
    torch.set_num_threads(1)
    distributed.join("cpu")
    for each in parts:
        for name in names:
            learning = trainer(STAGES[name], Execution(accumulate=each))
            seen = [learning.advance() for _ in range(20)]
            state = {"weights": learning.learner.state_dict(), "seen": seen}
            torch.save(state, folder / f"{name}-{each}-{distributed.rank()}.pt")
            learning.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(each) for each in sys.argv[2].split(",")], sys.argv[3:])
