"""Sentences are the same with kept keys and values or without, alone or in company; what a captioner
is made of survives the way to disk."""

import json
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from m2d_clap.model import Checkpoint, Clap, ClapConfig, Waveform
from m2d_clap.model.caption_file import CaptionerPart
from m2d_clap.model.captioner import BEGIN, END, NEVER_SAID, CaptionDecoder, CaptionerConfig, Memory
from m2d_clap.model.captioning import STRETCH_SECONDS, Captioner, merged, spread
from m2d_clap.model.captions import Caption, Decoding
from m2d_clap.model.config import EncoderConfig, ProjectorConfig, TextConfig
from m2d_clap.model.decoding import Sentence, nucleus, repeating, sentences
from m2d_clap.model.description import CAPTIONER_FILE, describe
from m2d_clap.model.errors import CaptionError, CheckpointError, NoCaptionerError
from m2d_clap.model.stretches import stretches
from m2d_clap.model.text_encoder import find_tokenizer
from m2d_clap.training.captioning.vocabulary import caption_vocabulary

SIZES = CaptionerConfig(
    audio_width=8, clap_dim=6, vocabulary=14, width=16, depth=2, heads=2, max_tokens=9
)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=4)
WAYS = st.builds(
    Decoding,
    kind=st.sampled_from(["beam", "greedy", "nucleus"]),
    n=st.just(2),
    width=st.integers(2, 4),
    length_penalty=st.sampled_from([0.0, 1.0, 2.0]),
    no_repeat=st.integers(0, 3),
    top_p=st.sampled_from([0.5, 0.9, 1.0]),
    temperature=st.sampled_from([0.7, 1.5]),
    seed=st.integers(0, 9),
)
SOME = settings(deadline=None, max_examples=25)


def decoder(seed: int) -> CaptionDecoder:
    """Random weights, in float64, where no two words are as likely as each other by rounding."""
    torch.manual_seed(seed)
    made = CaptionDecoder(SIZES).double().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made


def memory(made: CaptionDecoder, seed: int, lengths: list[int]) -> Memory:
    luck = torch.Generator().manual_seed(seed)
    patches = [torch.randn(n, 8, generator=luck).double() for n in lengths]
    with torch.no_grad():
        return made.memory(torch.randn(len(lengths), 6, generator=luck).double(), patches)


def alone(whole: Memory, clip: int) -> Memory:
    """One clip's memory without its padding."""
    slots = whole.slots[clip, whole.seen[clip]]
    return Memory(slots[None], torch.ones(1, len(slots), dtype=torch.bool))


def ids(found: list[list[Sentence]]) -> list[list[tuple[int, ...]]]:
    return [[sentence.ids for sentence in of_clip] for of_clip in found]


@SOME
@given(st.integers(0, 99), LENGTHS, WAYS)
def test_kept_keys_and_values_change_no_word(seed: int, lengths: list[int], how: Decoding) -> None:
    made = decoder(seed)
    heard = memory(made, seed, lengths)
    kept, anew = sentences(made, heard, how), sentences(made, heard, how, cached=False)
    assert ids(kept) == ids(anew)
    for a, b in zip(chain.from_iterable(kept), chain.from_iterable(anew), strict=True):
        assert a.log_probability == pytest.approx(b.log_probability, abs=1e-9)


@SOME
@given(st.integers(0, 99), LENGTHS, WAYS)
def test_company_changes_no_word(seed: int, lengths: list[int], how: Decoding) -> None:
    made = decoder(seed)
    heard = memory(made, seed, lengths)
    together = sentences(made, heard, how)
    for clip in range(len(lengths)):
        by_itself = sentences(made, alone(heard, clip), how)
        assert ids(by_itself) == ids(together[clip : clip + 1])


@SOME
@given(st.integers(0, 99), LENGTHS, st.integers(0, 3))
def test_one_beam_is_greedy(seed: int, lengths: list[int], no_repeat: int) -> None:
    made = decoder(seed)
    heard = memory(made, seed, lengths)
    beam = sentences(made, heard, Decoding("beam", width=1, no_repeat=no_repeat))
    greedy = sentences(made, heard, Decoding("greedy", no_repeat=no_repeat))
    assert ids(beam) == ids(greedy)


@SOME
@given(st.integers(0, 99), LENGTHS, WAYS)
def test_a_sentence_is_as_likely_as_it_says_and_keeps_the_rules(
    seed: int, lengths: list[int], how: Decoding
) -> None:
    made = decoder(seed)
    heard = memory(made, seed, lengths)
    for clip, found in enumerate(sentences(made, heard, how)):
        assert 1 <= len(found) <= how.n
        assert found == sorted(found, key=lambda s: -s.score)
        for sentence in found:
            said = (BEGIN, *sentence.ids)
            assert not set(sentence.ids) & {*NEVER_SAID, END}
            assert len(sentence.ids) < SIZES.max_tokens
            if how.no_repeat:
                places = range(len(sentence.ids) - how.no_repeat + 1)
                runs = [sentence.ids[p : p + how.no_repeat] for p in places]
                assert len(runs) == len(set(runs))
            elif len(said) < SIZES.max_tokens:  # at the last place the end is the only choice
                logits = made.logits(torch.tensor([said]), alone(heard, clip))[0]
                logits[:, list(NEVER_SAID)] = -torch.inf
                wanted = torch.tensor([*sentence.ids, END])
                likely = logits.log_softmax(-1).gather(1, wanted[:, None]).sum().detach()
                assert sentence.log_probability == pytest.approx(float(likely), abs=1e-6)


