"""A client of the web service, for Python: `Client`, and `AsyncClient` with the same methods.

with Client("http://127.0.0.1:8000") as client:
    for hit in client.search_text("a dog barking", k=3).hits:
        print(hit.score, hit.path)
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, Unpack

import httpx

from m2d_clap.service import calls, openai, schemas
from m2d_clap.service.answers import ClientError, RefusedError, pause, read, unreachable
from m2d_clap.service.calls import Call, CaptionOptions, Narrow, Sound
from m2d_clap.service.schemas import Theme

__all__ = ["AsyncClient", "Client", "ClientError", "RefusedError"]

T = TypeVar("T")
_NOTHING: Mapping[str, float] = {}


H = TypeVar("H", httpx.Client, httpx.AsyncClient)


class _Connected(Generic[H]):
    """key: sent as `Authorization: Bearer`; tries: how often a request is made while the server is
    busy or starting (503), with growing pauses or those that it asks for; timeout: seconds.
    transport: for tests.
    """

    _kind: Callable[..., H]

    def __init__(
        self,
        server: str,
        key: str | None = None,
        *,
        tries: int = 6,
        timeout: float = 120.0,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._tries = tries
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            self._http: H = self._kind(
                base_url=server, headers=headers, timeout=timeout, transport=transport
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise ClientError(f"{server!r} is no address, or the key is none: {error}") from error


class Client(_Connected[httpx.Client]):
    """Methods wait for the answer. Raises RefusedError and ClientError."""

    _kind = httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def search_text(
        self,
        query: str,
        not_: Sequence[str] = (),
        within: Sequence[str] | str | None = None,
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """within: ids of clips, or one folder."""
        return self._ask(calls.search_text(query, not_, within, narrow))

    def search_audio(
        self, sound: Sound, within: str | None = None, **narrow: Unpack[Narrow]
    ) -> schemas.Hits:
        """within: one folder."""
        return self._ask(calls.search_audio(sound, within, narrow))

    def search(
        self,
        texts: Mapping[str, float] = _NOTHING,
        clips: Mapping[str, float] = _NOTHING,
        sounds: Sequence[tuple[Sound, float]] = (),
        within: Sequence[str] | str | None = None,
        at: Mapping[str, float] = _NOTHING,
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """Everything with its weight; clips by their ids. at: the second of those clips of which one
        moment is meant."""
        return self._ask(calls.search(texts, clips, sounds, at, within, narrow))

    def similar(
        self,
        clip_id: str,
        at: float | None = None,
        within: str | None = None,
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """at: a second of it; then its moment there is meant, not all of it. within: one folder."""
        return self._ask(calls.similar(clip_id, at, within, narrow))

    def tags(
        self,
        sound: Sound,
        labels: Sequence[str] = (),
        k: int = 10,
        timeline: bool = False,
        trained: bool = False,
    ) -> schemas.Tags:
        return self._ask(calls.tags(sound, labels, k, timeline, trained))

    def clip_tags(
        self, clip_id: str, labels: Sequence[str] = (), k: int = 10, timeline: bool = False
    ) -> schemas.Tags:
        """Of a sound of the library, however long."""
        return self._ask(calls.clip_tags(clip_id, labels, k, timeline))

    def captions(
        self, sound: Sound, timeline: bool = False, **options: Unpack[CaptionOptions]
    ) -> schemas.Captions:
        return self._ask(calls.captions(sound, timeline, options))

    def embeddings(
        self, inputs: Sequence[str], modality: Literal["text", "audio"] = "text"
    ) -> openai.Embeddings:
        """inputs: texts, or sounds as data URIs."""
        return self._ask(calls.embeddings(inputs, modality))

    def clips(
        self, k: int = 100, cursor: str | None = None, filter: str | None = None
    ) -> schemas.Clips:
        return self._ask(calls.clips(k, cursor, filter))

    def clip(self, clip_id: str) -> schemas.Clip:
        return self._ask(calls.clip(clip_id))

    def add(
        self, sound: Sound, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Clip:
        """The clip that this sound is now, or was already. name: the file's own where it is None."""
        return self._ask(calls.add(sound, name, metadata))

    def delete(self, clip_id: str) -> None:
        self._ask(calls.delete(clip_id))

    def audio(self, clip_id: str, first: int = 0, last: int | None = None) -> bytes:
        """The clip's file; or its bytes from `first` to `last`, both included."""
        return self._ask(calls.audio(clip_id, first, last))

    def spectrogram(
        self, clip_id: str, width: int = 800, height: int = 200, theme: Theme = "dark"
    ) -> bytes:
        """A PNG."""
        return self._ask(calls.spectrogram(clip_id, width, height, theme))

    def waveform(self, clip_id: str, points: int = 400) -> schemas.Waveform:
        return self._ask(calls.waveform(clip_id, points))

    def index(self) -> schemas.IndexFacts:
        return self._ask(Call("GET", "/v1/index", schemas.IndexFacts))

    def model(self) -> schemas.ModelFacts:
        return self._ask(Call("GET", "/v1/model", schemas.ModelFacts))

    def labels(self) -> schemas.Labels:
        return self._ask(Call("GET", "/v1/labels", schemas.Labels))

    def map(self) -> schemas.Map:
        return self._ask(Call("GET", "/v1/map", schemas.Map))

    def _ask(self, call: Call[T]) -> T:
        for attempt in range(self._tries):
            with ExitStack() as stack:
                try:
                    response = self._http.request(**call.arguments(stack))
                except httpx.HTTPError as error:
                    raise unreachable(error) from error
            if response.status_code != 503 or attempt + 1 == self._tries:
                return read(call, response)
            time.sleep(pause(response, attempt))
        raise ClientError("tries is 0: nothing was asked")


