"""How good a captioner is: its captions of clips, against theirs."""

from collections.abc import Callable, Sequence

from m2d_clap.model.captioning import Captioner
from m2d_clap.model.captions import Decoding
from m2d_clap.training.captioning.lessons import Clips
from m2d_clap.training.evaluation.sentences import caption_scores
from m2d_clap.training.manifest import Row
from m2d_clap.training.validation import Score

TOGETHER = 32


def said(captioner: Captioner, heard: Clips, how: Decoding) -> list[str]:
    """The best caption of every clip."""
    found: list[str] = []
    for start in range(0, len(heard), TOGETHER):
        numbers = range(start, min(start + TOGETHER, len(heard)))
        patches = [heard.patches(number) for number in numbers]
        captions = captioner.captions(heard.clap[numbers.start : numbers.stop], patches, how)
        found += [of_clip[0].text for of_clip in captions]
    return found


def by_captions(rows: Sequence[Row], heard: Clips, how: Decoding) -> Callable[[Captioner], Score]:
    """CIDEr-D over the rows, which are what was heard; BLEU and ROUGE-L beside."""
    references = [row.captions for row in rows]

    def score(captioner: Captioner) -> Score:
        found = caption_scores(said(captioner, heard, how), references)
        measured = {"cider_d": found.cider_d, "bleu_4": found.bleu_4, "rouge_l": found.rouge_l}
        return Score("CIDEr-D", found.cider_d, measured)

    return score
