"""Options of a long command in groups, as its --help shows them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from typer.models import OptionInfo

Command = TypeVar("Command", bound=Callable[..., None])

TRAIN = {
    "Recipe": (
        *("stage", "epochs", "batch", "base_rate", "parent", "teacher", "text_encoder_path"),
        "seed",
    ),
    "Data": ("without_licence", "procedural"),
    "Run": ("out", "every", "patience", "zero_shot_where", "cache"),
    "Machine": (
        *("device", "precision", "threads", "accumulate", "checkpoint_activations", "compiled"),
        "as_json",
    ),
}
EVALUATE = {
    "Classes and baselines": ("zero_shot_where", "min_train", "random_encoder"),
    "With --protocol fine-tune": ("epochs", "batch", "base_rate", "seeds", "out"),
    "With --protocol captions": ("without_licence", "procedural"),
    "Machine": ("device", "cache", "text_encoder_path", "as_json"),
}


def grouped(panels: Mapping[str, Sequence[str]]) -> Callable[[Command], Command]:
    """Puts a command's options into these panels; those not named stay under "Options"."""

    def group(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        for panel, names in panels.items():
            for name in names:
                marks: tuple[Any, ...] = hints[name].__metadata__
                for mark in marks:
                    if isinstance(mark, OptionInfo):
                        mark.rich_help_panel = panel
        return command

    return group