class AsyncClient(_Connected[httpx.AsyncClient]):
    """The same, awaited."""

    _kind = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def search_text(
        self,
        query: str,
        not_: Sequence[str] = (),
        within: Sequence[str] | str | None = None,
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """within: ids of clips, or one folder."""
        return await self._ask(calls.search_text(query, not_, within, narrow))

    async def search_audio(
        self, sound: Sound, within: str | None = None, **narrow: Unpack[Narrow]
    ) -> schemas.Hits:
        """within: one folder."""
        return await self._ask(calls.search_audio(sound, within, narrow))

    async def search(
        self,
        texts: Mapping[str, float] = _NOTHING,
        clips: Mapping[str, float] = _NOTHING,
        sounds: Sequence[tuple[Sound, float]] = (),
        within: Sequence[str] | str | None = None,
        at: Mapping[str, float] = _NOTHING,
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """Everything with its weight; clips by their ids. at: the second of those clips of which one
        moment is meant."""
        return await self._ask(calls.search(texts, clips, sounds, at, within, narrow))

    async def similar(
        self,
        clip_id: str,
        at: float | None = None,
        within: str | None = None,
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """at: a second of it; then its moment there is meant, not all of it. within: one folder."""
        return await self._ask(calls.similar(clip_id, at, within, narrow))

    async def tags(
        self,
        sound: Sound,
        labels: Sequence[str] = (),
        k: int = 10,
        timeline: bool = False,
        trained: bool = False,
    ) -> schemas.Tags:
        return await self._ask(calls.tags(sound, labels, k, timeline, trained))

    async def clip_tags(
        self, clip_id: str, labels: Sequence[str] = (), k: int = 10, timeline: bool = False
    ) -> schemas.Tags:
        """Of a sound of the library, however long."""
        return await self._ask(calls.clip_tags(clip_id, labels, k, timeline))

    async def captions(
        self, sound: Sound, timeline: bool = False, **options: Unpack[CaptionOptions]
    ) -> schemas.Captions:
        return await self._ask(calls.captions(sound, timeline, options))

    async def embeddings(
        self, inputs: Sequence[str], modality: Literal["text", "audio"] = "text"
    ) -> openai.Embeddings:
        """inputs: texts, or sounds as data URIs."""
        return await self._ask(calls.embeddings(inputs, modality))

    async def clips(
        self, k: int = 100, cursor: str | None = None, filter: str | None = None
    ) -> schemas.Clips:
        return await self._ask(calls.clips(k, cursor, filter))

    async def clip(self, clip_id: str) -> schemas.Clip:
        return await self._ask(calls.clip(clip_id))

    async def add(
        self, sound: Sound, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> schemas.Clip:
        """The clip that this sound is now, or was already. name: the file's own where it is None."""
        return await self._ask(calls.add(sound, name, metadata))

    async def delete(self, clip_id: str) -> None:
        await self._ask(calls.delete(clip_id))

    async def audio(self, clip_id: str, first: int = 0, last: int | None = None) -> bytes:
        """The clip's file; or its bytes from `first` to `last`, both included."""
        return await self._ask(calls.audio(clip_id, first, last))

    async def spectrogram(
        self, clip_id: str, width: int = 800, height: int = 200, theme: Theme = "dark"
    ) -> bytes:
        """A PNG."""
        return await self._ask(calls.spectrogram(clip_id, width, height, theme))

    async def waveform(self, clip_id: str, points: int = 400) -> schemas.Waveform:
        return await self._ask(calls.waveform(clip_id, points))

    async def index(self) -> schemas.IndexFacts:
        return await self._ask(Call("GET", "/v1/index", schemas.IndexFacts))

    async def model(self) -> schemas.ModelFacts:
        return await self._ask(Call("GET", "/v1/model", schemas.ModelFacts))

    async def labels(self) -> schemas.Labels:
        return await self._ask(Call("GET", "/v1/labels", schemas.Labels))

    async def map(self) -> schemas.Map:
        return await self._ask(Call("GET", "/v1/map", schemas.Map))

    async def _ask(self, call: Call[T]) -> T:
        for attempt in range(self._tries):
            with ExitStack() as stack:
                try:
                    response = await self._http.request(**call.arguments(stack))
                except httpx.HTTPError as error:
                    raise unreachable(error) from error
            if response.status_code != 503 or attempt + 1 == self._tries:
                return read(call, response)
            await asyncio.sleep(pause(response, attempt))
        raise ClientError("tries is 0: nothing was asked")
