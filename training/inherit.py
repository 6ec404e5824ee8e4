"""How a stage's model begins: from its parent's weights, a text encoder's, or at random."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Clap
from m2d_clap.model.config import ClapConfig, TextConfig
from m2d_clap.model.errors import CheckpointError
from m2d_clap.model.text_encoder import load_text_encoder
from m2d_clap.model.tokenizer import Tokenizer
from m2d_clap.training.stages import STAGES, Stage

Module = TypeVar("Module", bound=nn.Module)


def initialised(module: Module) -> Module:
    """Xavier-uniform matrices, zero biases, tokens from N(0, 0.02)."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad or name.endswith("logit_scale"):
            continue
        if name.endswith("token"):
            nn.init.normal_(parameter, std=0.02)
        elif parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter.view(len(parameter), -1))
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return module


def following(stage: Stage, parent: ClapConfig) -> Stage:
    """The stage as it goes on from this very parent.

    It hears as the parent does (mel settings, statistics), stands under its licence, and all that
    does not begin anew has the parent's sizes: published weights with other patches go on too.
    Raises CheckpointError for a stage whose captions are embedded by an encoder from outside, where
    the parent understands them by its own.
    """
    if stage.parent is None:
        return stage
    if stage.embeds_captions and parent.text.included:
        fitting = [
            other.name
            for other in STAGES.values()
            if other.losses.labels
            or (other.learns_text and other.model.text.own == parent.text.own)
        ]
        raise CheckpointError(
            f"stage {stage.name} takes captions as a text encoder from outside embeds them, but "
            f"{parent.name} has one of its own inside. Stages that go on from such a checkpoint: "
            f"{', '.join(fitting)}"
        )
    model = replace(
        stage.model,
        front_end=parent.front_end,
        licence=parent.licence,
        encoder=replace(parent.encoder, frames=stage.model.encoder.frames),
        head_input=parent.encoder.width if stage.model.head_input else 0,
    )
    if not "audio.audio_proj.".startswith(stage.fresh):
        model = replace(model, projector=parent.projector)
    # A text encoder that is to learn must be inside the parent; inherit says where it is not.
    if not "text.".startswith(stage.fresh) and (parent.text.included or not stage.learns_text):
        model = replace(model, text=parent.text)
    return replace(stage, model=model)


def taught(stage: Stage, teachers: Sequence[ClapConfig]) -> Stage:
    """The stage under its own licence and its teachers'."""
    licences = dict.fromkeys([stage.model.licence, *(each.licence for each in teachers)])
    return replace(stage, model=replace(stage.model, licence=" and ".join(licences)))


@torch.no_grad()
def inherit(
    clap: Clap, stage: Stage, parent: Checkpoint | None, text: Mapping[str, Tensor] | None = None
) -> None:
    """Fills in what `stage` does not begin anew: from `parent`, and `text` for the text encoder.

    Raises CheckpointError naming the weights that the parent lacks or has in another size, and
    where a stage that has a parent was given none.
    """
    if stage.scale is not None:
        clap.logit_scale.fill_(torch.tensor(stage.scale).log())
    if text is not None and clap.text is not None:
        begun = clap.text.model.state_dict() if clap.config.text.own else {}
        clap.text.model.load_state_dict(begun | dict(text))
    if stage.parent is None:
        return
    if parent is None:
        raise CheckpointError(
            f"stage {stage.name} starts from a checkpoint of stage {stage.parent}: name it with "
            "--parent"
        )
    if clap.text is not None and parent.tokenizer is not None and "text." not in stage.fresh:
        clap.text.tokenizer = Tokenizer(parent.tokenizer, clap.config.text.max_tokens)
    unfit = []
    for name, weight in clap.state_dict().items():
        # The position table follows from the window, which may be longer than the parent's.
        if name.startswith(stage.fresh) or name.endswith("pos_embed"):
            continue
        given = parent.weights.get(name)
        if given is None or given.shape != weight.shape:
            unfit.append(name)
        else:
            weight.copy_(given)
    if unfit:
        raise CheckpointError(
            f"this checkpoint ({parent.config.name}) is no parent for stage {stage.name}: it lacks "
            f"{', '.join(unfit[:5])}{' …' if len(unfit) > 5 else ''} or has other sizes"
        )


def text_weights(config: TextConfig, path: Path | None = None) -> dict[str, Tensor]:
    """The published weights a text encoder that is to learn starts from.

    Raises TextEncoderError listing where they were sought.
    """
    model = load_text_encoder(config, path).model
    return {n: w for n, w in model.state_dict().items() if not n.startswith("pooler.")}
