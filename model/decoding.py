"""Memory → sentences: greedy, beam and nucleus decoding, many clips at once.

A clip's sentences are the same alone and in any company, with kept keys and values or without.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from m2d_clap.model.captioner import BEGIN, END, NEVER_SAID, CaptionDecoder, Memory
from m2d_clap.model.captions import Decoding


@dataclass(frozen=True)
class Sentence:
    """ids: WordPieces without begin and end. log_probability: of all of it, its end included;
    score: what sentences are ordered by, higher is better."""

    ids: tuple[int, ...]
    log_probability: float
    score: float

    @property
    def confidence(self) -> float:
        """The geometric mean of its words' probabilities, 0 … 1."""
        return float(torch.tensor(self.log_probability / (len(self.ids) + 1)).exp())


@torch.inference_mode()
def sentences(
    decoder: CaptionDecoder, memory: Memory, how: Decoding, cached: bool = True
) -> list[list[Sentence]]:
    """Of each clip, best first. cached: False reads every sentence anew at every word."""
    how.validate()
    if how.beams:
        return _beams(decoder, memory, how, cached)
    return _one_by_one(decoder, memory, how, cached)


class _Walk:
    """Sentences that grow word by word, equally many of each clip."""

    def __init__(
        self, decoder: CaptionDecoder, memory: Memory, each: int, no_repeat: int, cached: bool
    ) -> None:
        device = memory.slots.device
        self.ids = torch.full((len(memory.slots) * each, 1), BEGIN, device=device)
        self._decoder, self._memory, self._no_repeat = decoder, memory, no_repeat
        self._state = decoder.begun(memory) if cached else None

    def next(self) -> Tensor:
        """Logits (sentences, vocabulary) of the next word; −inf where it must not be.

        At the last place only the end may stand.
        """
        if self._state is None:
            logits = self._decoder.logits(self.ids, self._memory)[:, -1]
        else:
            logits, self._state = self._decoder.step(self.ids[:, -1], self._state)
        if self.ids.shape[1] == self._decoder.config.max_tokens:
            only = torch.full_like(logits, -torch.inf)
            only[:, END] = logits[:, END]
            return only
        logits[:, list(NEVER_SAID)] = -torch.inf
        if self._no_repeat:
            logits.masked_fill_(repeating(self.ids, self._no_repeat, logits.shape[1]), -torch.inf)
        return logits

    def take(self, words: Tensor, rows: Tensor | None = None) -> None:
        """Adds a word (sentences,) to each; to those of `rows` instead where given."""
        if rows is not None:
            self.ids = self.ids[rows]
            if self._state is not None:
                self._state = self._state.chosen(rows)
        self.ids = torch.cat([self.ids, words[:, None]], dim=1)

    @property
    def full(self) -> bool:
        """Whether every sentence has all the words it may have, end included."""
        return self.ids.shape[1] > self._decoder.config.max_tokens


def repeating(ids: Tensor, run: int, vocabulary: int) -> Tensor:
    """(sentences, vocabulary) bool: words that would make a run of `run` words stand twice.

    ids: (sentences, length), the first of which is the begin and no word.
    """
    found = torch.zeros(len(ids), vocabulary, dtype=torch.bool, device=ids.device)
    said = ids[:, 1:]
    if said.shape[1] < run:
        return found
    runs = said.unfold(1, run, 1)
    last = said[:, said.shape[1] - run + 1 :]
    same = (runs[..., :-1] == last[:, None, :]).all(dim=-1)
    row, place = same.nonzero(as_tuple=True)
    found[row, runs[row, place, -1]] = True
    return found


