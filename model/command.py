"""Commands about models: `import`, `info`, `embed`."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import typer

from m2d_clap.model.audio import read_audio
from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.clap import Precision
from m2d_clap.model.config import config_to_dict
from m2d_clap.model.description import bundled
from m2d_clap.model.errors import AudioError
from m2d_clap.model.files import whole
from m2d_clap.model.text_encoder import SPECS
from m2d_clap.model.upstream import Hints, import_published

PUBLISHED = [kind for kind, spec in SPECS.items() if spec.hub_id is not None]


def import_(
    published: Annotated[Path, typer.Argument(help="a published .pth file, in its folder")],
    out: Annotated[Path, typer.Argument(help="the checkpoint folder to write")],
    frames: Annotated[int | None, typer.Option(help="frames a window", min=1)] = None,
    sample_rate: Annotated[int | None, typer.Option(help="Hz", min=1000)] = None,
    text_encoder: Annotated[str | None, typer.Option(help=" | ".join(PUBLISHED))] = None,
    heads: Annotated[int | None, typer.Option(help="default width / 64", min=1)] = None,
    text_heads: Annotated[int | None, typer.Option(help="default width / 64", min=1)] = None,
) -> None:
    """Convert published M2D-CLAP weights (non-commercial licence) into a checkpoint."""
    if text_encoder is not None and text_encoder not in PUBLISHED:
        raise typer.BadParameter(f"--text-encoder is one of {', '.join(PUBLISHED)}")
    hints = Hints(frames, sample_rate, text_encoder, heads, text_heads)
    checkpoint = import_published(published, hints)
    checkpoint.save(out)
    typer.echo(f"{out}: {checkpoint.config.name}, fingerprint {checkpoint.fingerprint[:12]}")


def info(
    checkpoint: Annotated[Path | None, typer.Argument(help="default: the bundled one")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Say what a checkpoint is: sizes, front end, text encoder, labels, licence."""
    loaded = Checkpoint.load(checkpoint or bundled())
    settings = config_to_dict(loaded.config)
    count = sum(weight.numel() for weight in loaded.weights.values())
    part = loaded.captioner
    speaks = part and {**dataclasses.asdict(part.config), "fingerprint": part.fingerprint}
    if as_json:
        facts = {"fingerprint": loaded.fingerprint, "parameters": count, "model": settings}
        facts["captioner"] = speaks
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{loaded.config.name}  ({count / 1e6:.1f} M weights, {loaded.fingerprint[:12]})")
    for name in ("licence", "front_end", "encoder", "projector", "text"):
        value = settings[name]
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items() if v not in ({}, "", 0, "none"))
        typer.echo(f"  {name}: {value}")
    typer.echo(f"  labels: {len(loaded.config.labels)}")
    if part is not None:
        weights = sum(weight.numel() for weight in part.weights.values())
        typer.echo(f"  captioner: {weights / 1e6:.1f} M weights, {part.config.vocabulary} words")


def embed(
    files: Annotated[list[Path] | None, typer.Argument(help="sound files")] = None,
    out: Annotated[Path, typer.Option("--out", help="the .npy file to write")] = ...,  # type: ignore[assignment]
    text: Annotated[list[str] | None, typer.Option("--text", help="repeatable")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the bundled one")] = None,
    features: Annotated[
        bool, typer.Option("--features", help="conventional clip features instead (files only)")
    ] = False,
    precision: Annotated[str, typer.Option(help="float32 | bfloat16")] = "float32",
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
) -> None:
    """Write un-normalised CLAP embeddings, float32 (files then texts, dim), in the order given.

    The row of a file that cannot be read is NaN, and the exit status 1.
    """
    files, text = files or [], text or []
    if not files and not text:
        raise typer.BadParameter("give at least one FILE or --text")
    if features and text:
        raise typer.BadParameter("--features are of sounds; leave --text out")
    if precision not in ("float32", "bfloat16"):
        raise typer.BadParameter("--precision is float32 or bfloat16")
    if not out.parent.is_dir():  # known before hours of work, not after
        raise typer.BadParameter(f"--out: there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise typer.BadParameter(f"--out: {out.parent} cannot be written")
    clap = Checkpoint.load(checkpoint or bundled()).clap()
    clap.precision = cast(Precision, precision)
    clap.text_encoder_path = text_encoder_path
    rows: list[torch.Tensor | None] = []
    unread: list[str] = []
    with typer.progressbar(files, label="embedding", file=typer.get_text_stream("stderr")) as bar:
        for file in bar:
            try:
                waveform = read_audio(file, clap.config.front_end.sample_rate)
            except AudioError as error:
                unread.append(f"{file}: {error}")
                rows.append(None)
                continue
            grids = clap.grids([clap.log_mel(waveform)])
            rows.append(grids[0].clip().float() if features else clap.project(grids)[0])
    if text:
        rows.extend(clap.embed_text(text))
    known = next((row for row in rows if row is not None), None)
    if known is None:
        raise AudioError("\n".join(unread))
    nothing = torch.full_like(known, torch.nan)
    with whole(out) as aside, aside.open("wb") as written:
        np.save(written, torch.stack([nothing if row is None else row for row in rows]).numpy())
    typer.echo(f"{out}: {len(rows)} × {len(known)}")
    if unread:
        raise AudioError("\n".join([f"{len(unread)} rows are NaN:", *unread]))
