"""Captions against references: BLEU, ROUGE-L and CIDEr-D, as captioning papers print them.

The same numbers as pycocoevalcap's on the same words (`tests/golden/captions.json`), without its
Java. Words: small letters and digits; hyphens part them, other signs vanish. Where papers cut words
with Stanford's tokenizer, theirs differ in rare cases ("don't" is one word here).
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_RUN = 4
Words = tuple[str, ...]
Runs = Counter[Words]


@dataclass(frozen=True)
class CaptionScores:
    """Over n clips. bleu_k: 0 … 1, of the whole corpus; rouge_l: 0 … 1, a mean; cider_d: 0 … 10, a
    mean (a paper's "72.4" is 0.724 here)."""

    n: int
    bleu_1: float
    bleu_4: float
    rouge_l: float
    cider_d: float


def words(caption: str) -> Words:
    """A caption's words."""
    kept = re.sub(r"['’]", "", caption.lower())
    return tuple(re.findall(r"[^\W_]+", kept))


def caption_scores(said: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """One caption a clip against all of the clip's references (at least one)."""
    spoken = [words(caption) for caption in said]
    true = [[words(caption) for caption in of_clip] for of_clip in references]
    found = bleu(spoken, true)
    return CaptionScores(
        n=len(spoken),
        bleu_1=found[0],
        bleu_4=found[3],
        rouge_l=_mean([rouge_l(one, of) for one, of in zip(spoken, true, strict=True)]),
        cider_d=_mean(cider_d(spoken, true)),
    )


def bleu(said: Sequence[Words], references: Sequence[Sequence[Words]]) -> list[float]:
    """BLEU of runs up to 1, 2, 3 and 4 words, of the corpus (Papineni et al., 2002).

    A clip's reference length is that of the reference nearest in length, the shorter of two.
    """
    right, possible = [0] * LONGEST_RUN, [0] * LONGEST_RUN
    length = reference_length = 0
    for spoken, true in zip(said, references, strict=True):
        length += len(spoken)
        reference_length += min((abs(len(t) - len(spoken)), len(t)) for t in true)[1]
        for k in range(1, LONGEST_RUN + 1):
            most: Runs = Counter()
            for one in true:
                most |= runs(one, k)
            right[k - 1] += (runs(spoken, k) & most).total()
            possible[k - 1] += max(0, len(spoken) - k + 1)
    found, product = [], 1.0
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    short = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    for k in range(LONGEST_RUN):
        product *= (right[k] + 1e-15) / (possible[k] + 1e-9)
        found.append(product ** (1 / (k + 1)) * short)
    return found


def rouge_l(said: Words, references: Sequence[Words], beta: float = 1.2) -> float:
    """F-measure of the longest common subsequence (Lin, 2004), its best precision and recall."""
    common = [_common(said, true) for true in references]
    precision = max(c / max(1, len(said)) for c in common)
    recall = max(c / max(1, len(t)) for c, t in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def cider_d(
    said: Sequence[Words], references: Sequence[Sequence[Words]], sigma: float = 6.0
) -> list[float]:
    """CIDEr-D of every clip (Vedantam et al., 2015), 0 … 10.

    Runs of 1 … 4 words weigh more the fewer clips have them among their references.
    """
    clips_with: Runs = Counter()
    for true in references:
        clips_with.update({run for one in true for k in _LENGTHS for run in runs(one, k)})
    clips = math.log(max(1, len(references)))

    def weighed(one: Words, k: int) -> dict[Words, float]:
        counted = runs(one, k)
        return {run: n * (clips - math.log(max(1, clips_with[run]))) for run, n in counted.items()}

    found = []
    for spoken, true in zip(said, references, strict=True):
        score = 0.0
        for k in _LENGTHS:
            own = weighed(spoken, k)
            for one in true:
                other = weighed(one, k)
                # Lengths are told by the number of word pairs, as the first implementation did.
                longer = max(0, len(spoken) - 1) - max(0, len(one) - 1)
                shared = sum(min(w, other[r]) * other[r] for r, w in own.items() if r in other)
                norm = _norm(own) * _norm(other)
                cosine = shared / norm if norm else shared
                score += cosine * math.exp(-(longer**2) / (2 * sigma**2))
        found.append(10 * score / (LONGEST_RUN * len(true)))
    return found


def runs(one: Words, k: int) -> Runs:
    """How often every run of k words stands there."""
    return Counter(one[start : start + k] for start in range(len(one) - k + 1))


_LENGTHS = range(1, LONGEST_RUN + 1)


def _norm(weighed: dict[Words, float]) -> float:
    return math.sqrt(sum(weight**2 for weight in weighed.values()))


def _common(a: Words, b: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for one in a:
        before = 0
        for place, other in enumerate(b, 1):
            before, row[place] = (
                row[place],
                before + 1 if one == other else max(row[place], row[place - 1]),
            )
    return row[-1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
