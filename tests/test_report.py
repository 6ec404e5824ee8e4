"""A run ends in one page that says what `evaluate` says, and asks for nothing from elsewhere."""

import csv
import dataclasses
import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.model.config import ClapConfig, EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.service.cli import build
from m2d_clap.training.captioning.recipe import CAPTION_MINI
from m2d_clap.training.m2d import PredictorConfig
from m2d_clap.training.report import writing
from m2d_clap.training.report.curves import read_curves
from m2d_clap.training.run import RunError, Status
from m2d_clap.training.stages import STAGE_1_MINI, STAGES, Losses
from m2d_clap.training.view import View

TINY = dataclasses.replace(
    STAGE_1_MINI,
    name="tiny",
    model=ClapConfig(
        encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
        projector=ProjectorConfig("mlp", 384, 16),
        text=TextConfig("minilm", max_tokens=64),
        head_input=16,
    ),
    predictor=PredictorConfig(16, 1, 2),
    frames=64,
    epochs=3,
    warm_up=1,
    batch=4,
)
HEAD = dataclasses.replace(TINY, name="head", losses=Losses(labels=1.0), labels="one")
LABELS = ("low_tone", "mid_tone", "<b>high</b>_tone")
CAPTIONS = (
    "a low <script>alert(1)</script> tone",
    'a "mid" & <img src=x onerror=y> tone',
    "a high",
)
VOID = {"meta", "img", "br", "col"}