def test_poor_short_sentences_do_not_end_the_search_for_a_good_long_one() -> None:
    made = decoder(0)
    one, two, three = 10, 11, 12
    likely = {  # by the words before; every other sequence ends at once
        (BEGIN,): {one: 0.8, two: 0.2},
        (BEGIN, one): {two: 0.99, END: 0.01},
        (BEGIN, one, two): {three: 0.99, END: 0.01},
    }

    def logits(said: Tensor, _: Memory) -> Tensor:
        rows = torch.full((*said.shape, SIZES.vocabulary), -torch.inf)
        for row, words in enumerate(said.tolist()):
            for word, share in likely.get(tuple(words), {END: 1.0}).items():
                rows[row, -1, word] = np.log(share)
        return rows

    made.logits = logits  # type: ignore[method-assign]
    heard = memory(made, 0, [3])
    for width in (1, 2, 3):
        found = sentences(made, heard, Decoding("beam", width=width), cached=False)
        assert ids(found) == [[(one, two, three)]]


def test_more_beams_find_a_likelier_sentence_here() -> None:
    made = decoder(3)
    heard = memory(made, 3, [5, 9, 2])

    def best(width: int) -> list[float]:
        how = Decoding("beam", width=width, length_penalty=0.0, no_repeat=0)
        return [found[0].log_probability for found in sentences(made, heard, how)]

    assert sum(best(8)) > sum(best(1))


def test_a_nucleus_holds_the_fewest_likeliest_words() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4]]).log().expand(5, -1)
    draws = torch.tensor([0.0, 0.3, 0.55, 0.6, 0.999])
    assert nucleus(logits, 0.9, draws).tolist() == [1, 1, 1, 2, 2]
    assert nucleus(logits, 0.45, draws).tolist() == [1] * 5
    assert nucleus(logits, 1.0, draws).tolist() == [1, 1, 2, 2, 0]


def test_words_that_would_repeat_a_run_are_known() -> None:
    said = torch.tensor([[BEGIN, 5, 6, 7, 5, 6], [BEGIN, 5, 6, 7, 8, 9]])
    assert repeating(said, 3, 10).nonzero().tolist() == [[0, 7]]
    assert repeating(said, 1, 10)[1].nonzero().flatten().tolist() == [5, 6, 7, 8, 9]
    assert not repeating(said, 6, 10).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "guess"},
        {"n": 0},
        {"kind": "beam", "n": 5, "width": 4},
        {"width": 99},
        {"top_p": 0.0},
        {"temperature": 0.0},
        {"no_repeat": -1},
    ],
)
def test_a_decoding_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CaptionError):
        Decoding(**wrong).validate()  # type: ignore[arg-type]


TEXTS = [
    "a dog barks",
    "rain falls on a tin roof",
    "a Chestnut-backed chickadee's song",
    "tap, tap",
]


@pytest.fixture(scope="module")
def vocabulary() -> str:
    return caption_vocabulary(TEXTS, find_tokenizer(TextConfig("minilm")).definition)


@pytest.fixture(scope="module")
def speaking(vocabulary: str) -> Checkpoint:
    """A tiny model with a captioner, float16."""
    torch.manual_seed(0)
    clap = Clap(
        ClapConfig(
            encoder=EncoderConfig(frames=64, width=16, depth=1, heads=2),
            projector=ProjectorConfig("mlp", 12, 12),
        )
    ).eval()
    plain = Checkpoint.of(clap, torch.float16)
    words = len(json.loads(vocabulary)["model"]["vocab"])
    config = CaptionerConfig(16, 12, words, width=16, depth=1, heads=2, max_tokens=12)
    captioner = Captioner(config, vocabulary)
    return replace(plain, captioner=CaptionerPart.of(captioner, plain.hearing, torch.float16))


def test_captions_survive_the_way_through_the_vocabulary(speaking: Checkpoint) -> None:
    captioner = speaking.build_captioner()
    tokens = captioner.tokenizer(TEXTS)
    for row, mask, text in zip(tokens.ids, tokens.mask, TEXTS, strict=True):
        said = row[mask.bool()].tolist()
        assert said[0] == BEGIN and said[-1] == END
        assert captioner.text(said[1:-1]) == text.lower()
    assert len(captioner.tokenizer.words) < 150


def noise(seconds: float) -> Waveform:
    samples = np.random.default_rng(0).normal(0, 0.1, int(16000 * seconds))
    return Waveform(samples.astype(np.float32), 16000)


