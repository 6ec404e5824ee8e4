"""What the container costs: the service's and the index's benchmarks in the image and beside it.

    make test-container        # builds the image
    taskset -c 0 python tests/benchmarks/container.py --docker docker/verify/bin/docker

`service_load.py` (`one`, `texts`, `uploads`) and `index_throughput.py` run by turns inside, confined
as docker/README.md says, with the image's libraries and code, and outside, with this interpreter's
or that of `--python`. Both get the processors that this command may use, and write to the same
folder of this machine. Printed are medians over the rounds and their ratio. The image has to be
made of this tree, the machine to be quiet, and the interpreter outside built like the image's: one
without the compiler's profile (pyenv's) is slower by itself. The image of docker/verify has Debian's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BOUND = 0.1
CONFINED = ("--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
LINES = {
    "one": ("text search, 1 client, ms", "service_ms"),
    "texts": ("new texts, 64 clients, a second", "service_per_second"),
    "uploads": ("uploads, 16 clients, a second", "service_per_second"),
    "index": ("indexing, times real time", "times_real_time"),
}
"""By name: what it is, and the figure of the benchmark's report."""


def main(words: Sequence[str] | None = None) -> None:
    """Exit status 1 where a median inside is not within a tenth of the one outside."""
    options = _options().parse_args(words)
    turns: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        scratch.chmod(0o1777)  # the image's user is another
        sides = {
            "inside": _inside(options.docker, options.image, scratch),
            "outside": ([options.python], HERE, _environment(scratch)),
        }
        for number in range(options.rounds):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            turn = {side: _turn(*sides[side], options) for side in order}
            print(turn, file=sys.stderr)
            turns.append(turn)
    report = compare(turns)
    if options.json:
        print(json.dumps({"lines": report, "rounds": options.rounds, "turns": turns}))
    else:
        for line, found in report.items():
            print(
                f"{LINES[line][0]}: inside {found['inside']:g}, outside {found['outside']:g}, "
                f"ratio {found['ratio']:.3f}{'' if found['holds'] else ', NOT WITHIN 10 %'}"
            )
    sys.exit(0 if all(found["holds"] for found in report.values()) else 1)


def compare(turns: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Each line's medians inside and outside, their ratio, and whether it is near 1."""
    report = {}
    for line in LINES:
        inside, outside = (
            statistics.median(turn[side][line] for turn in turns) for side in ("inside", "outside")
        )
        ratio = round(inside / outside, 3)
        holds = abs(ratio - 1) <= BOUND
        report[line] = {"inside": inside, "outside": outside, "ratio": ratio, "holds": holds}
    return report


def _inside(docker: str, image: str, scratch: Path) -> tuple[list[str], Path, dict[str, str]]:
    """How python is called in the image, where the benchmarks lie there, and with what variables."""
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    mounts = (f"{HERE.resolve()}:/benchmarks:ro", f"{scratch}:/tmp")
    command = [docker, "run", *CONFINED, "--cpuset-cpus", processors]
    command += [word for mount in mounts for word in ("--volume", mount)]
    return [*command, "--entrypoint", "python", image], Path("/benchmarks"), dict(os.environ)


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing that tunes a library, as in the image."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"HOME": str(scratch), "TMPDIR": str(scratch), "HF_HUB_OFFLINE": "1"}


def _turn(
    python: list[str], folder: Path, environment: dict[str, str], options: argparse.Namespace
) -> dict[str, float]:
    """Every line's figure, from one run of each benchmark."""

    def report(script: str, *words: str) -> dict[str, Any]:
        command = [*python, str(folder / script), *words, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        try:  # a bound of its own that does not hold is not this benchmark's matter
            return dict(json.loads(done.stdout.splitlines()[-1]))
        except (IndexError, ValueError):
            raise SystemExit(f"{' '.join(command)}: {done.stderr[-4000:]}") from None

    service = [line for line in LINES if line != "index"]
    seconds = ("--seconds", f"{options.seconds:g}")
    load = report("service_load.py", *service, "--rounds", "1", *seconds)["lines"]
    sound = report("index_throughput.py", "--seconds", f"{options.sound:g}")
    found = {line: load[line][LINES[line][1]] for line in service}
    return {**found, "index": sound[LINES["index"][1]]}


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--docker", default="docker", help="the command (default docker)")
    parser.add_argument("--image", default="m2d-clap:cpu", help="default m2d-clap:cpu")
    parser.add_argument("--python", default=sys.executable, help="outside (default: this one)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (default 4)")
    parser.add_argument("--sound", type=float, default=600.0, help="s of it to index (default 600)")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


if __name__ == "__main__":
    main()
