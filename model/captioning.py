"""Sounds of any length → captions, and what is heard when."""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from m2d_clap.model.audio import Waveform
from m2d_clap.model.captioner import SPECIAL, CaptionDecoder, CaptionerConfig
from m2d_clap.model.captions import USUAL, Caption, Captioned, Decoding, Moment
from m2d_clap.model.clap import Clap
from m2d_clap.model.decoding import Sentence, sentences
from m2d_clap.model.errors import CheckpointError, TextEncoderError
from m2d_clap.model.stretches import piece, stretches
from m2d_clap.model.tokenizer import Tokenizer

STRETCH_SECONDS = 10.0
"""A longer sound is captioned stretch by stretch."""
TOGETHER = 16
"""Stretches encoded and captioned together."""


class Captioner(nn.Module):
    """A decoder and its words.

    tokenizer: the text of the vocabulary's tokenizer.json. Raises CheckpointError where decoder
    and vocabulary do not fit.
    """

    def __init__(self, config: CaptionerConfig, tokenizer: str) -> None:
        super().__init__()
        self.decoder = CaptionDecoder(config)
        try:
            # A begin in front, which a caption of max_tokens with its end does not count.
            self.tokenizer = Tokenizer(tokenizer, config.max_tokens + 1)
        except TextEncoderError as error:
            raise CheckpointError(f"the captioner's vocabulary is damaged: {error}") from error
        words = self.tokenizer.words
        if len(words) != config.vocabulary or any(
            words.get(word) != number for number, word in enumerate(SPECIAL)
        ):
            raise CheckpointError(
                f"the captioner's vocabulary of {len(words)} words does not fit its decoder"
            )
        self._words = {number: word for word, number in words.items()}

    def text(self, ids: Iterable[int]) -> str:
        """WordPieces → a sentence."""
        joined = " ".join(self._words[number] for number in ids).replace(" ##", "")
        joined = re.sub(r"(\w) (['’\-]) (?=\w)", r"\1\2", joined)
        return re.sub(r" ([.,;:!?%)])", r"\1", joined)

    def captions(
        self, clap: Tensor, patches: Sequence[Tensor], how: Decoding = USUAL
    ) -> list[list[Caption]]:
        """Of each clip, best first, all different. clap: (clips, dim); patches: of each clip
        (tokens, audio width)."""
        device = self.decoder.bias.device
        with torch.inference_mode():
            heard = [
                spread(tokens, self.decoder.config.patches).to(device, self.decoder.bias.dtype)
                for tokens in patches
            ]
            memory = self.decoder.memory(clap.to(device, self.decoder.bias.dtype), heard)
            found = sentences(self.decoder, memory, how)
        return [self._distinct(of_clip) for of_clip in found]

    def listen(
        self, clap: Clap, sounds: Sequence[Waveform], how: Decoding = USUAL
    ) -> list[Captioned]:
        """Sounds of any lengths, at the model's rate."""
        cut = [stretches(sound.seconds, STRETCH_SECONDS) for sound in sounds]
        pieces = [
            piece(sound, start, end)
            for sound, spans in zip(sounds, cut, strict=True)
            for start, end in spans
        ]
        said: list[list[Caption]] = []
        for start in range(0, len(pieces), TOGETHER):
            grids = clap.grids([clap.log_mel(p) for p in pieces[start : start + TOGETHER]])
            patches = [grid.flat().float() for grid in grids]
            said += self.captions(clap.project(grids), patches, how)
        at = 0
        captioned = []
        for spans in cut:
            captioned.append(merged(spans, said[at : at + len(spans)], how.n))
            at += len(spans)
        return captioned

    def _distinct(self, found: Sequence[Sentence]) -> list[Caption]:
        texts: dict[str, float] = {}
        for sentence in found:
            texts.setdefault(self.text(sentence.ids), sentence.confidence)
        return [Caption(text, confidence) for text, confidence in texts.items()]


def spread(tokens: Tensor, most: int) -> Tensor:
    """Of (tokens, width) at most so many, evenly; all for 0. A captioner hears no more of a clip
    than it learned from: it says as much of it, in less time."""
    if not most or len(tokens) <= most:
        return tokens
    return tokens[torch.linspace(0, len(tokens) - 1, most).round().long()]


def merged(
    spans: Sequence[tuple[float, float]], said: Sequence[Sequence[Caption]], n: int
) -> Captioned:
    """One sound's stretches and the captions of each, at most n of them → its captions.

    Neighbours of one caption become one moment, as confident as its parts are on average. Of
    several stretches the caption that stands over most seconds is the sound's, the earlier of
    equals; the others are its alternatives.
    """
    timeline: list[Moment] = []
    for (start, end), captions in zip(spans, said, strict=True):
        caption = captions[0]
        last = timeline[-1] if timeline else None
        if last is None or last.caption.text != caption.text:
            timeline.append(Moment(start, end, caption))
            continue
        share = (end - start) / max(end - last.start, 1e-9)
        confidence = (1 - share) * last.caption.confidence + share * caption.confidence
        timeline[-1] = Moment(last.start, end, Caption(caption.text, confidence))
    if len(spans) == 1:
        return Captioned(said[0][0], tuple(said[0][1:n]), tuple(timeline))
    seconds: dict[str, float] = {}
    surest: dict[str, Caption] = {}
    for moment in timeline:
        text = moment.caption.text
        seconds[text] = seconds.get(text, 0.0) + moment.end - moment.start
        known = surest.setdefault(text, moment.caption)
        surest[text] = max(known, moment.caption, key=lambda caption: caption.confidence)
    ordered = sorted(seconds, key=lambda text: -seconds[text])
    return Captioned(
        surest[ordered[0]], tuple(surest[text] for text in ordered[1:n]), tuple(timeline)
    )
