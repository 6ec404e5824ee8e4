"""The WordPieces that captions need, out of BERT's 30,522."""

import json
from collections.abc import Sequence
from typing import Any

from m2d_clap.model.caption_file import vocabulary_text
from m2d_clap.model.captioner import BEGIN, END, SPECIAL
from m2d_clap.model.tokenizer import Tokenizer

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_SIGNS = ".,;:!?'()-&/%"
_LONGEST = 512


def caption_vocabulary(texts: Sequence[str], definition: str) -> str:
    """A tokenizer.json that cuts `texts` as the one given does, and can spell other words.

    definition: a WordPiece tokenizer.json that holds SPECIAL.
    """
    whole: dict[str, Any] = json.loads(definition)
    known: dict[str, int] = whole["model"]["vocab"]
    ids = Tokenizer(definition, _LONGEST)(texts).ids
    used = set(ids.unique().tolist())
    spelled = {*_LETTERS, *_SIGNS, *(f"##{letter}" for letter in _LETTERS)}
    pieces = [
        piece
        for piece, number in sorted(known.items(), key=lambda item: item[1])
        if piece not in SPECIAL and (number in used or piece in spelled)
    ]
    whole["model"]["vocab"] = {piece: n for n, piece in enumerate((*SPECIAL, *pieces))}
    whole["added_tokens"] = [
        {
            **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False),
            "id": number,
            "content": piece,
            "special": True,
        }
        for number, piece in enumerate(SPECIAL)
    ]
    whole["truncation"] = whole["padding"] = None
    whole["post_processor"] = _between(SPECIAL[BEGIN], SPECIAL[END])
    return vocabulary_text(whole)


def _between(begin: str, end: str) -> dict[str, Any]:
    """Begin, text, end."""

    def special(word: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": word, "type_id": 0}}

    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [special(begin), text, special(end)],
        "pair": [special(begin), text, special(end), {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            word: {"id": word, "ids": [SPECIAL.index(word)], "tokens": [word]}
            for word in (begin, end)
        },
    }
