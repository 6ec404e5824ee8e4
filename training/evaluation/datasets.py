"""The data sets of the published evaluations as frozen values, and any manifest as one of them.

Clip seconds, folds and prompts: EVAR, as arXiv 2503.22104 uses it. Figures: the tables there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal

from m2d_clap.model.errors import ClapError
from m2d_clap.model.labels import audioset
from m2d_clap.training.evaluation.prompts import emotion, genre, heard, instrument
from m2d_clap.training.manifest import Row, is_fold

Task = Literal["single-label", "multi-label", "retrieval"]
Metric = Literal["accuracy", "mean_ap", "recall_1"]


class Protocol(StrEnum):
    """How a model is scored.

    OWN: this project's measure, in which clips may share captions. FINE_TUNE: whatever has labels
    can be, but a data set does not list it: it takes hours where the others take minutes.
    """

    OWN = "own"
    RETRIEVAL = "retrieval"
    ZERO_SHOT = "zero-shot"
    LINEAR = "linear"
    TAGGING = "tagging"
    FINE_TUNE = "fine-tune"
    CAPTIONS = "captions"


@dataclass(frozen=True)
class Published:
    """A figure from a paper. value: a share, 0 … 1, of captions their CIDEr; direction: of
    retrieval, else empty."""

    protocol: Protocol
    model: str
    value: float
    direction: Literal["", "text_to_audio", "audio_to_text"] = ""


def _label(label: str) -> str:
    return label


@dataclass(frozen=True)
class Dataset:
    """What an evaluation must know of a data set besides its manifest.

    name: on the command line. seconds: clip length, None for whole clips. folds: how many parts
    take turns as the test part (the manifest's splits are their names), 0 for train, valid, test. class_name: label
    in the manifest → the name that the prompt and a tagging head use. clips: the sizes of the test
    part that published figures stand on, where they are known to differ or to matter.
    """

    name: str
    title: str
    task: Task
    seconds: float | None
    protocols: tuple[Protocol, ...]
    folds: int = 0
    prompt: Callable[[str], str] = heard
    class_name: Callable[[str], str] = _label
    published: tuple[Published, ...] = ()
    clips: tuple[int, ...] = ()

    @property
    def metric(self) -> Metric:
        """The figure that the papers print."""
        metrics: dict[Task, Metric] = {
            "single-label": "accuracy",
            "multi-label": "mean_ap",
            "retrieval": "recall_1",
        }
        return metrics[self.task]


def display_name(label: str) -> str:
    """AudioSet: "/m/05tny_" → "Bark"; a display name stays."""
    return _audioset_names().get(label, label)


@cache
def _audioset_names() -> dict[str, str]:
    return dict(audioset())


CLAP_2025, CLAP_2024, LAION = "M2D-CLAP 2025", "M2D-CLAP 2024", "LAION-CLAP"


def _linear(*percent: float) -> tuple[Published, ...]:
    """Accuracies in percent of the three models of the linear-evaluation table."""
    models = (CLAP_2025, CLAP_2024, LAION)
    return tuple(
        Published(Protocol.LINEAR, model, round(value / 100, 4))
        for model, value in zip(models, percent, strict=True)
    )


def _recalls(text_to_audio: float, audio_to_text: float) -> tuple[Published, ...]:
    return (
        Published(Protocol.RETRIEVAL, CLAP_2025, text_to_audio, "text_to_audio"),
        Published(Protocol.RETRIEVAL, CLAP_2025, audio_to_text, "audio_to_text"),
    )


_HEAD = (Protocol.LINEAR,)
_BOTH = (Protocol.LINEAR, Protocol.ZERO_SHOT)
_MULTI = (Protocol.LINEAR, Protocol.ZERO_SHOT, Protocol.TAGGING)
_TEXTS = (Protocol.RETRIEVAL,)
_ONE: Task = "single-label"
_MANY: Task = "multi-label"
_FINDS: Task = "retrieval"

_ESC_50 = (
    *_linear(97.9, 96.3, 97.3),
    Published(Protocol.ZERO_SHOT, CLAP_2025, 0.943),
    Published(Protocol.FINE_TUNE, CLAP_2025, 0.985),
)
_SPCV2 = (*_linear(94.8, 95.8, 75.9), Published(Protocol.FINE_TUNE, CLAP_2025, 0.984))
_TAGS = (
    Published(Protocol.TAGGING, CLAP_2025 + " fine-tuned on AudioSet-2M", 0.490),
    Published(Protocol.FINE_TUNE, CLAP_2025 + " on AudioSet-2M", 0.490),
)

_KNOWN = (
    Dataset("esc-50", "ESC-50", _ONE, 5.0, _BOTH, folds=5, published=_ESC_50),
    Dataset(
        "us8k", "UrbanSound8K", _ONE, 4.0, _BOTH, folds=10, published=_linear(89.7, 88.8, 86.9)
    ),
    Dataset("spcv2", "Speech Commands V2", _ONE, 1.0, _HEAD, published=_SPCV2),
    Dataset("vc1", "VoxCeleb1", _ONE, 8.2, _HEAD, published=_linear(56.3, 70.3, 13.4)),
    Dataset("voxforge", "VoxForge", _ONE, 5.8, _HEAD, published=_linear(97.1, 98.3, 80.3)),
    Dataset(
        "crema-d", "CREMA-D", _ONE, 2.5, _BOTH, prompt=emotion, published=_linear(69.7, 73.4, 54.6)
    ),
    Dataset("gtzan", "GTZAN", _ONE, 30.0, _BOTH, prompt=genre, published=_linear(86.3, 84.1, 84.3)),
    Dataset(
        "nsynth", "NSynth", _ONE, 4.0, _BOTH, prompt=instrument, published=_linear(76.7, 78.0, 72.2)
    ),
    Dataset("surge", "Surge", _ONE, 4.0, _HEAD, published=_linear(41.1, 42.4, 14.8)),
    Dataset("fsd50k", "FSD50K", _MANY, 7.6358, _MULTI),
    Dataset("audioset", "AudioSet", _MANY, 10.0, _MULTI, class_name=display_name, published=_TAGS),
    # Retrieval hears whole clips: here the seconds only say how long these are at most.
    Dataset(
        "audiocaps",
        "AudioCaps",
        _FINDS,
        10.0,
        _TEXTS,
        published=(*_recalls(0.419, 0.592), Published(Protocol.CAPTIONS, CLAP_2025, 0.724)),
        clips=(957, 883),
    ),
    Dataset(
        "clotho", "Clotho", _FINDS, 30.0, _TEXTS, published=_recalls(0.200, 0.249), clips=(1045,)
    ),
)
DATASETS = {dataset.name: dataset for dataset in _KNOWN}


def find_dataset(name: str) -> Dataset:
    """Case, spaces, `-` and `_` do not matter. Raises ClapError listing the names."""
    plain = _plain(name)
    for dataset in _KNOWN:
        if plain in (_plain(dataset.name), _plain(dataset.title)):
            return dataset
    raise ClapError(f"no data set {name!r} is known; there are {', '.join(DATASETS)}")


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def own_dataset(name: str, rows: Sequence[Row], split: str) -> Dataset:
    """A definition for a manifest of the user's own: whole clips, plain prompts, no figures.

    Multi-label when some row has several labels; folds when the splits are folds and not one of
    them is to be scored; captioned retrieval when no two clips share a caption.
    """
    labelled = [row for row in rows if row.labels]
    many = any(len(row.labels) > 1 for row in labelled)
    scored = [row for row in rows if row.split == split]
    folds = {row.split for row in rows}
    folded = not scored and len(folds) > 1 and all(map(is_fold, folds))
    protocols = []
    if labelled:
        if folded or any(row.split == "train" for row in labelled):
            protocols.append(Protocol.LINEAR)
        protocols.append(Protocol.ZERO_SHOT)
        if many:
            protocols.append(Protocol.TAGGING)
    if _captions_tell_clips_apart(scored):
        protocols.append(Protocol.RETRIEVAL)
    return Dataset(
        name=name,
        title=name,
        task=_MANY if many else _ONE if labelled else _FINDS,
        seconds=None,
        protocols=tuple(protocols),
        folds=len(folds) if folded else 0,
    )


def _captions_tell_clips_apart(rows: Sequence[Row]) -> bool:
    of: dict[str, object] = {}
    return bool(rows) and all(of.setdefault(c, r.file) == r.file for r in rows for c in r.captions)