def _one_by_one(
    decoder: CaptionDecoder, memory: Memory, how: Decoding, cached: bool
) -> list[list[Sentence]]:
    """Greedy and nucleus: no sentence knows of another."""
    clips = len(memory.slots)
    each = how.n if how.kind == "nucleus" else 1
    walk = _Walk(decoder, memory, each, how.no_repeat, cached)
    # A generator each: what a clip draws does not depend on its company.
    luck = [torch.Generator().manual_seed(how.seed) for _ in range(clips)]
    total = torch.zeros(clips * each, dtype=torch.float64)
    ended = torch.zeros(clips * each, dtype=torch.bool)
    while not walk.full and not bool(ended.all()):
        logits = walk.next()
        if how.kind == "nucleus":
            draws = torch.cat([torch.rand(each, generator=g) for g in luck]).to(logits)
            words = nucleus(logits / how.temperature, how.top_p, draws)
        else:
            words = logits.argmax(dim=-1)
        of_words = logits.log_softmax(dim=-1).gather(1, words[:, None])[:, 0]
        total += torch.where(ended, 0.0, of_words.double().cpu())
        walk.take(words)
        ended |= (words == END).cpu()
    found = [_sentence(ids, float(logp), how) for ids, logp in zip(walk.ids, total, strict=True)]
    return [_ordered(found[start : start + each]) for start in range(0, len(found), each)]


def nucleus(logits: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """Of the fewest likeliest words that hold `top_p`, the one that draws (rows,), 0 … 1, hits."""
    shares, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    before = shares.cumsum(dim=-1) - shares
    kept = torch.where(before < top_p, shares, 0.0).cumsum(dim=-1)
    hit = (kept <= (draws * kept[:, -1])[:, None]).sum(dim=-1)
    last = (before < top_p).sum(dim=-1) - 1
    return order.gather(1, torch.minimum(hit, last)[:, None])[:, 0]


def _beams(
    decoder: CaptionDecoder, memory: Memory, how: Decoding, cached: bool
) -> list[list[Sentence]]:
    """The likeliest `width` beginnings go on until as many sentences have ended, and none of those
    that go on, as they are, scores more than the least of them: poor short ones end first.

    An end counts when it is among the best `width` of all next words, so that one beam is greedy.
    """
    clips, width = len(memory.slots), how.width
    walk = _Walk(decoder, memory, width, how.no_repeat, cached)
    live = torch.full((clips, width), -torch.inf, device=memory.slots.device)
    live[:, 0] = 0.0  # all begin alike: at first only one of them counts
    ended: list[list[Sentence]] = [[] for _ in range(clips)]
    done = [False] * clips
    while not walk.full and not all(done):
        log_p = walk.next().log_softmax(dim=-1)
        vocabulary = log_p.shape[-1]
        sums = (live.flatten()[:, None] + log_p).view(clips, width * vocabulary)
        best, places = sums.topk(min(2 * width, sums.shape[1]), dim=1)
        rows, words, scores = [], [], []
        for clip in range(clips):
            found = zip(best[clip].tolist(), places[clip].tolist(), strict=True)
            going: list[tuple[int, int, float]] = []
            for rank, (score, place) in enumerate(found):
                row, word = clip * width + place // vocabulary, place % vocabulary
                if score == -torch.inf or done[clip]:
                    break
                if word == END:
                    if rank < width:
                        ended[clip].append(_sentence(walk.ids[row], score, how))
                elif len(going) < width:
                    going.append((row, word, score))
            ended[clip] = _ordered(ended[clip])[:width]
            if len(ended[clip]) == width:
                hoped = (
                    going[0][2] / walk.ids.shape[1] ** how.length_penalty if going else -torch.inf
                )
                done[clip] = done[clip] or hoped <= ended[clip][-1].score
            going += [(clip * width, END, -torch.inf)] * (width - len(going))
            rows += [row for row, _, _ in going]
            words += [word for _, word, _ in going]
            scores += [score for _, _, score in going]
        walk.take(torch.tensor(words, device=live.device), torch.tensor(rows, device=live.device))
        live = torch.tensor(scores, device=live.device, dtype=log_p.dtype).view(clips, width)
    return [of_clip[: how.n] for of_clip in ended]


def _sentence(ids: Tensor, log_probability: float, how: Decoding) -> Sentence:
    words = ids[1:].tolist()
    words = words[: words.index(END)] if END in words else words
    score = log_probability / (len(words) + 1) ** how.length_penalty
    return Sentence(tuple(words), log_probability, score)


def _ordered(found: list[Sentence]) -> list[Sentence]:
    return sorted(found, key=lambda sentence: -sentence.score)
