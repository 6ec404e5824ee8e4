"""A compaction that fails is tried again, less and less often."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from m2d_clap.service.engine import Engine
from m2d_clap.service.settings import Settings


class Ended:
    """A process that is over."""

    def __init__(self, status: int) -> None:
        self.returncode = status

    async def communicate(self) -> tuple[None, bytes]:
        return None, b"there is no room"


def test_every_failure_doubles_the_rest_up_to_an_hour_and_a_success_ends_that(
    served_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(served_folder / "index", tmp_path / "index")
    serving = Engine(Settings(index=tmp_path / "index")).serving
    statuses = iter([*[1] * 8, 0, 1])
    rests: list[float] = []

    async def started(*_: Any, **__: Any) -> Ended:
        return Ended(next(statuses))

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    async def compact() -> None:
        for _ in range(10):
            await serving._compact()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(compact())
    assert rests == [60, 120, 240, 480, 960, 1920, 3600, 3600, 60]
