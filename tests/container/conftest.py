"""The image, built once as docker/README.md says, and what runs and asks its containers."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from m2d_clap.model import sounds

ROOT = Path(__file__).parent.parent.parent
IMAGE = "m2d-clap:cpu"
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ROOT / "tests" / "container" in item.path.parents:
            item.add_marker(pytest.mark.container)


@dataclass(frozen=True)
class Said:
    status: int
    text: str


class Docker:
    """`docker`, by docker/verify. folder: a copy of the repository, where commands are run; port:
    what stands for the documentation's 8000, where that is taken."""

    image = IMAGE
    port = os.environ.get("PORT", "8000")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        places = (ROOT / "docker/verify/bin", Path(sys.executable).parent)
        self._environment = {
            **os.environ,
            "PATH": ":".join((*map(str, places), os.environ["PATH"])),
        }

    def __call__(self, *arguments: str | Path, timeout: float = 600) -> Said:
        return self.script(["docker", *map(str, arguments)], timeout)

    def script(self, command: list[str], timeout: float = 600) -> Said:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout)

    def ok(self, *arguments: str | Path, timeout: float = 600) -> str:
        said = self(*arguments, timeout=timeout)
        assert said.status == 0, f"docker {arguments}: {said.text}"
        return said.text

    @contextlib.contextmanager
    def running(self, name: str, *options: str | Path) -> Iterator[str]:
        """The address of a container of the image, from its start; it is removed at the end."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self("rm", "--force", name)
        try:
            self.ok(
                "run", "--detach", "--name", name, *CONFINED, "--publish",
                f"127.0.0.1:{port}:8000", "--env", "M2D_CLAP_THREADS=1", *_with_image(options),
            )  # fmt: skip
            yield f"http://127.0.0.1:{port}"
        finally:
            self("rm", "--force", name)


def _with_image(options: tuple[str | Path, ...]) -> list[str | Path]:
    """Options, then the image, then what follows "--": arguments of m2d-clap."""
    at = options.index("--") if "--" in options else len(options)
    return [*options[:at], IMAGE, *options[at + 1 :]]


def until_ready(address: str, seconds: float = 300) -> list[str]:
    """What /readyz said until it was 200."""
    said: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.get(f"{address}/readyz", trust_env=False, timeout=60)
            if answer.status_code == 200:
                return said
            said.append(answer.json()["detail"])
        time.sleep(0.1)
    raise AssertionError(f"{address} is not ready: {said[-1:]}")


@pytest.fixture(scope="session")
def documented() -> list[Any]:
    """The blocks of commands in docker/README.md, as docker/verify/commands.py reads them."""
    spec = importlib.util.spec_from_file_location("commands", ROOT / "docker/verify/commands.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["commands"] = module
    spec.loader.exec_module(module)
    return list(module.read(ROOT / "docker/README.md"))


@pytest.fixture(scope="session")
def ready() -> Callable[..., list[str]]:
    return until_ready


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory, documented: list[Any]) -> Docker:
    """With the image, built by the commands of docker/README.md; how long it took is printed."""
    if os.geteuid() != 0 or shutil.which("buildah") is None:
        pytest.skip("needs root, buildah and podman: make test-container")
    folder = tmp_path_factory.mktemp("repository") / "m2d-clap"
    listed = ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    if wheels := os.environ.get("WHEELS"):
        shutil.copytree(wheels, folder / "wheels", copy_function=_link)
    docker = Docker(folder)
    if os.environ.get("BUILT"):  # the image that is there is to be tried as it is
        return docker
    start = time.monotonic()
    for block in documented:
        if "docker/collect-wheels" in block.script:
            said = docker.script(["bash", "-euo", "pipefail", "-c", block.script], timeout=1500)
            assert said.status == 0, said.text[-4000:]
    print(f"\nimage built in {time.monotonic() - start:.0f} s")
    if wheels:
        for wheel in (folder / "wheels").iterdir():
            if not (Path(wheels) / wheel.name).exists():
                shutil.copy2(wheel, wheels)
    return docker


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up sounds."""
    folder = tmp_path_factory.mktemp("library")
    sounds.write_library(folder)
    return folder / "sounds"


@pytest.fixture
def volume(docker: Docker, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty volume, removed afterwards."""
    name = f"m2d-clap-{zlib.crc32(request.node.name.encode()):08x}"
    docker("volume", "rm", "--force", name)
    docker.ok("volume", "create", name)
    yield name
    docker("volume", "rm", "--force", name)
