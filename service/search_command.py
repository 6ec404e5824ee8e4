"""The command `search`: in an index folder, or at a server."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from m2d_clap.index import Hit
from m2d_clap.index.engines import open_index
from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.filters import parse
from m2d_clap.service.client import Client


def search(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[INDEX] TEXT",
            help='an index folder, unless --server is given; "a dog barking"',
        ),
    ],
    k: Annotated[int, typer.Option("-k", help="how many hits", min=1)] = 10,
    server: Annotated[str | None, typer.Option(help="the address of an m2d-clap server")] = None,
    key: Annotated[
        str | None, typer.Option(help="the server's API key", envvar="M2D_API_KEY")
    ] = None,
    written: Annotated[
        str | None, typer.Option("--filter", help="as: seconds < 5 and path ~ 'birds/*'")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the index's own")] = None,
    text_encoder_path: Annotated[
        Path | None, typer.Option(help="folder of the text encoder, where it is not inside")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Find the sounds that fit a text, each with its best moment."""
    if len(words) != (2 if server is None else 1):
        raise typer.BadParameter(
            "give an index folder and a text; with --server a text only, in quotes"
        )
    text = words[-1]
    if server is not None:
        with Client(server, key) as client:
            found = client.search_text(text, k=k, filter=written)
        rows = [hit.model_dump(include=set(_SHOWN)) for hit in found.hits]
        place = server
    else:
        place = words[0]
        hits = _local(place, text, k, written, checkpoint, text_encoder_path)
        rows = [_row(hit) for hit in hits]
    if as_json:
        typer.echo(json.dumps({"hits": rows}))
    elif rows:
        _print(rows)
    else:
        typer.echo(
            f"{place} holds no such sound" if written else f"{place} holds no sound", err=True
        )


_SHOWN = ("id", "path", "score", "start", "end")


def _local(
    address: str,
    text: str,
    k: int,
    written: str | None,
    checkpoint: Path | None,
    text_encoder_path: Path | None,
) -> list[Hit]:
    from m2d_clap.model import Checkpoint

    where = None if written is None else parse(written)
    opened = open_index(address)
    if checkpoint is None and not opened.checkpoint.is_dir():
        raise LibraryIndexError(
            f"{address} was made with the checkpoint {opened.checkpoint}, which is gone: "
            "say with --checkpoint where it lies now"
        )
    model = Checkpoint.load(checkpoint or opened.checkpoint)
    opened.check_model(model.fingerprint, checkpoint or opened.checkpoint)
    clap = model.clap()
    clap.text_encoder_path = text_encoder_path
    return opened.search(clap.embed_text([text])[0].numpy(), k, where)


def _row(hit: Hit) -> dict[str, Any]:
    clip = {"id": hit.clip.id, "path": hit.clip.path}
    return clip | {"score": hit.score, "start": hit.start, "end": hit.end}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("score", "moment", "file")
    for row in rows:
        moment = f"{row['start']:.1f}–{row['end']:.1f} s"
        table.add_row(f"{row['score']:.3f}", moment, escape(row["path"]))
    Console().print(table)
