"""The `m2d-clap` script: gathers each package's commands and turns errors into exit statuses."""

import sys
from importlib.metadata import entry_points

import typer

from m2d_clap.model.errors import ClapError


def build() -> typer.Typer:
    """The application with the commands of every installed package."""
    app = typer.Typer(
        name="m2d-clap",
        help="Search a library of sounds by what they sound like.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for entry in sorted(entry_points(group="m2d_clap.commands"), key=lambda e: e.name):
        entry.load()(app)
    return app


def main() -> None:
    """Exit status 0 done, 1 failed with a message, 2 wrong use."""
    try:
        build()()
    except ClapError as error:
        typer.echo(f"m2d-clap: {error}", err=True)
        sys.exit(1)
