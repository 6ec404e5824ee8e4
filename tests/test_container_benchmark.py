"""The benchmark in and beside the image takes turns, and says where the two are apart."""

import json
import os
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parent / "benchmarks" / "container.py"), run_name="container"
)


def program(place: Path, times: float, calls: Path) -> Path:
    """Notes its arguments and answers as either benchmark does."""
    lines = {
        "one": {"service_ms": 5.0 * times},
        "texts": {"service_per_second": 200 / times},
        "uploads": {"service_per_second": 40 / times},
    }
    load, index = json.dumps({"lines": lines}), json.dumps({"times_real_time": 150 / times})
    place.write_text(
        f'#!/bin/sh\necho "{place.name} $*" >> {shlex.quote(str(calls))}\n'
        f"case \"$*\" in *service_load*) echo '{load}'; exit 1;; *) echo '{index}';; esac\n"
    )
    place.chmod(0o755)
    return place


@pytest.mark.parametrize(("times", "status"), [(1.08, 0), (1.0, 0), (1.15, 1), (0.85, 1)])
def test_a_tenth_either_way_is_too_much(
    times: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = tmp_path / "calls"
    docker = program(tmp_path / "docker", times, calls)
    python = program(tmp_path / "python", 1.0, calls)
    words = ["--docker", str(docker), "--python", str(python), "--rounds", "2", "--json"]
    with pytest.raises(SystemExit) as ended:
        BENCH["main"](words)
    assert ended.value.code == status
    report = json.loads(capsys.readouterr().out)["lines"]
    assert report["one"]["ratio"] == pytest.approx(times, abs=1e-3)
    assert report["index"]["ratio"] == pytest.approx(1 / times, abs=1e-3)
    called = calls.read_text().splitlines()
    assert [c.split()[0] for c in called] == [*["docker"] * 2, *["python"] * 4, *["docker"] * 2]
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    for call in called[:2]:
        assert "--read-only --cap-drop ALL" in call and f"--cpuset-cpus {cpus} " in call
        assert "m2d-clap:cpu /benchmarks/" in call


def test_what_a_benchmark_died_of_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "docker"
    broken.write_text("#!/bin/sh\necho no such image >&2\nexit 125\n")
    broken.chmod(0o755)
    with pytest.raises(SystemExit, match="no such image"):
        BENCH["main"](["--docker", str(broken), "--python", sys.executable])
