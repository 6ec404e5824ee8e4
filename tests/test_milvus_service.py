"""Commands and server on an index in Milvus (embedded): what they answer on one in a folder."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from scipy.io import wavfile
from typer.testing import CliRunner

from m2d_clap.index import Index
from m2d_clap.service.cli import build as cli
from m2d_clap.service.client import Client

SCRIPT = Path(sys.executable).with_name("m2d-clap")

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")


def command(*words: object) -> str:
    """In a process of its own: the embedded Milvus belongs to one at a time."""
    done = subprocess.run(
        [SCRIPT, *map(str, words)], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers(address: str) -> list[dict[str, Any]]:
    found = []
    with httpx.Client(base_url=address, trust_env=False) as ask:
        cursor = None
        for _ in range(3):
            question = {"query": "a low tone", "k": 3, "filter": 'not path ~ "*copy*"'}
            question |= {"cursor": cursor} if cursor else {}
            page = ask.post("/v1/search/text", json=question).raise_for_status().json()
            cursor = page["next"]
            found.append(page)
        clips = ask.get("/v1/clips", params={"k": 20}).raise_for_status().json()
        found.append(clips)
        first = clips["clips"][0]["id"]
        found.append(ask.get(f"/v1/clips/{first}/similar").raise_for_status().json())
        found.append(ask.get("/v1/map").raise_for_status().json())
    return found


def alike(one: Any, other: Any) -> bool:
    """Up to what float32 leaves open; cursors and addresses of time aside."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            key in ("next", "took", "seconds_taken") or alike(one[key], other[key]) for key in one
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, abs=2e-3)
    return bool(one == other)


def test_a_library_is_indexed_searched_and_served_as_in_a_folder(
    served: str,
    served_folder: Path,
    tmp_path: Path,
    serve: Callable[..., AbstractContextManager[str]],
) -> None:
    folder = tmp_path / "index"
    shutil.copytree(served_folder / "index", folder)
    address = f"milvus:{folder}"
    words = served_folder / "library", "--out", address, "--checkpoint", served_folder / "tiny"
    assert "0 embedded" in command("index", *words)
    local = command("search", served_folder / "index", "a low tone", "--json")
    assert command("search", address, "a low tone", "--json").count('"id"') == local.count('"id"')
    with serve(address, writable="true", threads="1") as there:
        for one, other in zip(answers(there), answers(served), strict=True):
            assert alike(one, other), (one, other)
        with Client(there) as client:
            assert client.index().kind == "milvus AUTOINDEX"
            before = client.index().clips
            noise = np.random.default_rng(0).normal(0, 3000, 16000).astype(np.int16)
            wavfile.write(tmp_path / "noise.wav", 16000, noise)
            added = client.add(tmp_path / "noise.wav", metadata={"by": "Ann"})
            (hit,) = client.search_text("noise", filter='metadata.by = "Ann"').hits
            assert hit.id == added.id and client.index().clips == before + 1
            gone = next(clip.id for clip in client.clips().clips if clip.id != added.id)
            client.delete(gone)
            assert gone not in {hit.id for hit in client.search_text("a low tone", k=20).hits}
    in_folder = Index.open(folder)
    assert in_folder.clip(added.id) and not in_folder.clip(gone), "its generations know it too"


def test_what_is_of_folders_only_is_said_to_be(tmp_path: Path) -> None:
    for option in ("--check", "--report", "--anew"):
        result = CliRunner().invoke(
            cli(), ["index", str(tmp_path), "--out", f"milvus:{tmp_path}/x", option]
        )
        assert result.exit_code == 2 and "index folders" in result.output
