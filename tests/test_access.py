"""Keys, scopes, rate limits, headers, request ids and disconnects, on a tiny application."""

import asyncio
import gc
import json
import logging
import stat
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from m2d_clap.service import logs, problems
from m2d_clap.service.access import Access
from m2d_clap.service.body_limit import BodyLimit
from m2d_clap.service.cli import build
from m2d_clap.service.disconnect import Disconnect
from m2d_clap.service.headers import SecureHeaders
from m2d_clap.service.keys import KeyFile, KeysError
from m2d_clap.service.metrics import Metrics
from m2d_clap.service.requests import RequestLog


def application(
    keys: KeyFile | None = None, rate: str | None = None, metrics: Metrics | None = None
) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/things/{thing}")
    @app.delete("/v1/things/{thing}")
    async def things(thing: str) -> str:
        return thing

    @app.post("/v1/body")
    async def body(request: Request) -> int:
        return len(await request.body())

    @app.get("/v1/broken")
    async def broken() -> None:
        raise RuntimeError("a bug")

    @app.get("/livez")
    async def livez() -> str:
        return "alive"

    problems.install(app)
    app.add_middleware(Disconnect)
    app.add_middleware(BodyLimit, most=1000, pause=0.2)
    app.add_middleware(Access, keys=keys, rate=rate)
    app.add_middleware(RequestLog, metrics=metrics or Metrics())
    app.add_middleware(SecureHeaders)
    return app


def asked(
    app: FastAPI, *requests: tuple[str, str, dict[str, str]], address: str = "1.2.3.4"
) -> Any:
    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            return [await client.request(m, path, headers=h) for m, path, h in requests]

    answers = asyncio.run(run())
    return answers[0] if len(answers) == 1 else answers


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys" / "keys.json")


def test_a_key_opens_what_its_scopes_say(keys: KeyFile) -> None:
    reader, writer = keys.add("r", ("read",)), keys.add("w", ("read", "write"))
    app = application(keys)
    assert asked(app, ("GET", "/v1/things/a", bearer(reader))).status_code == 200
    refused = asked(app, ("DELETE", "/v1/things/a", bearer(reader)))
    assert refused.status_code == 403 and refused.json()["type"] == "/problems/missing-scope"
    assert asked(app, ("DELETE", "/v1/things/a", bearer(writer))).status_code == 200


def test_without_a_valid_key_only_the_probes_answer(keys: KeyFile) -> None:
    key = keys.add("r", ("read",))
    app = application(keys)
    assert asked(app, ("GET", "/livez", {})).status_code == 200
    for wrong in ({}, bearer("x"), bearer(key[:-1] + "x"), bearer(key + "0"), bearer(key[1:])):
        refused = asked(app, ("GET", "/v1/things/a", wrong))
        assert refused.status_code == 401
        assert refused.json()["type"] == "/problems/unknown-key"
        assert refused.headers["www-authenticate"] == "Bearer"
    assert asked(app, ("GET", "/v1/things/a", {"Authorization": f"Basic {key}"})).status_code == 401


def test_a_revoked_key_is_refused_at_once(keys: KeyFile) -> None:
    key = keys.add("r", ("read",))
    app = application(keys)
    assert asked(app, ("GET", "/v1/things/a", bearer(key))).status_code == 200
    KeyFile(keys._path).revoke(key.split("_")[1])
    assert asked(app, ("GET", "/v1/things/a", bearer(key))).status_code == 401


def test_the_file_holds_no_key_and_is_its_owners_alone(keys: KeyFile) -> None:
    shown = [keys.add("a", ("read",)), keys.add("a", ("read",))]
    text = keys._path.read_text()
    assert not any(key.split("_")[2] in text for key in shown)
    assert stat.S_IMODE(keys._path.stat().st_mode) == 0o600
    assert len({key.salt for key in keys.all()}) == 2
    keys._path.write_text('{"keys": [{"id": 3}]}')
    with pytest.raises(KeysError, match="cannot be read"):
        keys.all()


def test_a_file_of_keys_that_is_half_written_shuts_nobody_out(keys: KeyFile) -> None:
    key, app = keys.add("a", ("read",)), application(keys)
    ask = ("GET", "/v1/things/a", bearer(key))
    assert asked(app, ask).status_code == 200
    whole = keys._path.read_text()
    keys._path.write_text(whole[:20])
    assert asked(app, ask).status_code == 200
    keys._path.write_text(whole.replace(key.split("_")[1], "0" * 12))
    assert asked(app, ask).status_code == 401


