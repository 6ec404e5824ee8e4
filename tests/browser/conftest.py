"""A real Chromium on a real server with made-up sounds and the bundled checkpoint."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

from m2d_clap.index import build_index
from m2d_clap.model import Checkpoint, bundled
from m2d_clap.model.sounds import make, write_library

RATE = 16000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def scene(kinds: list[str], each: float = 10.0) -> np.ndarray:
    """Ten seconds of each kind, one after the other: int16 (samples,)."""
    parts = []
    for number, kind in enumerate(kinds):
        sound = make(kind, 40 + number, RATE).samples
        parts.append(np.resize(sound, int(each * RATE)))
    return np.round(np.concatenate(parts) * 32767).astype(np.int16)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound of every kind, a recording whose church bell rings from 0:20 to 0:30, and a longer
    one where it rings from 0:10 to 0:20 and from 1:00 to 1:10."""
    folder = tmp_path_factory.mktemp("library")
    write_library(folder, per_kind=1)
    (folder / "sounds" / "field").mkdir()
    wavfile.write(
        folder / "sounds" / "field" / "morning walk.wav",
        RATE,
        scene(["wind", "birds", "church_bell", "footsteps", "rain"]),
    )
    evening = ["wind", "church_bell", *["rain", "wind"] * 2, "church_bell", *["wind", "rain"] * 3]
    wavfile.write(folder / "sounds" / "field" / "evening.wav", RATE, scene(evening))
    return folder / "sounds"


@pytest.fixture(scope="session")
def address(
    library: Path,
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[[Path], AbstractContextManager[str]],
) -> Iterator[str]:
    """Where `m2d-clap serve` serves the library, ready."""
    index = tmp_path_factory.mktemp("index") / "index"
    checkpoint = Checkpoint.load(bundled())
    build_index(library, index, bundled(), checkpoint.fingerprint, checkpoint.clap())
    with serve(index) as found:
        yield found


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; skips where it or playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs make test-browser")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """`visit(path, dark=, phone=)` → a page there. In the end, none may have asked another host
    for anything, broken the policy or thrown an error."""
    wrong: list[str] = []
    contexts = []

    def went(path: str = "/", *, dark: bool = False, phone: bool = False, **more: Any) -> Any:
        context = chromium.new_context(
            base_url=address,
            color_scheme="dark" if dark else "light",
            viewport=PHONE if phone else DESKTOP,
            has_touch=phone,
            reduced_motion="reduce",
            **more,
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.extend(_policy(message.text)))
        page.on("request", lambda request: wrong.extend(_outside(request.url, address)))
        page.goto(path)
        return page

    yield went
    for context in contexts:
        context.close()
    assert wrong == []


def _policy(text: str) -> list[str]:
    return [text] if "Content Security Policy" in text else []


def _outside(url: str, address: str) -> list[str]:
    return [] if url.startswith((address, "blob:", "data:")) else [url]


@pytest.fixture
def until() -> Callable[[Any, Callable[[], bool]], None]:
    """Waits, at most half a minute, until something holds of a page."""

    def until(page: Any, holds: Callable[[], bool]) -> None:
        for _ in range(600):
            if holds():
                return
            page.wait_for_timeout(50)
        raise AssertionError("it never came about")

    return until
