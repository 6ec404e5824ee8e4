"""Requests to a server as values: what is sent, and what the answer is read as."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from m2d_clap.service import openai, schemas

T = TypeVar("T")

Sound = Path | bytes | BinaryIO
"""A sound file: where it lies, its bytes, or open."""


class Narrow(TypedDict, total=False):
    """What a search may be narrowed by; see the route's description."""

    k: int
    cursor: str | None
    filter: str | None
    min_score: float | None
    min_relevance: float | None
    moments: int


class CaptionOptions(TypedDict, total=False):
    """How captions are chosen; see the route's description."""

    n: int
    decoding: Literal["auto", "beam", "greedy", "nucleus"]
    width: int
    length_penalty: float
    no_repeat: int
    top_p: float
    temperature: float
    seed: int


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. sounds: sent as multipart parts `file`, beside `form`. answer: what its JSON is
    read as; bytes: the body itself. name: of the sounds' files."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    answer: type[T]
    query: Mapping[str, str | int | float | list[str]] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, str | list[str]] = field(default_factory=dict)
    sounds: tuple[Sound, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str = "sound"

    def arguments(self, stack: ExitStack) -> dict[str, Any]:
        """For httpx's `request`. The stack closes the files that are opened."""
        given: dict[str, Any] = {"method": self.method, "url": self.path, "params": self.query}
        given["headers"] = self.headers
        if self.sounds:
            given["files"] = [("file", (self.name, _opened(s, stack))) for s in self.sounds]
            given["data"] = self.form
        elif self.body is not None:
            given["json"] = self.body
        return given

    def read(self, content: bytes) -> T:
        """The answer's value."""
        if self.answer is bytes:
            return content  # type: ignore[return-value]
        assert issubclass(self.answer, BaseModel)
        return self.answer.model_validate_json(content)


def search_text(
    query: str, not_: Sequence[str], within: Sequence[str] | str | None, narrow: Narrow
) -> Call[schemas.Hits]:
    body: dict[str, Any] = {"query": query, **_given(narrow)}
    if not_:
        body["not"] = list(not_)
    if within is not None:
        body["within"] = within if isinstance(within, str) else list(within)
    return Call("POST", "/v1/search/text", schemas.Hits, body=body)


def search_audio(sound: Sound, within: str | None, narrow: Narrow) -> Call[schemas.Hits]:
    form = {name: str(value) for name, value in _given(narrow).items()}
    if within is not None:
        form["within"] = within
    return Call("POST", "/v1/search/audio", schemas.Hits, form=form, sounds=(sound,))


def search(
    texts: Mapping[str, float],
    clips: Mapping[str, float],
    sounds: Sequence[tuple[Sound, float]],
    at: Mapping[str, float],
    within: Sequence[str] | str | None,
    narrow: Narrow,
) -> Call[schemas.Hits]:
    if unknown := at.keys() - clips.keys():
        raise ValueError(f"{min(unknown)!r}, of which a moment is meant, is not among clips")
    body: dict[str, Any] = {
        "texts": [{"text": text, "weight": weight} for text, weight in texts.items()],
        "clips": [
            {"id": clip, "weight": weight} | ({"at": at[clip]} if clip in at else {})
            for clip, weight in clips.items()
        ],
        **_given(narrow),
    }
    if within is not None:
        body["within"] = within if isinstance(within, str) else list(within)
    if not sounds:
        return Call("POST", "/v1/search", schemas.Hits, body=body)
    body["file_weights"] = [weight for _, weight in sounds]
    files = tuple(sound for sound, _ in sounds)
    form = {"query": json.dumps(body)}
    return Call("POST", "/v1/search", schemas.Hits, form=form, sounds=files)


def similar(
    clip_id: str, at: float | None, within: str | None, narrow: Narrow
) -> Call[schemas.Hits]:
    query = _given(narrow)
    query |= {} if at is None else {"at": at}
    query |= {} if within is None else {"within": within}
    return Call("GET", f"{_clip(clip_id)}/similar", schemas.Hits, query=query)


def tags(
    sound: Sound, labels: Sequence[str], k: int, timeline: bool, trained: bool
) -> Call[schemas.Tags]:
    flags = {"timeline": str(timeline).lower(), "trained": str(trained).lower()}
    form: dict[str, str | list[str]] = {"k": str(k), **flags}
    if labels:
        form["labels"] = list(labels)
    return Call("POST", "/v1/tags", schemas.Tags, form=form, sounds=(sound,))


def clip_tags(clip_id: str, labels: Sequence[str], k: int, timeline: bool) -> Call[schemas.Tags]:
    query: dict[str, str | int | float | list[str]] = {"labels": list(labels), "k": k}
    query["timeline"] = str(timeline).lower()
    return Call("GET", f"{_clip(clip_id)}/tags", schemas.Tags, query=query)


def captions(sound: Sound, timeline: bool, options: CaptionOptions) -> Call[schemas.Captions]:
    form: dict[str, str | list[str]] = {name: str(value) for name, value in options.items()}
    form["timeline"] = str(timeline).lower()
    return Call("POST", "/v1/captions", schemas.Captions, form=form, sounds=(sound,))


def embeddings(
    inputs: Sequence[str], modality: Literal["text", "audio"]
) -> Call[openai.Embeddings]:
    body = {"input": list(inputs), "modality": modality}
    return Call("POST", openai.PATH, openai.Embeddings, body=body)


def clips(k: int, cursor: str | None, filter: str | None) -> Call[schemas.Clips]:
    query = _given(Narrow(k=k, cursor=cursor, filter=filter))
    return Call("GET", "/v1/clips", schemas.Clips, query=query)


def clip(clip_id: str) -> Call[schemas.Clip]:
    return Call("GET", _clip(clip_id), schemas.Clip)


def add(sound: Sound, name: str | None, metadata: Mapping[str, Any] | None) -> Call[schemas.Clip]:
    form = {} if metadata is None else {"metadata": json.dumps(dict(metadata))}
    given = name or (sound.name if isinstance(sound, Path) else "sound")
    return Call("POST", "/v1/clips", schemas.Clip, form=form, sounds=(sound,), name=given)


def delete(clip_id: str) -> Call[bytes]:
    return Call("DELETE", _clip(clip_id), bytes)


def audio(clip_id: str, first: int, last: int | None) -> Call[bytes]:
    whole = first == 0 and last is None
    headers = {} if whole else {"Range": f"bytes={first}-{'' if last is None else last}"}
    return Call("GET", f"{_clip(clip_id)}/audio", bytes, headers=headers)


def spectrogram(clip_id: str, width: int, height: int, theme: str) -> Call[bytes]:
    query: dict[str, str | int | float] = {"width": width, "height": height, "theme": theme}
    return Call("GET", f"{_clip(clip_id)}/spectrogram.png", bytes, query=query)


def waveform(clip_id: str, points: int) -> Call[schemas.Waveform]:
    path = f"{_clip(clip_id)}/waveform.json"
    return Call("GET", path, schemas.Waveform, query={"points": points})


def _clip(clip_id: str) -> str:
    return f"/v1/clips/{quote(clip_id, safe='')}"


def _given(narrow: Narrow) -> dict[str, str | int | float]:
    return {name: value for name, value in narrow.items() if value is not None}  # type: ignore[misc]


def _opened(sound: Sound, stack: ExitStack) -> Any:
    if isinstance(sound, Path):
        return stack.enter_context(sound.open("rb"))
    if not isinstance(sound, bytes):
        sound.seek(0)  # a request that is tried again begins anew
    return sound