class Node(HTMLParser):
    """A page as a tree. text: all that is below, as it is read."""

    def __init__(self, source: str = "", tag: str = "", attrs: Any = ()) -> None:
        super().__init__()
        self.name, self.attrs = tag, dict(attrs)
        self.children: list[Node | str] = []
        self._open = [self]
        if source:
            self.feed(source)
            assert self._open == [self], f"<{self._open[-1].name}> is left open"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        node = Node("", tag, attrs)
        self._open[-1].children.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self._open[-1].children.append(Node("", tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def all(self, *names: str) -> Iterator["Node"]:
        for child in self.children:
            if isinstance(child, Node):
                if not names or child.name in names:
                    yield child
                yield from child.all(*names)

    def by_id(self, name: str) -> "Node":
        return next(node for node in self.all() if node.attrs.get("id") == name)

    @property
    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    @property
    def cells(self) -> list[list[str]]:
        """Of a table."""
        return [[c.text.strip() for c in row.all("th", "td")] for row in self.all("tr")]


def write_manifest(folder: Path, valid: int = 6) -> Path:
    """Twelve sounds to learn from and some for valid, of three kinds; names and texts are hostile."""
    lines = []
    for number in range(12 + valid):
        kind, rng = number % 3, np.random.default_rng(number)
        name = f"{number} <i>&'{kind}.wav"
        tone = 8000 * np.sin(2 * np.pi * (200, 1000, 4000)[kind] * np.arange(7000) / 16000)
        noise = rng.normal(0, 300, 7000)
        wavfile.write(folder / name, 16000, (tone + noise).astype(np.int16))
        caption = CAPTIONS[kind] + (" again" if number in (13, 14) else "")
        lines.append((name, caption, LABELS[kind], "train" if number < 12 else "valid"))
    with (folder / "manifest.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("file", "caption", "label", "split"), *lines])
    return folder / "manifest.csv"


def command(*words: str | Path) -> Any:
    result = CliRunner().invoke(build(), [*map(str, words), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def train(folder: Path, stage: str, *words: str | Path) -> Any:
    common = ("--out", folder / stage, "--cache", folder / "cache", "--every", "1")
    return command("train", folder / "manifest.csv", "--stage", stage, *common, *words)


@pytest.fixture(scope="module", autouse=True)
def stages() -> Iterator[None]:
    """The tiny stages by name; one thread, since such small steps wait for one another's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    many = dataclasses.replace(HEAD, name="many", labels="many")
    with pytest.MonkeyPatch.context() as patch:
        for stage in (TINY, dataclasses.replace(HEAD, parent=None), many):
            patch.setitem(STAGES, stage.name, stage)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with a manifest and a whole run, and what `train` said at its end."""
    folder = tmp_path_factory.mktemp("trained")
    write_manifest(folder)
    return folder, json.loads(train(folder, "tiny").stdout)


@pytest.fixture(scope="module")
def page(trained: tuple[Path, dict[str, str]]) -> Node:
    return Node(Path(trained[1]["report"]).read_text(encoding="utf-8"))


def test_the_report_is_one_file_that_asks_for_nothing(page: Node) -> None:
    names = {node.name for node in page.all()}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "use"}
    for node in page.all():
        assert not [name for name in node.attrs if name.startswith("on")]
        assert node.attrs.get("src", "data:image/png;").startswith("data:image/png;")
        assert node.attrs.get("href", "#").startswith("#")
        assert "url(" not in node.attrs.get("style", "")
    styles = "".join(node.text for node in page.all("style"))
    assert "prefers-color-scheme: dark" in styles
    assert not [word for word in ("url(", "@import", "http") if word in styles]
    assert any("default-src 'none'" in node.attrs.get("content", "") for node in page.all("meta"))
    targets = {node.attrs["href"].removeprefix("#") for node in page.all("a")}
    assert targets <= {node.attrs.get("id") for node in page.all()}


def test_the_report_gives_the_figures_that_evaluate_gives(
    trained: tuple[Path, dict[str, str]], page: Node
) -> None:
    folder, said = trained
    words = ["--split", "valid", "--cache", folder / "cache", "--checkpoint", said["checkpoint"]]
    scores = json.loads(command("evaluate", folder / "manifest.csv", *words).stdout)
    heading, *lines = page.by_id("figures").cells
    keys = {"R@1": "recall_1", "R@5": "recall_5", "R@10": "recall_10"}
    keys |= {"N": "n", "median rank": "median_rank", "mAP": "mean_ap", "mAP@10": "map_10"}
    for line, way in zip(lines, ("text_to_audio", "audio_to_text"), strict=True):
        shown = dict(zip(heading[1:], line[1:], strict=True))
        for name, key in keys.items():
            assert float(shown[name]) == pytest.approx(scores[way][key], abs=5e-4)
    accuracy = scores["zero_shot"]["accuracy"]
    assert f"{accuracy:.3f} over clips" in page.by_id("classes").text
    listed = [row for table in page.by_id("classes").all("table") for row in table.cells[1:]]
    assert {row[0] for row in listed} == set(LABELS)
    found = sum(int(row[1]) * float(row[3]) for row in listed)
    assert found / scores["zero_shot"]["n"] == pytest.approx(accuracy, abs=0.01)
    values = [float(row[3]) for row in listed]
    assert values == sorted(values, reverse=True)


def test_right_hits_are_marked_and_wrong_ones_are_not(
    trained: tuple[Path, dict[str, str]], page: Node
) -> None:
    with (trained[0] / "manifest.csv").open(newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["split"] == "valid"]
    label_of = {row["caption"]: row["label"] for row in rows}
    file_of = {row["file"]: row for row in rows}
    cards = list(page.by_id("retrieval").all("article"))
    marked = []
    for card in cards:
        heading = next(card.all("h4")).text.strip()
        asked = label_of[heading.strip("“”")]
        hits = next(card.all("tbody"))
        for hit in hits.all("tr"):
            place, *_, what, score = list(hit.all("td"))
            files = [n.text for n in what.all("span") if "file" in n.attrs.get("class", "")]
            given = file_of[files[0]]["label"] if files else label_of[what.text.strip()]
            marked.append("✓" in place.text)
            assert marked[-1] == (given == asked), (heading, what.text)
            assert -1 <= float(score.text) <= 1
        assert any("✓" in hit.text for hit in hits.all("tr"))
    assert any(marked) and not all(marked)
    assert any("“" in next(card.all("h4")).text for card in cards)


def test_texts_and_file_names_cannot_break_out_of_the_page(page: Node) -> None:
    read = page.text
    for hostile in (*CAPTIONS, *LABELS):
        assert hostile in read
    assert not [node for node in page.all("img") if node.attrs["src"] == "x"]
    assert not list(page.all("i")) or all(n.attrs.get("style") for n in page.all("i"))


def test_pictures_have_texts_and_tables_have_headings(page: Node) -> None:
    assert all(node.attrs.get("alt") for node in page.all("img"))
    charts = list(page.all("svg"))
    assert all(node.attrs.get("role") == "img" and node.attrs["aria-label"] for node in charts)
    assert all(list(table.all("th")) for table in page.all("table"))
    drawn = {node.attrs["aria-label"].rsplit(":", 1)[0] for node in charts}
    for measure in ("loss, all terms weighted", "loss: masked prediction", "loss: contrast"):
        assert measure in drawn
    assert {"learning rate", "text→audio mAP", "zero-shot accuracy"} <= drawn
    points = [dot for dot in page.by_id("map").all("circle") if list(dot.all("title"))]
    assert len(points) == 6
    assert {name.text for name in page.by_id("map").all("text")} <= {
        label.replace("_", " ") for label in LABELS
    }


def test_curves_settings_and_recipe_are_those_of_the_run(
    trained: tuple[Path, dict[str, str]], page: Node
) -> None:
    cells = dict(row for table in page.by_id("settings").all("table") for row in table.cells)
    assert cells["sounds"] == "12" and cells["losses.m2d"] == "0.3" and cells["epochs"] == "3"
    with (trained[0] / "tiny" / "curves.csv").open(newline="") as opened:
        last = list(csv.DictReader(opened))[-1]
    table = next(page.by_id("curves").all("table")).cells
    shown = dict(zip(table[0], table[-1], strict=True))
    assert float(shown["loss, all terms weighted"]) == pytest.approx(float(last["loss"]), rel=1e-3)
    assert "Finished: 3 epochs" in page.text


@pytest.mark.parametrize("stage", ["head", "many"])
def test_a_stage_of_labels_shows_its_head(stage: str, tmp_path: Path) -> None:
    write_manifest(tmp_path)
    found = Node(Path(json.loads(train(tmp_path, stage).stdout)["report"]).read_text())
    assert not [node for node in found.all() if node.attrs.get("id") == "retrieval"]
    scored = read_curves(tmp_path / stage / "curves.csv")
    name = "valid_accuracy" if stage == "head" else "valid_label_mean_ap"
    best = max(point.value for point in scored[name].points)
    listed = [row for table in found.by_id("classes").all("table") for row in table.cells[1:]]
    assert np.mean([float(row[3]) for row in listed]) == pytest.approx(best, abs=0.01)
    assert f"{best:.3f}" in found.by_id("classes").text


def test_without_a_valid_split_the_report_says_so(tmp_path: Path) -> None:
    write_manifest(tmp_path, valid=0)
    found = Node(Path(json.loads(train(tmp_path, "tiny").stdout)["report"]).read_text())
    assert "no row in the split “valid”" in found.text
    assert list(found.by_id("curves").all("svg"))


def test_a_stopped_run_can_be_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_manifest(tmp_path)

    def stop_at(step: int) -> None:
        def show(_: View, status: Status) -> None:
            if status.step == step:
                raise KeyboardInterrupt

        monkeypatch.setattr(View, "show", show)

    def reported() -> str:
        words = ("report", tmp_path / "tiny", manifest, "--cache", tmp_path / "cache")
        file = Path(json.loads(command(*words).stdout)["report"])
        assert file == tmp_path / "tiny" / "report.html"
        return Node(file.read_text()).text

    stop_at(1)
    assert train(tmp_path, "tiny").exit_code == 130
    assert "no checkpoint yet" in reported()
    stop_at(4)
    assert train(tmp_path, "tiny").exit_code == 130
    text = reported()
    assert "Stopped, or still running: 1.0 of 3 epochs" in text
    assert "6 clips and" in text


def test_a_captioners_run_has_curves_and_says_what_scores_it(
    trained: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "captions"
    folder.mkdir()
    settings = {"stage": dataclasses.asdict(CAPTION_MINI), "seed": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    curves = "step,epoch,loss,valid_cider_d\n1,7.0,2.5,0.5\n2,14.0,2.0,0.25\n"
    (folder / "curves.csv").write_text(curves)
    assert "no checkpoint yet" in reported(folder).text
    shutil.copytree(trained[0] / "tiny" / "last", folder / "best")
    page = reported(folder)
    assert f"m2d-clap evaluate {folder / 'best'} MANIFEST --protocol captions" in page.text
    assert any(n.attrs["aria-label"].startswith("CIDEr-D: 0.5") for n in page.all("svg"))
    assert "7epoch of the best checkpoint" in page.text
    assert command("report", trained[0] / "tiny").exit_code == 2  # its rows are not known


def reported(folder: Path) -> Node:
    """A report's page, of a run alone."""
    said = json.loads(command("report", folder).stdout)
    return Node(Path(said["report"]).read_text(encoding="utf-8"))


def test_a_report_that_fails_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path)

    def broken(*_: Any) -> str:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(writing, "page", broken)
    result = train(tmp_path, "tiny")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["report"] is None and (Path(said["checkpoint"]) / "model.safetensors").is_file()
    assert "by nought" in result.stderr and "m2d-clap report" in result.stderr


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run folder"):
        command("report", tmp_path, write_manifest(tmp_path))
    (tmp_path / "curves.csv").write_text("step,epoch,loss\n1,one,2\n")
    with pytest.raises(ClapError, match="no table"):
        read_curves(tmp_path / "curves.csv")
