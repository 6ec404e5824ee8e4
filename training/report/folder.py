"""What a run folder holds that a report can show, whatever the run came to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2d_clap.training.report.curves import Curves, read_curves
from m2d_clap.training.run import RunError
from m2d_clap.training.settings import flat


@dataclass(frozen=True)
class RunFolder:
    """settings: what `train` was asked for. checkpoint: the best, else the last, else None."""

    path: Path
    settings: Mapping[str, Any]
    curves: Curves
    checkpoint: Path | None
    picture: Path | None

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Raises RunError where there is no run."""
        file = path / "settings.json"
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            stage = settings["stage"]
            # A captioner's recipe has one loss, and smooths it.
            if "label_smoothing" not in stage and not isinstance(stage["losses"], dict):
                raise TypeError("the stage's losses are no object")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is no run folder of `m2d-clap train` ({file.name}: {error!r})"
            ) from error
        saved = [path / name for name in ("best", "last") if (path / name).is_dir()]
        return cls(
            path=path,
            settings=settings,
            curves=read_curves(path / "curves.csv"),
            checkpoint=saved[0] if saved else None,
            picture=max((path / "samples").glob("*.png"), default=None),
        )

    @property
    def stage(self) -> Mapping[str, Any]:
        """The recipe."""
        return dict(self.settings["stage"])

    @property
    def captions(self) -> bool:
        """Whether the run trains a captioner."""
        return "losses" not in self.stage

    @property
    def learns_labels(self) -> bool:
        """Whether the run is about a head's classes, not about captions."""
        return not self.captions and bool(self.stage["losses"].get("labels"))

    @property
    def one_label(self) -> bool:
        """Whether every sound has exactly one class."""
        return self.stage.get("labels") == "one"

    @property
    def epochs(self) -> float:
        """How many were planned."""
        return float(self.stage.get("epochs", self.curves.epoch))

    @property
    def finished(self) -> bool:
        return self.curves.epoch >= self.epochs

    @property
    def without_licence(self) -> list[str]:
        """Words of licences whose rows the run left out."""
        return list(self.settings.get("without_licence", []))


def flattened(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """{"a": {"b": 1}} → [("a.b", "1")], values as a person would write them."""
    return [(name, _written(value)) for name, value in flat(settings)]


def _written(value: Any) -> str:
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_written(part) for part in value)
    return str(value)
