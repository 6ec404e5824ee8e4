"""The guide cannot rot: its commands parse, its paths are made before they are used, its sums are right."""

import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from m2d_clap.service.cli import build
from m2d_clap.training.average import average
from m2d_clap.training.command import train
from m2d_clap.training.evaluation.command import evaluate
from m2d_clap.training.evaluation.datasets import find_dataset
from m2d_clap.training.guide import HEADINGS, Topic, chapter
from m2d_clap.training.layouts import LAYOUTS
from m2d_clap.training.merge import merge
from m2d_clap.training.stages import STAGES

ROOT = Path(__file__).parent.parent
GIVEN = {"pairs.csv", "labels.csv"}
"""What the reader brings, besides folders under their home and published files."""

REFUSAL = typer.BadParameter.__mro__[1]
"""Click's UsageError, of the click that typer comes with."""

COST = runpy.run_path(str(ROOT / "tests" / "benchmarks" / "stage_cost.py"))
CLIPS, hours = COST["CLIPS"], COST["hours"]


@cache
def step_flops(name: str) -> float:
    """Counted once: it takes a second."""
    found: float = COST["step_flops"](STAGES[name])
    return found


@cache
def application() -> Any:
    """The real command line."""
    return typer.main.get_command(build())


@dataclass(frozen=True)
class Line:
    """A command of the guide: its name and what its arguments and options were parsed to."""

    text: str
    name: str
    values: dict[str, Any]


def commands(text: str) -> Iterator[str]:
    """Indented command lines, continued ones joined."""
    joined = re.sub(r"\\\n\s+", "", text)
    for line in joined.splitlines():
        if line.startswith("    ") and "m2d-clap" in line and "Step by step" not in line:
            yield line.strip()


def parsed(text: str) -> Line:
    """Raises REFUSAL where the real command would refuse it."""
    words = shlex.split(text)
    words = words[next(i for i, word in enumerate(words) if Path(word).name == "m2d-clap") + 1 :]
    command = application().get_command(None, words[0])
    context = command.make_context(words[0], words[1:])
    return Line(text, words[0], context.params)


def examples(command: Callable[..., None]) -> Iterator[str]:
    """The command lines that its help shows."""
    return commands(indent(cleandoc(command.__doc__ or ""), "    "))


@pytest.mark.parametrize("command", [average, train, evaluate, merge])
def test_the_examples_in_help_are_understood(command: Callable[..., None]) -> None:
    lines = [parsed(text) for text in examples(command)]
    assert lines
    assert {line.name for line in lines} == {command.__name__}


CASES = [(topic, text) for topic in Topic for text in commands(chapter(topic))]


@pytest.mark.parametrize(("topic", "text"), CASES)
def test_every_command_is_understood(topic: Topic, text: str) -> None:
    line = parsed(text)
    if line.name in ("train", "prepare"):
        assert line.values["stage"] in STAGES
        needs = STAGES[line.values["stage"]].parent is not None
        assert line.name == "prepare" or (line.values["parent"] is not None) == needs
    if line.name == "convert" and not line.values["list_layouts"]:
        assert line.values["layout"] in LAYOUTS
    if line.name == "evaluate" and line.values["dataset"]:
        assert find_dataset(line.values["dataset"])


def made(line: Line) -> set[str]:
    """The paths that a command leaves behind."""
    out = str(line.values.get("out") or "")
    if line.name == "train":
        return {f"{out}/last", f"{out}/best"}
    written = ("average", "convert", "merge", "import", "prepare", "index")
    return {out} if line.name in written else set()


def used(line: Line) -> set[str]:
    """The paths that must be there."""
    names = (
        "manifest",
        "manifests",
        "without",
        "places",
        "parent",
        "checkpoint",
        "checkpoints",
        "index",
    )
    values = [line.values.get(name) for name in names]
    if line.name == "train" and str(line.values["cache"]) != "runs/cache":
        values.append(line.values["cache"])
    listed = [
        v for value in values for v in (value if isinstance(value, (list, tuple)) else [value])
    ]
    return {str(value) for value in listed if value is not None}


