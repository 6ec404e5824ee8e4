"""Clients of a server, as benchmarks need them: one thread on plain sockets, so that it takes little of the
processor; of uploads the bytes are made beforehand, of an answer only status and length are read."""

import contextlib
import heapq
import json
import random
import re
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

HITS = 10
_TICK = 0.05
WORDS = """
distant loud soft old small heavy nearby faint broken slow deep bright sudden wooden
dog bell engine river crowd door violin bird train hammer fire clock cat drum
barking ringing running singing knocking rattling humming falling echoing shouting
forest street water night rain sea hall kitchen station garden tunnel valley
people wind footsteps music thunder silence traffic children machines insects
"""


@dataclass
class Load:
    """What a client saw. seconds: of each answer, by status; client: its share of one core."""

    elapsed: float = 0.0
    client: float = 0.0
    seconds: dict[int, list[float]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests answered with 200, a second."""
        return len(self.seconds.get(200, [])) / self.elapsed

    def quantile(self, part: float, status: int = 200) -> float:
        return float(np.quantile(self.seconds.get(status, [float("nan")]), part))


class Connection:
    """One client: a kept connection, and the request it is at."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent = memoryview(b"")
        self.answer = b""
        self.start = 0.0

    def ask(self, request: bytes) -> None:
        self.start = time.perf_counter()
        self.unsent = memoryview(request)
        self.send()

    def send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]

    def read(self) -> int | None:
        """The status, once the answer is whole."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.answer += part
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not end or length is None or len(body) < int(length[1]):
            return None
        self.answer = b""
        return int(head[9:12])


def load(
    address: tuple[str, int], requests: Iterator[bytes], together: int, seconds: float, pause: float
) -> Load:
    """Keeps `together` requests open for some seconds; after a 503 a client waits `pause`."""
    seen = Load()
    connections = [Connection(address) for _ in range(together)]
    waiting: list[tuple[float, int]] = []
    start, used = time.perf_counter(), time.process_time()
    with selectors.DefaultSelector() as selector:
        for number, connection in enumerate(connections):
            selector.register(connection.socket, selectors.EVENT_READ, number)
            # Who waits after a refusal has not come with all the others at once either.
            heapq.heappush(waiting, (start + pause * number / together, number))
        open_ = 0
        while open_ or time.perf_counter() - start < seconds:
            now = time.perf_counter()
            while waiting and waiting[0][0] <= now and now - start < seconds:
                number = heapq.heappop(waiting)[1]
                connections[number].ask(next(requests))
                _watch(selector, connections[number], number)
                open_ += 1
            more = waiting and now - start < seconds
            patience = max(0.0, waiting[0][0] - now) if more else _TICK
            for key, events in selector.select(min(patience, _TICK)):
                connection = connections[key.data]
                if events & selectors.EVENT_WRITE:
                    connection.send()
                    _watch(selector, connection, key.data)
                if not events & selectors.EVENT_READ:
                    continue
                status = connection.read()
                if status is None:
                    continue
                now = time.perf_counter()
                seen.seconds.setdefault(status, []).append(now - connection.start)
                heapq.heappush(waiting, (now + pause if status == 503 else now, key.data))
                open_ -= 1
    seen.elapsed = time.perf_counter() - start
    seen.client = (time.process_time() - used) / seen.elapsed
    for connection in connections:
        connection.socket.close()
    return seen


def _watch(selector: selectors.BaseSelector, connection: Connection, number: int) -> None:
    more = selectors.EVENT_WRITE if connection.unsent else 0
    selector.modify(connection.socket, selectors.EVENT_READ | more, number)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode()


def post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def search_text(text: str) -> bytes:
    body = json.dumps({"query": text, "k": HITS}).encode()
    return post("/v1/search/text", "application/json", body)


def upload(sound: bytes, route: str = "/v1/search/audio") -> bytes:
    head = '--x\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = head.encode() + sound + b"\r\n--x--\r\n"
    return post(route, "multipart/form-data; boundary=x", body)


def sentences(seed: int) -> Iterator[str]:
    """Made-up captions, none twice."""
    lines = [line.split() for line in WORDS.strip().splitlines()]
    rng, made = random.Random(seed), set[str]()
    while True:
        one, what, does, where, more = map(rng.choice, lines)
        text = f"a {one} {what} is {does} near the {where} among {more}"
        if text not in made:
            made.add(text)
            yield text
