"""What finds no place is told at once, and texts asked for lately need none."""

import asyncio
from typing import Any

import numpy as np
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope

from m2d_clap.service.admission import Admission
from m2d_clap.service.errors import BusyError
from m2d_clap.service.jobs import Vectors
from m2d_clap.service.known_texts import KnownTexts
from m2d_clap.service.places import Places


def asked(app: Any, method: str, kind: str) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of an answer to a request whose body never comes."""
    scope: Scope = {"type": "http", "method": method, "path": "/v1/tags", "query_string": b""}
    scope["headers"] = [(b"content-type", kind.encode())]
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was asked for")

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_an_upload_too_many_is_refused_before_its_body_is_read_and_nothing_else_is() -> None:
    places = Places(2)

    def check(path: str, kind: str) -> None:
        if path == "/v1/tags" and kind.startswith("multipart/"):
            places.check()

    app = Admission(PlainTextResponse("done"), check)
    with places.one():
        assert asked(app, "POST", "multipart/form-data; boundary=x")[0] == 200
        with places.one():
            status, headers = asked(app, "POST", "multipart/form-data; boundary=x")
            assert status == 503 and headers[b"retry-after"] == b"1"
            assert asked(app, "POST", "application/json")[0] == 200
            assert asked(app, "GET", "multipart/form-data; boundary=x")[0] == 200
            with pytest.raises(BusyError), places.one():
                pass
    assert places.taken == 0
    assert asked(app, "POST", "multipart/form-data; boundary=x")[0] == 200


def test_known_texts_are_not_embedded_again_until_they_are_forgotten() -> None:
    turns: list[tuple[tuple[str, ...], bool]] = []

    async def embed(texts: tuple[str, ...], taken_in: bool) -> Vectors:
        turns.append((texts, taken_in))
        return np.array([[float(text), 1.0] for text in texts], np.float32)

    async def run() -> None:
        known = KnownTexts(embed, together=2, most=3)
        first = await known.vectors(["1", "2", "1", "3"])
        assert first[:, 0].tolist() == [1, 2, 1, 3]
        assert turns == [(("1", "2"), False), (("3",), True)]
        assert (await known.vectors(["3", "1"]))[:, 0].tolist() == [3, 1]
        assert len(turns) == 2
        await known.vectors(["4"])  # "2" was used longest ago
        assert (await known.vectors(["1", "2"]))[:, 0].tolist() == [1, 2]
        assert turns[2:] == [(("4",), False), (("2",), False)]
        long = "1" * 1001
        for _ in range(2):
            await known.vectors([long])
        assert turns[4:] == [((long,), False)] * 2

    asyncio.run(run())
