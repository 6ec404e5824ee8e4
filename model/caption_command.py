"""The command `caption`."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from m2d_clap.model.audio import read_audio
from m2d_clap.model.captions import USUAL, Captioned, Decoding, DecodingKind
from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.description import bundled
from m2d_clap.model.errors import AudioError


def caption(
    files: Annotated[list[Path], typer.Argument(help="sound files")],
    n: Annotated[
        int, typer.Option("-n", help="captions at most: the best, alternatives")
    ] = USUAL.n,
    timeline: Annotated[bool, typer.Option("--timeline", help="also every ten seconds")] = False,
    decoding: Annotated[
        str,
        typer.Option(help="greedy | beam | nucleus; auto: greedy for one, beams for several"),
    ] = USUAL.kind,
    width: Annotated[int, typer.Option(help="beams; at least -n")] = USUAL.width,
    length_penalty: Annotated[
        float, typer.Option(help="above 1: longer captions, below: shorter ones")
    ] = USUAL.length_penalty,
    no_repeat: Annotated[
        int, typer.Option(help="no run of so many word pieces twice; 0: any")
    ] = USUAL.no_repeat,
    top_p: Annotated[float, typer.Option(help="nucleus: the share drawn from")] = USUAL.top_p,
    temperature: Annotated[float, typer.Option(help="nucleus: above 1 more chance")] = (
        USUAL.temperature
    ),
    seed: Annotated[int, typer.Option(help="nucleus: the same draws the same")] = USUAL.seed,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="for machines: an object; of several files one a line")
    ] = False,
) -> None:
    """Say in a sentence what a sound sounds like."""
    kind = cast(DecodingKind, decoding)
    how = Decoding(
        kind, n, max(n, width), length_penalty, no_repeat, top_p, temperature, seed
    ).validate()
    loaded = Checkpoint.load(checkpoint or bundled())
    captioner, clap = loaded.build_captioner(), loaded.clap()
    for file in files:
        try:
            sound = read_audio(file, clap.config.front_end.sample_rate)
        except AudioError as error:
            raise AudioError(f"{file}: {error}") from error
        found = captioner.listen(clap, [sound], how)[0]
        if as_json:
            named = {"file": str(file)} if len(files) > 1 else {}
            typer.echo(json.dumps(named | _values(found, timeline)))
        else:
            typer.echo("\n".join(_lines(f"{file}: " if len(files) > 1 else "", found, timeline)))


def _values(found: Captioned, timeline: bool) -> dict[str, Any]:
    def values(text: str, confidence: float) -> dict[str, Any]:
        return {"caption": text, "confidence": round(confidence, 4)}

    said = values(found.best.text, found.best.confidence)
    said["alternatives"] = [values(c.text, c.confidence) for c in found.alternatives]
    if timeline:
        said["timeline"] = [
            {"start": m.start, "end": round(m.end, 3)}
            | values(m.caption.text, m.caption.confidence)
            for m in found.timeline
        ]
    return said


def _lines(before: str, found: Captioned, timeline: bool) -> list[str]:
    lines = [f"{before}{found.best.text}"]
    lines += [f"  or: {other.text}" for other in found.alternatives]
    if timeline:
        lines += [f"  {m.start:.1f}-{m.end:.1f} s: {m.caption.text}" for m in found.timeline]
    return lines
