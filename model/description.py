"""What a checkpoint folder says of itself, read without its weights, and without torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2d_clap.model.config import ClapConfig, config_from_dict
from m2d_clap.model.errors import CheckpointError

CONFIG_FILE, CAPTIONER_FILE = "config.json", "captioner.json"
FORMAT_VERSION, CAPTIONER_VERSION = 2, 1

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda old: old | {"format_version": 2},  # 2 knows text encoders with their own tokenizer
}
"""From version n: the function that turns its config.json into version n + 1's."""


def is_checkpoint(place: Path) -> bool:
    """Whether a checkpoint lies there, whole or not."""
    return (place / CONFIG_FILE).is_file()


def bundled() -> Path:
    """The folder of `m2d-clap-mini`, the checkpoint that comes with the package."""
    return Path(__file__).parent / "mini"


@dataclass(frozen=True)
class Description:
    """What a checkpoint folder says of itself. captioner: its fingerprint, None without one."""

    config: ClapConfig
    fingerprint: str
    captioner: str | None = None


def describe(folder: Path) -> Description:
    """Settings and claimed fingerprint, without reading the weights. Raises CheckpointError."""
    description, captioner = read_config(folder), read_captioner(folder)
    return Description(
        config_from_dict(description["model"]),
        str(description["fingerprint"]),
        None if captioner is None else str(captioner["fingerprint"]),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, as this release has it. Raises CheckpointError."""
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise CheckpointError(
            f"{folder} is no checkpoint (no {CONFIG_FILE}); "
            "a published .pth file becomes one with: m2d-clap import FILE.pth OUT"
        )
    try:
        description = json.loads(file.read_text())
        version = description["format_version"]
        while version in MIGRATIONS:
            description = MIGRATIONS[version](description)
            version = description["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{folder} has format version {version}, this release reads up to "
                f"{FORMAT_VERSION}: upgrade m2d-clap"
            )
        if not {"fingerprint", "model"} <= description.keys():
            raise KeyError("fingerprint or model")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    return dict(description)


def read_captioner(folder: Path) -> dict[str, Any] | None:
    """captioner.json; None where there is none. Raises CheckpointError."""
    file = folder / CAPTIONER_FILE
    if not file.is_file():
        return None
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        version = description["format_version"]
        if version != CAPTIONER_VERSION:
            raise CheckpointError(
                f"the captioner in {folder} has format version {version}, this release reads "
                f"{CAPTIONER_VERSION}: upgrade m2d-clap"
            )
        wanted = {"format_version", "fingerprint", "hears", "captioner", "vocabulary"}
        if description.keys() != wanted:
            raise KeyError(", ".join(sorted(wanted ^ description.keys())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    return dict(description)
