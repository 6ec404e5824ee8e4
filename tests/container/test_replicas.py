"""Two replicas behind the documented proxy: whatever happens to one, no search is lost."""

import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

QUERIES = ("rain", "a dog barks", "church bells", "an engine", "birds", "a drum", "wind", "water")


@contextmanager
def proxy(docker: Any, folder: Path, replicas: list[str]) -> Iterator[str]:
    """nginx with docker/proxy/nginx.conf, but for its places and its port; its address."""
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    written = (docker.folder / "docker/proxy/nginx.conf").read_text()
    for ours, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/nginx/upstreams.conf", f"{folder}/upstreams.conf"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
    ):
        assert ours in written
        written = written.replace(ours, here)
    (folder / "nginx.conf").write_text(written)
    upstreams = (docker.folder / "docker/proxy/upstreams.conf").read_text()
    line = "  server m2d-clap:8000 max_fails=0;\n"
    assert line in upstreams
    lines = [line.replace("m2d-clap:8000", r.removeprefix("http://")) for r in replicas]
    (folder / "upstreams.conf").write_text(upstreams.replace(line, "".join(lines)))
    (folder / "certificates").mkdir()
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", folder / "certificates/tls.key", "-out", folder / "certificates/tls.crt"]
    subprocess.run(command, check=True, capture_output=True)
    run = [nginx, "-p", folder, "-c", folder / "nginx.conf", "-g", "daemon off;"]
    with (folder / "nginx.log").open("w") as log, subprocess.Popen(run, stderr=log) as process:
        try:
            yield f"https://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(30)


class Load:
    """Searches from several clients, at a steady pace, each answer counted by its status."""

    def __init__(self, address: str, certificate: Path, clients: int, pause: float) -> None:
        self.statuses: Counter[str] = Counter()
        self.slowest = 0.0
        self._stop = threading.Event()
        context = ssl.create_default_context(cafile=str(certificate))
        self._threads = [
            threading.Thread(target=self._ask, args=(address, context, number, pause))
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, address: str, context: ssl.SSLContext, number: int, pause: float) -> None:
        with httpx.Client(base_url=address, verify=context, timeout=150, trust_env=False) as client:
            asked = number
            while not self._stop.wait(pause):
                start = time.monotonic()
                query = {"query": QUERIES[asked % len(QUERIES)], "k": 3}
                try:
                    answer = client.post("/v1/search/text", json=query)
                    whole = answer.status_code == 200 and len(answer.json()["hits"]) == 3
                    self.statuses["found" if whole else str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1
                self.slowest = max(self.slowest, time.monotonic() - start)
                asked += 1


def test_neither_a_restart_nor_a_new_generation_nor_another_server_loses_a_request(
    docker: Any, library: Path, volume: str, tmp_path: Path, ready: Callable[..., list[str]]
) -> None:
    sounds = tmp_path / "sounds"
    shutil.copytree(library, sounds)
    mounted = ("--volume", f"{sounds}:/library:ro")
    index = ("run", "--rm", *mounted, "--volume", f"{volume}:/index", docker.image)
    index += ("index", "/library", "--out", "/index")
    docker.ok(*index)
    served = (*mounted, "--volume", f"{volume}:/index:ro", "--", "serve")
    names = ("m2d-clap-one", "m2d-clap-two")

    with ExitStack() as stack:
        replicas = [stack.enter_context(docker.running(name, *served)) for name in names]
        for replica in replicas:
            ready(replica)
        folder = tmp_path / "proxy"
        folder.mkdir()
        address = stack.enter_context(proxy(docker, folder, replicas))
        load = Load(address, folder / "certificates/tls.crt", clients=4, pause=0.05)
        with load:
            time.sleep(2)
            before = load.statuses.total()
            docker.ok("restart", "--time", "40", names[0])
            ready(replicas[0])
            restarted = load.statuses.total() - before
            shutil.copy(sounds / "rain/rain-1.wav", sounds / "again.wav")
            shutil.copy(sounds / "wind/wind-1.wav", sounds / "more wind.wav")
            docker.ok(*index)
            end = time.monotonic() + 180
            while {_generation(replica) for replica in replicas} != {2}:
                assert time.monotonic() < end
                time.sleep(0.2)
            docker.ok("kill", "--signal", "TERM", names[1])  # one goes for good: the other is asked
            time.sleep(2)
        answered = load.statuses.total()
    print(
        f"\n{answered} searches through the proxy, {restarted} of them during a restart: "
        f"{dict(load.statuses)}; the slowest took {load.slowest:.2f} s"
    )
    assert load.statuses == {"found": answered}
    assert restarted > 10


def _generation(replica: str) -> int:
    answer = httpx.get(f"{replica}/v1/index", trust_env=False, timeout=120)
    return int(answer.json()["generation"])
