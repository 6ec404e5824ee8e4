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

from m2d_clap.model.errors import ClapError
from m2d_clap.service import calls, openai, schemas
from m2d_clap.service.calls import Call, CaptionOptions, Narrow, Sound
from m2d_clap.service.schemas import Theme

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
_NOTHING: Mapping[str, float] = {}


class ClientError(ClapError):
    """The server could not be reached, or answered something else than this API."""


class RefusedError(ClientError):
    """The server said no. type: as "/problems/unknown-clip"; status: of HTTP; detail: its words."""

    def __init__(self, type_: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.type = type_
        self.status = status
        self.detail = detail


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
        self._http: H = self._kind(
            base_url=server, headers=headers, timeout=timeout, transport=transport
        )


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
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """Everything with its weight; clips by their ids."""
        return self._ask(calls.search(texts, clips, sounds, within, narrow))

    def similar(self, clip_id: str, **narrow: Unpack[Narrow]) -> schemas.Hits:
        return self._ask(calls.similar(clip_id, narrow))

    def tags(
        self,
        sound: Sound,
        labels: Sequence[str] = (),
        k: int = 10,
        timeline: bool = False,
        trained: bool = False,
    ) -> schemas.Tags:
        return self._ask(calls.tags(sound, labels, k, timeline, trained))

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
                    raise _unreachable(error) from error
            if response.status_code != 503 or attempt + 1 == self._tries:
                return _read(call, response)
            time.sleep(_pause(response, attempt))
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
        **narrow: Unpack[Narrow],
    ) -> schemas.Hits:
        """Everything with its weight; clips by their ids."""
        return await self._ask(calls.search(texts, clips, sounds, within, narrow))

    async def similar(self, clip_id: str, **narrow: Unpack[Narrow]) -> schemas.Hits:
        return await self._ask(calls.similar(clip_id, narrow))

    async def tags(
        self,
        sound: Sound,
        labels: Sequence[str] = (),
        k: int = 10,
        timeline: bool = False,
        trained: bool = False,
    ) -> schemas.Tags:
        return await self._ask(calls.tags(sound, labels, k, timeline, trained))

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
                    raise _unreachable(error) from error
            if response.status_code != 503 or attempt + 1 == self._tries:
                return _read(call, response)
            await asyncio.sleep(_pause(response, attempt))
        raise ClientError("tries is 0: nothing was asked")


def _pause(response: httpx.Response, attempt: int) -> float:
    """Seconds: what the server asks for, or ever more."""
    asked = response.headers.get("retry-after", "")
    own = _FIRST_PAUSE * 2.0**attempt
    return min(max(float(asked) if asked.isdecimal() else 0.0, own), _LONGEST_PAUSE)


def _read(call: Call[T], response: httpx.Response) -> T:
    if not response.is_success:
        raise _refused(response)
    try:
        return call.read(response.content)
    except ValueError as error:
        raise ClientError(f"{response.url} answered something else: is it m2d-clap?") from error


def _refused(response: httpx.Response) -> ClientError:
    status = response.status_code
    try:
        body = response.json()
        if call_error := body.get("error"):
            name = str(call_error["code"]).replace("_", "-")
            return RefusedError(f"/problems/{name}", status, str(call_error["message"]))
        return RefusedError(str(body["type"]), status, str(body["detail"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        place = response.headers.get("location")
        if place is not None:  # not followed: a key would go where it was not meant to
            return ClientError(f"{response.url} sends elsewhere ({status}), to {place}: ask there")
        return ClientError(f"{response.url} answered {status}: is it m2d-clap?")


def _unreachable(error: httpx.HTTPError) -> ClientError:
    where = error.request.url
    return ClientError(f"{where} does not answer ({error or type(error).__name__}): is it running?")
