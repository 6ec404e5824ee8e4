"""Texts whose meaning a small text encoder learns from a large one, its teacher.

Captions alone would leave it helpless before a word that no caption held. So it also learns names
of sounds, any texts given, every whole word of its vocabulary, and phrases made of all these.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from torch import Tensor

from m2d_clap.model.config import TextConfig
from m2d_clap.model.errors import ClapError
from m2d_clap.model.labels import audioset
from m2d_clap.training.captions import sentence_embeddings, wordings
from m2d_clap.training.evaluation.queries import paraphrases
from m2d_clap.training.manifest import Row

PHRASES = 40_000
SHARES = {"known": 0.3, "given": 0.1, "words": 0.2, "phrases": 0.4}
"""How often each kind of text is drawn."""

PATTERNS = (
    "a {thing}",
    "the sound of {thing}",
    "{thing} sound",
    "{thing} can be heard",
    "a {thing} in the distance",
    "a {thing} {doing}",
    "{thing} {doing}",
    "{thing} {doing} {place}",
    "a {word} {thing}",
    "{word} {thing}",
    "{doing} {thing}",
    "a {word} {doing}",
    "the {word} of a {thing}",
    "someone {doing} a {word}",
    "a person {doing}",
    "{word} {word}",
    "{doing} {word}",
    "{thing} and {thing}",
    "{thing} with {thing}",
    "{text} {place}",
    "{text} and {text}",
    "{text} while {text}",
    "{text}, {thing}",
)
PLACES = (
    *("in the distance", "nearby", "outdoors", "indoors", "in a room", "in a hall", "at night"),
    *("in the street", "in a forest", "in the rain", "in the wind", "on a wooden floor"),
    *("under water", "in the background", "again and again", "very loudly", "softly"),
)


class LessonError(ClapError):
    """A file of texts that cannot be read."""


@dataclass(frozen=True)
class Lessons:
    """texts: all different. weights: how often each is drawn, on average once. targets: what the
    teacher makes of them, (texts, width)."""

    texts: tuple[str, ...]
    weights: tuple[float, ...]
    targets: Tensor

    @property
    def identity(self) -> str:
        """Equal where texts and weights are."""
        whole = json.dumps([self.texts, self.weights]).encode()
        return hashlib.sha256(whole).hexdigest()


def lessons(
    rows: Sequence[Row],
    files: Sequence[Path],
    words: Iterable[str],
    teacher: TextConfig,
    cache_folder: Path,
    path: Path | None = None,
) -> Lessons:
    """The same for the same arguments, whatever the seed of a run.

    words: of the vocabulary. Left out: the paraphrases that `evaluate --queries` asks for, alone
    or dressed up. Raises LessonError, and TextEncoderError where the teacher is not there.
    """
    parts = gathered(rows, files, words)
    texts: list[str] = []
    weights: list[float] = []
    present = {name: part for name, part in parts.items() if part}
    share = sum(SHARES[name] for name in present)
    total = sum(len(part) for part in present.values())
    for name, part in present.items():
        texts += part
        weights += [SHARES[name] / share * total / len(part)] * len(part)
    targets = sentence_embeddings(texts, teacher, cache_folder, path)
    return Lessons(tuple(texts), tuple(weights), targets)


def gathered(
    rows: Sequence[Row], files: Sequence[Path], words: Iterable[str]
) -> dict[str, list[str]]:
    """Every text once, by its kind, those of SHARES; what came earlier is not repeated later."""
    seen: set[str] = set()
    captions, heard_labels, labels = wordings(rows)
    names = [name for _, name in audioset()]
    heard = [f"{name} can be heard" for name in names]
    known = _new([*captions, *heard_labels, *labels, *names, *heard], seen)
    given = _new([text for file in files for text in read_texts(file)], seen)
    whole = _new(sorted(w for w in words if re.fullmatch("[a-z]{3,}", w)), seen)
    things = [n.strip().lower() for name in names for n in name.split(",")]
    things += labels
    made = phrases(_allowed(things), _allowed(captions), whole)
    return {"known": known, "given": given, "words": whole, "phrases": _new(made, seen)}


def phrases(things: Sequence[str], texts: Sequence[str], words: Sequence[str]) -> list[str]:
    """PHRASES phrases, the same for the same arguments. Half of the things are any words."""
    doing = [word for word in words if word.endswith("ing") and len(word) > 5]
    if not (things and texts and words and doing):
        return []
    rng = np.random.default_rng(0)

    def pick(choices: Sequence[str]) -> str:
        return choices[int(rng.integers(len(choices)))]

    made = []
    for _ in range(PHRASES):
        pattern = pick(PATTERNS)
        while (slot := re.search(r"\{(\w+)\}", pattern)) is not None:
            filler = {
                "thing": things if rng.random() < 0.5 else words,
                "doing": doing,
                "word": words,
                "place": PLACES,
                "text": texts,
            }[slot[1]]
            pattern = pattern[: slot.start()] + pick(filler) + pattern[slot.end() :]
        made.append(pattern)
    return made


def read_texts(file: Path) -> list[str]:
    """Texts of a .txt (one a line), a .csv (its column caption) or a .json, a list of objects with
    `name` and `description` (AudioSet's ontology), whose descriptions are cut into sentences.

    Raises LessonError.
    """
    try:
        if file.suffix == ".csv":
            with file.open(newline="", encoding="utf-8-sig") as opened:
                return [row["caption"].strip() for row in csv.DictReader(opened)]
        whole = file.read_text(encoding="utf-8")
        if file.suffix != ".json":
            return [line.strip() for line in whole.splitlines() if line.strip()]
        found: list[str] = []
        for entry in json.loads(whole):
            found += [entry["name"], f"{entry['name']} can be heard"]
            found += re.split(r"(?<=[.!?])\s+", entry["description"].strip())
        return [text for text in found if text]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LessonError(
            f"cannot read texts from {file} ({type(error).__name__}: {error}). A .txt has one a "
            "line, a .csv a column 'caption', a .json objects with 'name' and 'description'"
        ) from error


def core(text: str) -> str:
    """The text in small letters without articles, punctuation and what dresses a name up."""
    bare = " ".join(re.findall(r"[a-z0-9]+", text.lower()))
    bare = re.sub(r"^(the )?(sounds?|noise) of ", "", bare)
    bare = re.sub(r" (can be heard|sounds?|noise|in the distance)$", "", bare)
    return re.sub(r"\b(a|an|the) ", "", bare)


@cache
def hidden() -> frozenset[str]:
    """Cores of the queries that no encoder may have learned."""
    return frozenset(core(query.text) for query in paraphrases())


def _allowed(texts: Iterable[str]) -> list[str]:
    return [t for t in dict.fromkeys(texts) if core(t) not in hidden()]


def _new(texts: Iterable[str], seen: set[str]) -> list[str]:
    """Those not seen yet, of which it takes note. Hidden ones count as seen in any dress."""
    found = []
    for text in texts:
        if text and text not in seen and core(text) not in hidden():
            seen.add(text)
            found.append(text)
    return found
