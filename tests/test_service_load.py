"""The client of the load benchmark counts what it is answered, and waits after a refusal."""

import itertools
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

LOAD: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parent / "benchmarks" / "clients.py"), run_name="clients"
)


class Third(BaseHTTPRequestHandler):
    """Every third answer is a refusal; bodies have to come whole."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count(1)
    bodies: ClassVar[set[bytes]] = set()

    def do_POST(self) -> None:
        self.bodies.add(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(503 if next(self.numbers) % 3 == 0 else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Third) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield ("127.0.0.1", server.server_address[1])
        server.shutdown()


def test_answers_are_counted_by_status_and_large_bodies_arrive_whole(
    address: tuple[str, int],
) -> None:
    body = bytes(range(256)) * 20_000
    request = LOAD["post"]("/", "application/octet-stream", body)
    seen = LOAD["load"](address, itertools.repeat(request), 4, 0.3, 0.0)
    refused, answered = len(seen.seconds[503]), len(seen.seconds[200])
    assert Third.bodies == {body}
    assert abs(answered - 2 * refused) <= 2
    assert seen.rate == pytest.approx(answered / seen.elapsed)
    assert 0 < seen.quantile(0.5) <= seen.quantile(0.99) < 30


def test_who_is_refused_does_not_ask_again_before_the_pause_is_over(
    address: tuple[str, int],
) -> None:
    request = LOAD["post"]("/", "application/octet-stream", b"x")
    seen = LOAD["load"](address, itertools.repeat(request), 1, 0.5, 60.0)
    assert len(seen.seconds[503]) == 1 and len(seen.seconds.get(200, [])) <= 2


def test_texts_are_never_the_same_twice() -> None:
    texts = list(itertools.islice(LOAD["sentences"](3), 5000))
    assert len(set(texts)) == 5000
