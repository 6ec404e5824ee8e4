"""The commands `m2d-clap keys add | list | revoke`."""

import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from m2d_clap.service.keys import KeyFile, Scope

app = typer.Typer(help="API keys of a server (its setting keys_file).", no_args_is_help=True)

File = Annotated[
    Path, typer.Option("--file", envvar="M2D_CLAP_KEYS_FILE", help="where the keys are kept")
]
Json = Annotated[bool, typer.Option("--json", help="for machines")]
_PLACE = Path("keys.json")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="whose it is")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="read | write, repeatable; default: read")
    ] = None,
    file: File = _PLACE,
    as_json: Json = False,
) -> None:
    """Make a key. It is printed now and never again."""
    key = KeyFile(file).add(name, cast(tuple[Scope, ...], tuple(dict.fromkeys(scope or ["read"]))))
    typer.echo(json.dumps({"key": key}) if as_json else key)
    typer.echo(f"kept as a hash in {file}: set keys_file to it where you serve", err=True)


@app.command("list")
def list_keys(file: File = _PLACE, as_json: Json = False) -> None:
    """Show whose keys there are."""
    keys = KeyFile(file).all()
    if as_json:
        told = [
            {"id": key.id, "name": key.name, "scopes": [*key.scopes], "made": key.created}
            for key in keys
        ]
        typer.echo(json.dumps({"keys": told}))
        return
    table = Table("id", "name", "scopes", "made")
    for key in keys:
        table.add_row(key.id, escape(key.name), " ".join(key.scopes), key.created)
    Console().print(table)


@app.command()
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="as `keys list` shows it")],
    file: File = _PLACE,
    as_json: Json = False,
) -> None:
    """Make a key worthless, for a running server too."""
    KeyFile(file).revoke(identity)
    typer.echo(json.dumps({"revoked": identity}) if as_json else f"revoked {identity}")
