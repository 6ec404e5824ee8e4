"""The command `guide`: how to train, to reproduce the paper, and to fine-tune, step by step."""

import sys
from enum import StrEnum
from importlib.resources import files
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from m2d_clap.model.errors import ClapError


class Topic(StrEnum):
    """A chapter of GUIDE.md."""

    TRAIN = "train"
    PAPER = "paper"
    FINE_TUNE = "fine-tune"


HEADINGS = {
    Topic.TRAIN: "# Train on my pairs",
    Topic.PAPER: "# Reproduce the paper",
    Topic.FINE_TUNE: "# Fine-tune from a published checkpoint",
}


def guide(
    topic: Annotated[
        Topic, typer.Argument(help="on my own pairs; the published recipe; from its weights")
    ] = Topic.TRAIN,
) -> None:
    """Show how to train on your pairs, reproduce the paper, or fine-tune from its weights."""
    text = chapter(topic)
    if sys.stdout.isatty():
        Console().print(Markdown(text))
    else:
        typer.echo(text)


def chapter(topic: Topic) -> str:
    """The chapter as Markdown, its heading first."""
    text = (files("m2d_clap.training") / "GUIDE.md").read_text(encoding="utf-8")
    lines = text.splitlines()
    if HEADINGS[topic] not in lines:
        raise ClapError(f"the guide has no chapter {topic.value!r}: install m2d-clap again")
    start = lines.index(HEADINGS[topic])
    later = [lines.index(heading) for heading in HEADINGS.values() if heading in lines]
    end = min((place for place in later if place > start), default=len(lines))
    return "\n".join(lines[start:end]).strip()
