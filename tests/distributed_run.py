"""Twenty steps of a tiny stage, in as many processes as torchrun starts; run by
test_distributed.py. Writes the weights of every process and the losses it saw.

    python -m torch.distributed.run --nproc-per-node 2 distributed_run.py STAGE FOLDER
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Clap
from m2d_clap.model.config import ClapConfig, EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.training import distributed
from m2d_clap.training.batches import TrainingSet
from m2d_clap.training.captions import CaptionBank
from m2d_clap.training.loop import Trainer
from m2d_clap.training.m2d import PredictorConfig
from m2d_clap.training.stages import STAGE_1, STAGE_1_MINI, STAGE_2, Stage

ENCODER = EncoderConfig(frames=64, width=16, depth=1, heads=2)
SHORT = {
    "frames": 64,
    "epochs": 10,
    "warm_up": 1,
    "batch": 8,
    "base_rate": 0.02,
    "predictor": PredictorConfig(16, 1, 2),
}
BERT = {
    "vocab_size": 30522,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
STAGES = {
    "1": dataclasses.replace(
        STAGE_1,
        model=ClapConfig(encoder=ENCODER, projector=ProjectorConfig("semantic", dim=8)),
        **SHORT,
    ),
    "1-mini": dataclasses.replace(
        STAGE_1_MINI,
        model=ClapConfig(encoder=ENCODER, projector=ProjectorConfig("mlp", 8, 16)),
        **SHORT,
    ),
    "2": dataclasses.replace(
        STAGE_2,
        model=ClapConfig(
            encoder=ENCODER,
            projector=ProjectorConfig("semantic", dim=16),
            text=TextConfig("bert-base", included=True, max_tokens=64, architecture=BERT),
        ),
        **SHORT,
    ),
}


def training_set() -> TrainingSet:
    """Sixteen sounds of four captions."""
    rng = np.random.default_rng(0)
    sounds = [torch.from_numpy(rng.normal(-8, 3, (80, 64 + n))).half() for n in range(16)]
    texts = ("low noise", "high noise", "a click", "a long hum")
    wordings = (torch.randn(4, 8, generator=torch.Generator().manual_seed(0)),)
    bank = CaptionBank((texts,), wordings, (torch.arange(4),), tuple((n % 4,) for n in range(16)))
    return TrainingSet(sounds, bank)


def trainer(stage: Stage) -> Trainer:
    """A trainer of the tiny stage, its parent made at random."""
    parent = None
    if stage.parent is not None:
        torch.manual_seed(1)
        parent = Checkpoint.of(Clap(stage.model))
    return Trainer(stage, training_set(), seed=0, parent=parent, precision="float32")


def main(name: str, folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.join("gloo")
    learning = trainer(STAGES[name])
    losses = [learning.advance()["loss"] for _ in range(20)]
    state = {"weights": learning.learner.state_dict(), "losses": losses}
    torch.save(state, folder / f"{name}-{distributed.rank()}-of-{distributed.world()}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
