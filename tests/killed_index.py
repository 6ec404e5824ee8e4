"""Run by test_index_kills: indexes, adds, deletes and compacts, and says what was acknowledged.

python killed_index.py FOLDER: for every seed read from stdin it forks a process that says `ready PID`,
then after each step `add ID`, `delete ID`, `index` or `compact`, until it is killed; then `ended`.
The vectors come from the numbers of the sounds, so that no model is needed.
"""

import hashlib
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from m2d_clap.index import Index, live
from m2d_clap.index.build import build_index
from m2d_clap.index.compaction import compact
from m2d_clap.index.options import Options
from m2d_clap.index.windows import Embedded

DIM = 4


class Ear:
    config = SimpleNamespace(front_end=SimpleNamespace(sample_rate=1000), clap_dim=DIM)

    def log_mel(self, sound: Any) -> Any:
        return sound.samples

    def grids(self, sounds: Any) -> Any:
        return sounds

    def project(self, sounds: Any) -> Any:
        rows = [[s.mean(), s.std(), s[0], s[-1]] for s in sounds]
        array = np.array(rows, np.float32) + 0.01
        return SimpleNamespace(cpu=lambda: SimpleNamespace(numpy=lambda: array))


def say(*words: object) -> None:
    print(*words, flush=True)


def main(folder: Path, seed: int) -> None:
    def index() -> None:
        ear: Any = Ear()
        given = folder / "sounds", folder / "x", Path("m"), "f" * 64, ear
        build_index(*given, options=Options(batch_seconds=2))

    random = np.random.default_rng(seed)
    say("ready", os.getpid())
    index()
    say("index")
    added = [clip.id for clip in Index.open(folder / "x").clips if clip.stored]
    for step in range(1000):
        choice = 2 if len(added) > 20 else random.integers(8)
        if choice == 0:
            index()
            say("index")
        elif choice == 1:
            compact(folder / "x")
            say("compact")
        elif choice == 2 and added:
            clip = added.pop(int(random.integers(len(added))))
            say("deleting", clip)
            live.delete(folder / "x", clip)
            say("delete", clip)
        else:
            sound = f"{seed:08x}{step:08x}".encode()
            content = hashlib.sha256(sound).hexdigest()
            vector = np.eye(DIM, dtype=np.float32)[step % DIM]
            heard = live.Heard(content, "a.wav", 1.0, [Embedded(0.0, 1.0, vector)], {}, "f" * 64)
            live.add(folder / "x", heard, io.BytesIO(sound))
            added.append(heard.id)
            say("add", heard.id)


if __name__ == "__main__":
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            main(Path(sys.argv[1]), int(line))
            os._exit(0)
        os.waitpid(process, 0)
        say("ended")
