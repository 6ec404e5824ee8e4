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
from m2d_clap.service import schemas
from m2d_clap.service.calls import Narrow
from m2d_clap.service.client import Client
from m2d_clap.service.schemas import MOST_MOMENTS


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
    moments: Annotated[
        int, typer.Option(help="how many moments of each recording", min=1, max=MOST_MOMENTS)
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Find the sounds that fit a text, each with its best moment, or with several."""
    if len(words) != (2 if server is None else 1):
        raise typer.BadParameter(
            "give an index folder and a text; with --server a text only, in quotes"
        )
    text = words[-1]
    if server is not None:
        with Client(server, key) as client:
            narrow: Narrow = {"k": k, "filter": written}
            if moments > 1:  # an older server knows none
                narrow["moments"] = moments
            found = client.search_text(text, **narrow)
        rows = [_told(hit) for hit in found.hits]
        place = server
    else:
        place = words[0]
        rows = [
            _row(each)
            for each in _local(place, text, k, written, moments, checkpoint, text_encoder_path)
        ]
    if as_json:
        typer.echo(json.dumps({"hits": rows}))
    elif rows:
        _print(rows)
    else:
        typer.echo(
            f"{place} holds no such sound" if written else f"{place} holds no sound", err=True
        )


_MOMENT = ("score", "start", "end")


def _local(
    address: str,
    text: str,
    k: int,
    written: str | None,
    moments: int,
    checkpoint: Path | None,
    text_encoder_path: Path | None,
) -> list[list[Hit]]:
    """Of each clip that was found its moments, best first."""
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
    query = clap.embed_text([text])[0].numpy()
    hits = opened.search(query, k, where)
    return opened.moments(hits, query, moments) if moments > 1 else [[hit] for hit in hits]


def _row(moments: Sequence[Hit]) -> dict[str, Any]:
    clip = moments[0].clip
    places = [{"score": hit.score, "start": hit.start, "end": hit.end} for hit in moments]
    return {"id": clip.id, "path": clip.path, **places[0], "moments": places}


def _told(hit: schemas.Hit) -> dict[str, Any]:
    """The same of a server's hit."""
    places = [each.model_dump(include=set(_MOMENT)) for each in hit.moments or [hit]]
    return {"id": hit.id, "path": hit.path, **places[0], "moments": places}


def _print(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("score", "moment", "file")
    for row in rows:
        for number, each in enumerate(row["moments"]):
            moment = f"{_clock(each['start'])}–{_clock(each['end'])}"
            path = "" if number else escape(row["path"])
            table.add_row(f"{each['score']:.3f}", moment, path)
    Console().print(table)


def _clock(seconds: float) -> str:
    """h:mm:ss.s, without hours where there are none."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