def test_a_file_of_keys_keeps_its_mode_when_keys_are_added(keys: KeyFile) -> None:
    keys.add("a", ("read",))
    keys._path.chmod(0o640)
    keys.add("b", ("read",))
    assert stat.S_IMODE(keys._path.stat().st_mode) == 0o640


@given(st.text(max_size=80))
def test_no_text_is_mistaken_for_a_key(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    keys = KeyFile(tmp_path_factory.getbasetemp() / "some-keys.json")
    if not keys._path.exists():
        keys.add("a", ("read",))
    assert keys.find(text) is None


def test_the_commands_add_list_and_revoke(tmp_path: Path) -> None:
    file, run = tmp_path / "k.json", CliRunner()
    added = run.invoke(build(), ["keys", "add", "Ann [x]", "--scope", "write", "--file", str(file)])
    key = added.stdout.strip()
    assert added.exit_code == 0 and KeyFile(file).find(key) is not None
    listed = run.invoke(build(), ["keys", "list", "--file", str(file)])
    identity = key.split("_")[1]
    assert identity in listed.stdout and key not in listed.stdout
    told = json.loads(run.invoke(build(), ["keys", "list", "--json", "--file", str(file)]).stdout)
    assert told["keys"][0] | {"made": ""} == {
        "id": identity, "name": "Ann [x]", "scopes": ["write"], "made": "",
    }  # fmt: skip
    assert run.invoke(build(), ["keys", "revoke", identity, "--file", str(file)]).exit_code == 0
    assert KeyFile(file).all() == []
    again = run.invoke(build(), ["keys", "revoke", identity, "--file", str(file)])
    assert isinstance(again.exception, KeysError)


def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    app = application(rate="3/minute")
    one = ("GET", "/v1/things/a", {})
    answers = asked(app, one, one, one, one)
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert [a.headers["ratelimit-remaining"] for a in answers] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.json()["type"] == "/problems/rate-limit"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["detail"] == "more than 3 per 1 minute: wait before you ask again"
    assert refused.headers["ratelimit-limit"] == "3"
    assert refused.headers["ratelimit-policy"] == "3;w=60"
    assert asked(app, one, address="5.6.7.8").status_code == 200
    assert asked(app, ("GET", "/livez", {})).status_code == 200


def test_a_scrape_counts_for_no_limit_and_who_asks_no_more_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    access = Access(application(), None, "1/second")
    for _ in range(3):
        assert asked(access, ("GET", "/metrics", {})).status_code == 404  # this one has none
    for number in range(5):
        ask = ("GET", "/v1/things/a", {})
        assert asked(access, ask, address=f"1.2.3.{number}").status_code == 200
    assert len(access._counts.events) == 5
    monkeypatch.setattr("m2d_clap.service.access._SWEEP", 0.0)
    end = time.monotonic() + 30
    while len(access._counts.events) > 1 and time.monotonic() < end:
        time.sleep(0.1)
        asked(access, ("GET", "/v1/things/a", {}), address="9.9.9.9")
    assert len(access._counts.events) == 1


def test_ipv4_clients_of_a_socket_for_both_are_counted_apart() -> None:
    app, ask = application(rate="1/minute"), ("GET", "/v1/things/a", {})
    for address in ("::ffff:1.2.3.4", "::ffff:1.2.3.5"):
        assert asked(app, ask, address=address).status_code == 200
        assert asked(app, ask, address=address).status_code == 429


def test_limits_count_by_key_and_by_network(keys: KeyFile) -> None:
    one, two = keys.add("a", ("read",)), keys.add("b", ("read",))
    app = application(keys, rate="1/minute")
    assert asked(app, ("GET", "/v1/things/a", bearer(one))).status_code == 200
    assert asked(app, ("GET", "/v1/things/a", bearer(one)), address="9.9.9.9").status_code == 429
    assert asked(app, ("GET", "/v1/things/a", bearer(two))).status_code == 200
    # guessing keys is limited too, and IPv6 addresses of one customer count together
    assert (
        asked(app, ("GET", "/v1/things/a", bearer("x")), address="2001:db8::1").status_code == 401
    )
    assert (
        asked(app, ("GET", "/v1/things/a", bearer("y")), address="2001:db8::2").status_code == 429
    )


def test_every_answer_carries_safe_headers_and_an_id() -> None:
    app = application()
    for path in ("/v1/things/a", "/none", "/v1/broken", "/livez"):
        answer = asked(app, ("GET", path, {"X-Request-ID": "abc-1"}))
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "media-src 'self' blob:" in policy
        assert "unsafe-inline" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-request-id"] == "abc-1"
    strange = asked(app, ("GET", "/livez", {"X-Request-ID": 'a"b\t' * 30}))
    assert len(strange.headers["x-request-id"]) == 32


def lines(capture: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capture.readouterr().err.splitlines()]


@pytest.fixture
def logged() -> Any:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level, events = root.level, structlog.get_config()
    yield lambda: logs.install("info")
    root.handlers[:] = before
    root.setLevel(level)
    structlog.configure(**events)


def test_one_json_line_tells_of_a_request_and_of_no_key_or_path(
    keys: KeyFile, capsys: pytest.CaptureFixture[str], logged: Callable[[], None]
) -> None:
    logged()
    key = keys.add("r", ("read",))
    asked(application(keys), ("GET", "/v1/things/secret-thing", bearer(key)))
    (line,) = lines(capsys)
    assert line["event"] == "request" and line["route"] == "/v1/things/{thing}"
    assert line["status"] == 200 and line["seconds"] > 0 and line["bytes_out"] > 0
    assert line["key"] == key.split("_")[1] and len(line["request_id"]) == 32
    assert key.split("_")[2] not in str(line) and "secret-thing" not in str(line)


def test_a_bug_is_a_problem_to_the_client_and_a_traceback_in_the_log(
    capsys: pytest.CaptureFixture[str], logged: Callable[[], None]
) -> None:
    logged()
    answer = asked(application(), ("GET", "/v1/broken", {}))
    assert answer.status_code == 500 and answer.json()["type"] == "/problems/internal"
    assert "a bug" not in answer.text
    failed, request = lines(capsys)
    assert "RuntimeError: a bug" in failed["exception"]
    assert request["problem"] == "internal" and request["status"] == 500


def test_requests_and_refusals_are_counted() -> None:
    metrics = Metrics()
    app = application(rate="1/minute", metrics=metrics)
    asked(app, ("GET", "/v1/things/a", {}), ("GET", "/v1/things/a", {}))
    page = metrics.page().decode()
    assert 'm2d_clap_rejected_total{problem="rate-limit"} 1.0' in page
    assert 'route="/v1/things/{thing}",status="200"} 1.0' in page


async def spoken(app: Any, *messages: dict[str, Any], path: str = "/v1/body") -> list[Any]:
    """What the application sends to a client that sends these messages and then waits."""
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": []}
    scope |= {"query_string": b"", "client": ("1.2.3.4", 1), "server": ("t", 80), "scheme": "http"}
    scope |= {"http_version": "1.1", "root_path": "", "raw_path": path.encode()}
    sent: list[Any] = []
    waiting = list(messages)

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 10)
    return sent


