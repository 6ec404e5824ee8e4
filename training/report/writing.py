"""A run folder and the rows of a split → report.html."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import typer
from torch import Tensor

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.errors import ClapError
from m2d_clap.model.files import whole
from m2d_clap.training.classes import known_rows
from m2d_clap.training.manifest import Row
from m2d_clap.training.report.findings import Findings, find_by_captions, find_by_labels
from m2d_clap.training.report.folder import RunFolder
from m2d_clap.training.report.page import page

REPORT = "report.html"


class ReportError(ClapError):
    """A report that cannot be written."""


def report_of_run(
    path: Path,
    rows: Sequence[Row],
    sounds: Sequence[Tensor],
    zero_shot_of: Callable[[Row], bool],
    device: str,
    text_encoder_path: Path | None = None,
) -> Path | None:
    """The last thing `train` does, on its own valid rows and their log-mels.

    Whatever goes wrong is told on stderr and costs the report only: what was trained is saved.
    """
    heard = dict(zip((id(row) for row in rows), sounds, strict=True))
    try:
        return write_report(
            RunFolder.read(path),
            "valid",
            rows,
            lambda _, chosen: [heard[id(row)] for row in chosen],
            zero_shot_of,
            device,
            text_encoder_path,
        )
    except Exception as error:  # noqa: BLE001  (whatever it is, the training is not lost)
        typer.echo(
            f"the report could not be written ({type(error).__name__}: {error}). The checkpoints "
            f"are saved; try again with: m2d-clap report {path} MANIFEST",
            err=True,
        )
        return None


def write_report(
    folder: RunFolder,
    split: str,
    rows: Sequence[Row],
    load: Callable[[Checkpoint, Sequence[Row]], Sequence[Tensor]],
    zero_shot_of: Callable[[Row], bool] = lambda row: bool(row.label),
    device: str = "cpu",
    text_encoder_path: Path | None = None,
) -> Path:
    """Writes the folder's report.html and returns its path.

    rows: those of `split`; of a head's stage, rows with labels that it did not learn are left
    out. load: their raw log-mels. A run without a checkpoint, a split without rows or a captioner's
    run, which `evaluate` scores, makes a report that says so.
    """
    checkpoint = Checkpoint.load(folder.checkpoint) if folder.checkpoint is not None else None
    findings: Findings | None = None
    if checkpoint is not None and not folder.captions:
        if folder.learns_labels:
            rows = known_rows(rows, checkpoint.config.labels)
        if rows:
            clap = checkpoint.clap(device)
            clap.text_encoder_path = text_encoder_path
            sounds = load(checkpoint, rows)
            with torch.inference_mode():
                if folder.learns_labels:
                    findings = find_by_labels(clap, rows, sounds, folder.one_label)
                else:
                    findings = find_by_captions(clap, rows, sounds, zero_shot_of)
    text = page(folder, checkpoint, split, findings)
    file = folder.path / REPORT
    try:
        with whole(file) as aside:  # a folder's name may hold bytes that are no text
            aside.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise ReportError(f"cannot write {file}: {error}") from error
    return file
