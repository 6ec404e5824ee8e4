"""Captions of a split, beside what costs nothing: the most frequent caption of the training part,
and the caption of the training clip that the same encoder finds nearest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from m2d_clap.model.captions import USUAL, Decoding
from m2d_clap.model.checkpoint import Checkpoint
from m2d_clap.model.errors import ClapError
from m2d_clap.training.captioning.heard import Heard, hear
from m2d_clap.training.captioning.validation import said
from m2d_clap.training.evaluation.more_scores import more_scores
from m2d_clap.training.evaluation.sentences import CaptionScores, caption_scores
from m2d_clap.training.manifest import Row

EXAMPLES = 10


@dataclass(frozen=True)
class CaptionExample:
    """A clip, what the captioner says of it, what its nearest training clip is called, the truth."""

    file: str
    said: str
    nearest: str
    true: tuple[str, ...]


@dataclass(frozen=True)
class CaptionEvaluation:
    """nearest and frequent are the baselines, None without a training part; more: of the captioner,
    by tools that happen to be installed; examples: evenly over the split."""

    captioner: CaptionScores
    nearest: CaptionScores | None
    frequent: CaptionScores | None
    frequent_caption: str
    more: dict[str, float]
    examples: tuple[CaptionExample, ...]


def evaluate_captions(
    checkpoint: Checkpoint,
    rows: Sequence[Row],
    known: Sequence[Row],
    cache: Path,
    device: str = "cpu",
    how: Decoding = USUAL,
) -> CaptionEvaluation:
    """Captions every file of `rows`; known: what the captioner learned from.

    Raises NoCaptionerError, and ClapError when there is no row.
    """
    if not rows:
        raise ClapError("there is nothing to caption: no row of the manifest was chosen")
    captioner = checkpoint.build_captioner(device)
    of_file: dict[Path, list[Row]] = {}
    for row in rows:
        of_file.setdefault(row.file, []).append(row)
    files = [of_clip[0] for of_clip in of_file.values()]
    references = [
        tuple(dict.fromkeys(caption for row in of_clip for caption in row.captions))
        for of_clip in of_file.values()
    ]
    heard = hear(files, checkpoint, cache, device)
    spoken = said(captioner, heard, how)
    nearest, frequent = None, ""
    if known:
        nearest = nearest_captions(heard, known, hear(known, checkpoint, cache, device))
        counted = Counter(caption for row in known for caption in row.captions)
        frequent = counted.most_common(1)[0][0]
    step = max(1, len(files) // EXAMPLES)
    return CaptionEvaluation(
        captioner=caption_scores(spoken, references),
        nearest=None if nearest is None else caption_scores(nearest, references),
        frequent=caption_scores([frequent] * len(files), references) if known else None,
        frequent_caption=frequent,
        more=more_scores(spoken, references),
        examples=tuple(
            CaptionExample(
                files[n].file.name, spoken[n], nearest[n] if nearest else "", references[n]
            )
            for n in range(step // 2, len(files), step)
        )[:EXAMPLES],
    )


def nearest_captions(heard: Heard, known: Sequence[Row], of_known: Heard) -> list[str]:
    """Of every clip, the first caption of the known one whose embedding has the highest cosine."""
    there = F.normalize(of_known.clap, dim=1)
    found: list[str] = []
    for part in F.normalize(heard.clap, dim=1).split(512):
        best: list[int] = torch.argmax(part @ there.T, dim=1).tolist()
        found += [known[number].captions[0] for number in best]
    return found


def caption_lines(part: str, found: CaptionEvaluation, published: Sequence[str]) -> list[str]:
    """What a person reads. published: figures of papers, as lines."""
    lines = [f"captions, {part}: {found.captioner.n} clips"]
    rows = [("captioner", found.captioner)]
    if found.nearest is not None and found.frequent is not None:
        rows.append(("nearest training clip's caption", found.nearest))
        rows.append((f"always “{found.frequent_caption}”", found.frequent))
    for name, scores in rows:
        lines.append(
            f"  CIDEr-D {scores.cider_d:.3f}  BLEU-1 {scores.bleu_1:.3f}  BLEU-4 "
            f"{scores.bleu_4:.3f}  ROUGE-L {scores.rouge_l:.3f}  {name}"
        )
    if found.more:
        lines.append("  " + "  ".join(f"{name} {value:.3f}" for name, value in found.more.items()))
    lines += [f"  {line}" for line in published]
    for example in found.examples:
        lines.append(f"  {example.file}: {example.said} | true: {' / '.join(example.true)}")
    return lines
