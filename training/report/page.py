"""Findings → one HTML page without scripts and without anything from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.training.report.charts import line_chart, map_chart
from m2d_clap.training.report.curves import VALID, Curve
from m2d_clap.training.report.findings import Findings
from m2d_clap.training.report.folder import RunFolder, flattened
from m2d_clap.training.report.per_class import ClassScore
from m2d_clap.training.report.pictures import png, spectrogram

TITLES = {
    "loss": "loss, all terms weighted",
    "loss_m2d": "loss: masked prediction",
    "loss_clap": "loss: contrast",
    "loss_labels": "loss: labels",
    "rate": "learning rate",
    "gradient_norm": "gradient norm before clipping",
    "logit_scale": "logit scale",
    "valid_recall_1": "text→audio R@1",
    "valid_recall_5": "text→audio R@5",
    "valid_recall_10": "text→audio R@10",
    "valid_mean_ap": "text→audio mAP",
    "valid_map_10": "text→audio mAP@10",
    "valid_median_rank": "text→audio median rank",
    "valid_zero_shot": "zero-shot accuracy",
    "valid_accuracy": "accuracy of the head",
    "valid_label_mean_ap": "mAP of the head",
    "valid_cider_d": "CIDEr-D",
    "valid_bleu_4": "BLEU-4",
    "valid_rouge_l": "ROUGE-L",
}
ROWS = 24
"""Lines of the table of curves."""
ENDS = 45
"""Classes at each end of a long list that are shown at once."""
COLUMN = 8
"""Lines of a list of classes that are not yet worth a second column."""


@dataclass(frozen=True)
class Chart:
    """A measure's title, its last value and its picture."""

    title: str
    last: str
    svg: Markup


def page(
    folder: RunFolder, checkpoint: Checkpoint | None, split: str, findings: Findings | None
) -> str:
    """findings: None where there was nothing to hear, or nothing to hear it with."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        folder=folder,
        name=folder.path.resolve().name,
        checkpoint=checkpoint,
        split=split,
        findings=findings,
        classes=class_lists(findings) if findings is not None else {},
        map=_map(findings) if findings is not None else None,
        written=datetime.now().astimezone(),
        version=version("m2d-clap"),
        charts=_charts(folder),
        measures={curve.name: title(curve.name) for curve in folder.curves.curves},
        logged=logged(folder),
        settings=flattened({k: v for k, v in folder.settings.items() if k != "stage"}),
        recipe=flattened(folder.stage),
        masked=png(folder.picture) if folder.picture is not None else None,
        spectrogram=spectrogram,
        columns=columns,
    )


def title(measure: str) -> str:
    """What a person would call a column of curves.csv."""
    return TITLES.get(measure, measure.replace("_", " "))


def logged(folder: RunFolder) -> list[tuple[float, Mapping[str, float]]]:
    """(epoch, measured) for some of the logged epochs, those with a score first of all."""
    lines: dict[float, dict[str, float]] = {}
    for curve in folder.curves.curves:
        for point in curve.points:
            lines.setdefault(point.epoch, {})[curve.name] = point.value
    scored = [epoch for epoch, found in lines.items() if any(n.startswith(VALID) for n in found)]
    epochs = sorted(scored or lines)
    step = max(1, -(-len(epochs) // ROWS))
    kept = epochs[::-1][::step][::-1]  # the last one always
    return [(epoch, lines[epoch]) for epoch in kept]


def columns(scores: Sequence[ClassScore], most: int = 3) -> list[Sequence[ClassScore]]:
    """The list cut into columns of like length."""
    parts = max(1, min(most, -(-len(scores) // COLUMN)))
    length = -(-len(scores) // parts)
    return [scores[i : i + length] for i in range(0, len(scores), length)]


def class_lists(findings: Findings) -> dict[str, Sequence[ClassScore]]:
    """Heading → classes: all, or of many the best, the worst and, to be unfolded, the rest."""
    if findings.classes is None:
        return {}
    scores = findings.classes.scores
    if len(scores) <= 2 * ENDS:
        return {"all": scores}
    return {"best": scores[:ENDS], "worst": scores[-ENDS:], "between": scores[ENDS:-ENDS]}


def _charts(folder: RunFolder) -> dict[str, list[Chart]]:
    """Heading → charts."""
    found: dict[str, list[Chart]] = {"Losses": [], "Scores on the valid split": [], "Steps": []}
    for curve in folder.curves.curves:
        heading = "Steps"
        if curve.name.startswith("loss"):
            heading = "Losses"
        elif curve.name.startswith(VALID):
            heading = "Scores on the valid split"
        found[heading].append(_chart(curve, folder))
    found["Losses"].sort(key=lambda chart: chart.title != title("loss"))
    return {heading: charts for heading, charts in found.items() if charts}


def _chart(curve: Curve, folder: RunFolder) -> Chart:
    first, last = curve.points[0], curve.last
    low = min(point.low for point in curve.points)
    high = max(point.high for point in curve.points)
    description = (
        f"{title(curve.name)}: {first.value:.4g} at epoch {first.epoch:.1f}, "
        f"{last.value:.4g} at epoch {last.epoch:.1f}; lowest {low:.4g}, highest {high:.4g}"
    )
    svg = line_chart(curve, folder.epochs, folder.curves.best_epoch, description)
    # Made by an XML writer, which escapes.
    return Chart(title(curve.name), f"{last.value:.3g}", Markup(svg))


def _map(findings: Findings) -> Markup:
    found = findings.map
    titles = []
    for member in found.members:
        row = findings.rows[member]
        labels = ", ".join(row.labels) or "no label"
        titles.append(f"{labels} — {row.captions[0]} — {row.columns.get('file') or row.file.name}")
    description = (
        f"{len(found.points)} sounds in two dimensions, {len(found.regions)} labels; "
        "the table below says how well each label keeps together"
    )
    return Markup(map_chart(found, titles, description))