@pytest.mark.parametrize("topic", Topic)
def test_whatever_a_command_reads_one_before_it_wrote(topic: Topic) -> None:
    there = set(GIVEN)
    for text in commands(chapter(topic)):
        line = parsed(text)
        missing = used(line) - there
        assert not missing, f"{text}: {missing}"
        there |= made(line)


def test_every_stage_is_trained_from_its_parent_on_four_and_on_eight_gpus() -> None:
    for gpus in (4, 8):
        lines = [t for t in commands(chapter(Topic.PAPER)) if f"--nproc-per-node {gpus} " in t]
        stages = [parsed(text).values["stage"] for text in lines]
        assert stages == ["1", "1.1", "2", "2.1"]
        for text in lines:
            values = parsed(text).values
            parent = STAGES[values["stage"]].parent
            assert parent is None or str(values["parent"]) == f"runs/{parent}/last"


def test_wrong_options_would_be_noticed() -> None:
    with pytest.raises(REFUSAL):
        parsed("m2d-clap train pairs.csv --no-such-option 3")
    with pytest.raises(REFUSAL):
        parsed("m2d-clap evaluate pairs.csv --protocol none")


def cells(heading: str) -> dict[str, list[str]]:
    """The table of the paper's chapter under this heading, by its first column."""
    lines = chapter(Topic.PAPER).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    table: dict[str, list[str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        table[first] = rest
    return table


def test_the_hours_are_those_that_are_counted() -> None:
    table = cells("| stage | GFLOP")
    assert table.keys() == CLIPS.keys()
    for name, (flops, clips, epochs, four, eight) in table.items():
        counted = step_flops(name)
        assert float(flops) == pytest.approx(counted / 1e9, abs=0.06)
        assert (int(clips.replace(",", "")), int(epochs)) == (CLIPS[name], STAGES[name].epochs)
        for said, gpus in ((four, 4), (eight, 8)):
            assert float(said) == pytest.approx(hours(STAGES[name], counted, gpus, 100), abs=0.06)


def test_the_disk_is_that_of_the_clips() -> None:
    a_clip = 80 * 1001 * 2
    clips = {
        "`stage-1.csv`": CLIPS["1"],
        "`audioset.csv` (1,954,821 clips)": 1_954_821,
        "`stage-2.csv`": CLIPS["2"],
        "`stage-2.1.csv`": CLIPS["2.1"],
    }
    table = cells("| manifest | disk")
    assert table.keys() == clips.keys()
    for name, (said,) in table.items():
        assert said == f"{clips[name] * a_clip / 1e9:.0f} GB"
    text = " ".join(chapter(Topic.PAPER).split())
    assert (
        f"{7568 * 3600 * 100 * 160 / 1e9:.0f} GB instead of {386_731 * a_clip / 1e9:.0f} GB" in text
    )
    assert f"{CLIPS['1'] * 4096 * 4 / 1e9:.0f} GB, through" in text


def test_the_counted_operations_are_those_of_the_formula_for_transformers() -> None:
    def blocks(tokens: int, width: int, depth: int) -> float:
        return depth * (24 * tokens * width**2 + 4 * tokens**2 * width)

    # Online encoder on 57 patches and a class token, predictor on 190 and one: forward and
    # backward, three times; target encoder on 133 and one: forward.
    expected = 3 * (blocks(58, 768, 12) + blocks(191, 512, 8)) + blocks(134, 768, 12)
    assert step_flops("1") == pytest.approx(expected, rel=0.05)


def test_the_guide_is_shown_by_chapter_named_in_help_and_shipped() -> None:
    for topic, heading in HEADINGS.items():
        shown = CliRunner().invoke(build(), ["guide", topic.value])
        assert shown.exit_code == 0
        assert shown.stdout.startswith(heading)
        assert sum(line in HEADINGS.values() for line in shown.stdout.splitlines()) == 1
    assert (
        "m2d-clap guide train | paper | fine-tune"
        in CliRunner().invoke(build(), ["train", "--help"]).stdout
    )
    for panel in ("Recipe", "Data", "Run", "Machine"):
        assert f"─ {panel} ─" in CliRunner().invoke(build(), ["train", "--help"]).stdout
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "GUIDE.md" in settings["package-data"]["m2d_clap.training"]
