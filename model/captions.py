"""What captions are, and how they may be chosen: values, for who asks and who makes them."""

from dataclasses import dataclass
from typing import Literal, get_args

from m2d_clap.model.errors import CaptionError

DecodingKind = Literal["auto", "beam", "greedy", "nucleus"]
MOST = 16


@dataclass(frozen=True)
class Decoding:
    """How sentences are chosen.

    kind: auto is greedy for one sentence, which on valid scored more than beams, and beams for several.
    n: how many at most; greedy knows one. width: beams. length_penalty: a sentence's score is its
    log-probability / words^this. no_repeat: no run of so many WordPieces twice, 0 for any.
    top_p, temperature, seed: of nucleus sampling (Holtzman et al., arXiv 1904.09751).
    """

    kind: DecodingKind = "auto"
    n: int = 1
    width: int = 4
    length_penalty: float = 1.0
    no_repeat: int = 3
    top_p: float = 0.9
    temperature: float = 1.0
    seed: int = 0

    @property
    def beams(self) -> bool:
        return self.kind == "beam" or (self.kind == "auto" and self.n > 1)

    def validate(self) -> "Decoding":
        """Returns itself, or raises CaptionError naming what cannot be."""
        rules = {
            f"the decoding is one of {', '.join(get_args(DecodingKind))}": self.kind
            in get_args(DecodingKind),
            f"n is 1 … {MOST}": 1 <= self.n <= MOST,
            f"the width is 1 … {MOST}": 1 <= self.width <= MOST,
            "beams give no more sentences than their width": not self.beams or self.n <= self.width,
            "the length penalty is −5 … 5": -5 <= self.length_penalty <= 5,
            "no-repeat is 0 … 10": 0 <= self.no_repeat <= 10,
            "top-p is above 0 and at most 1": 0 < self.top_p <= 1,
            "the temperature is 0.01 … 10": 0.01 <= self.temperature <= 10,
        }
        for rule, holds in rules.items():
            if not holds:
                raise CaptionError(f"no caption can be made so: {rule}")
        return self


USUAL = Decoding()


@dataclass(frozen=True)
class Caption:
    """confidence: the geometric mean of its words' probabilities, 0 … 1."""

    text: str
    confidence: float


@dataclass(frozen=True)
class Moment:
    """A stretch of a sound, in seconds, and its caption."""

    start: float
    end: float
    caption: Caption


@dataclass(frozen=True)
class Captioned:
    """best: of the whole sound; of a long one, what most of it is called. alternatives: other
    captions, better ones first. timeline: without gaps, neighbours differ."""

    best: Caption
    alternatives: tuple[Caption, ...]
    timeline: tuple[Moment, ...]