def test_a_body_that_stops_coming_is_refused() -> None:
    first = {"type": "http.request", "body": b"x", "more_body": True}
    sent = asyncio.run(spoken(application(), first))
    assert sent[0]["status"] == 408


def test_a_body_that_is_too_large_and_stops_coming_is_refused_too() -> None:
    first = {"type": "http.request", "body": 1001 * b"x", "more_body": True}
    sent = asyncio.run(spoken(application(), first))
    assert sent[0]["status"] == 413


def test_a_client_that_goes_away_cancels_its_request() -> None:
    ended: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    whole = {"type": "http.request", "body": b"", "more_body": False}
    assert asyncio.run(spoken(Disconnect(slow), whole, {"type": "http.disconnect"})) == []
    assert ended == ["cancelled"]


def test_nothing_of_a_request_is_left_to_the_garbage_collector() -> None:
    """Its collections would hold up all others: they took a quarter of a busy server's time."""

    class Client:
        said = False

        async def receive(self) -> Any:
            if self.said:
                await asyncio.get_running_loop().create_future()
            self.said = True
            return {"type": "http.request", "body": b""}

        async def send(self, _: Any) -> None: ...

    async def slow(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0.15)  # so long that its client is watched
        await send({"type": "http.response.body", "body": b""})

    async def asked() -> "weakref.ref[Client]":
        client = Client()
        await Disconnect(slow)({"type": "http"}, client.receive, client.send)
        return weakref.ref(client)

    async def whole() -> Any:
        client = await asked()
        await asyncio.sleep(0.01)  # in which the watching ends
        return client()

    gc.disable()
    try:
        assert asyncio.run(whole()) is None
    finally:
        gc.enable()
