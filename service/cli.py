"""The `m2d-clap` script: finds the command that is called, and turns errors into exit statuses."""

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from m2d_clap.model.errors import ClapError

_GROUP = "m2d_clap.commands"
"""Every installed package's commands are entry points of this group: functions, or groups of them."""


class _Commands(TyperGroup):
    """Imports only what is called: most commands need no torch, and wait for none."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(_found())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = _found().get(cmd_name)
        if entry is None:
            return None
        command = entry.load()
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=cmd_name)
        else:
            app.command(cmd_name)(command)
        return typer.main.get_group(app).commands[cmd_name]


def build() -> typer.Typer:
    """The application."""
    app = typer.Typer(
        name="m2d-clap", cls=_Commands, no_args_is_help=True, add_completion=False,
        pretty_exceptions_enable=False,
    )  # fmt: skip

    @app.callback()
    def commands() -> None:
        """Search a library of sounds by what they sound like."""

    return app


def main() -> None:
    """Exit status 0 done, 1 failed with a message, 2 wrong use."""
    try:
        build()()
    except (ClapError, OSError) as error:  # a full disk, a folder that may not be written, …
        typer.echo(f"m2d-clap: {error}", err=True)
        sys.exit(1)


def _found() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=_GROUP)}