def test_a_captioner_survives_the_way_to_disk_and_changes_no_fingerprint(
    speaking: Checkpoint, tmp_path: Path
) -> None:
    speaking.save(tmp_path / "speaking")
    plain = replace(speaking, captioner=None)
    loaded = Checkpoint.load(tmp_path / "speaking")
    assert loaded.fingerprint == plain.fingerprint
    assert loaded.captioner is not None and speaking.captioner is not None
    assert loaded.captioner.fingerprint == speaking.captioner.fingerprint
    assert describe(tmp_path / "speaking").captioner == speaking.captioner.fingerprint
    clap, sounds = plain.clap(), [noise(0.7), noise(1.5)]
    how = Decoding("beam", n=3)
    before = speaking.build_captioner().listen(clap, sounds, how)
    assert loaded.build_captioner().listen(clap, sounds, how) == before
    plain.save(tmp_path / "plain")
    assert describe(tmp_path / "plain").captioner is None
    with pytest.raises(NoCaptionerError, match="caption-mini"):
        Checkpoint.load(tmp_path / "plain").build_captioner()


@pytest.mark.parametrize("damage", ["fingerprint", "version", "key", "json", "sizes", "weights"])
def test_a_damaged_captioner_is_refused(speaking: Checkpoint, tmp_path: Path, damage: str) -> None:
    speaking.save(tmp_path / "c")
    file = tmp_path / "c" / CAPTIONER_FILE
    described = json.loads(file.read_text())
    if damage == "fingerprint":
        described["fingerprint"] = "0" * 64
    elif damage == "version":
        described["format_version"] = 99
    elif damage == "key":
        described["more"] = 1
    elif damage == "sizes":
        described["captioner"]["heads"] = 3
    elif damage == "weights":
        (tmp_path / "c" / "captioner.safetensors").write_bytes(b"no")
    file.write_text("{" if damage == "json" else json.dumps(described))
    with pytest.raises(CheckpointError, match="captioner"):
        Checkpoint.load(tmp_path / "c")


def test_a_captioner_of_another_encoder_is_refused(speaking: Checkpoint) -> None:
    assert speaking.captioner is not None
    weights = {name: weight + 1 for name, weight in speaking.weights.items()}
    with pytest.raises(CheckpointError, match="another audio encoder"):
        replace(speaking, weights=weights)


def test_a_text_encoder_is_no_part_of_what_a_captioner_hears(speaking: Checkpoint) -> None:
    weights = {**speaking.weights, "logit_scale": torch.tensor(1.0)}
    assert replace(speaking, weights=weights).captioner is speaking.captioner


def test_a_sound_is_captioned_the_same_alone_and_among_others(speaking: Checkpoint) -> None:
    captioner, clap = speaking.build_captioner(), speaking.clap()
    sounds = [noise(0.5), noise(26.0), noise(2.0)]
    together = captioner.listen(clap, sounds, Decoding("beam", n=2))
    for sound, found in zip(sounds, together, strict=True):
        by_itself = captioner.listen(clap, [sound], Decoding("beam", n=2))[0]
        assert by_itself.best.text == found.best.text
        assert [m.caption.text for m in by_itself.timeline] == [
            m.caption.text for m in found.timeline
        ]
    assert together[1].timeline[0].start == 0 and together[1].timeline[-1].end == 26.0


@given(st.floats(0.1, 200))
def test_stretches_follow_one_another_and_none_is_short(seconds: float) -> None:
    cut = stretches(seconds, STRETCH_SECONDS)
    assert cut[0][0] == 0 and cut[-1][1] == seconds
    assert all(a[1] == b[0] for a, b in pairwise(cut))
    assert len(cut) == 1 or all(5 <= end - start < 15 for start, end in cut)


def test_neighbours_of_one_caption_are_one_moment() -> None:
    rain, dog = Caption("rain", 0.5), Caption("a dog", 0.8)
    said = [[dog, rain], [rain], [replace(rain, confidence=0.9)], [dog]]
    found = merged([(0, 10), (10, 20), (20, 30), (30, 36)], said, 5)
    assert [(m.start, m.end, m.caption.text) for m in found.timeline] == [
        (0, 10, "a dog"),
        (10, 30, "rain"),
        (30, 36, "a dog"),
    ]
    assert found.timeline[1].caption.confidence == pytest.approx(0.7)
    assert found.best.text == "rain" and [a.text for a in found.alternatives] == ["a dog"]
    short = merged([(0, 3)], [[dog, rain]], 5)
    assert (short.best, short.alternatives) == (dog, (rain,))


def test_of_a_long_clip_as_many_patches_are_heard_as_the_captioner_learned_from() -> None:
    tokens = torch.arange(10.0)[:, None]
    assert spread(tokens, 4).flatten().tolist() == [0, 3, 6, 9]
    assert spread(tokens, 0) is spread(tokens, 10) is tokens
