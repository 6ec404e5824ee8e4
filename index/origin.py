"""What an index was made from, and the commands that mend a mismatch."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.model.checkpoint import describe
from m2d_clap.model.errors import CheckpointError


@dataclass(frozen=True)
class Origin:
    """A model, where it lies, and the folder of sounds it was run over."""

    fingerprint: str
    checkpoint: Path
    library: Path

    def command(self, out: Path) -> str:
        """The command that makes this index, or goes on with it; ready to paste."""
        words = ["m2d-clap", "index", str(self.library), "--out", str(out)]
        return shlex.join([*words, "--checkpoint", str(self.checkpoint)])

    def refuse_other(self, given: "Origin", folder: Path) -> None:
        """Raises LibraryIndexError where `given` is another model than that of the index `folder`."""
        if given.fingerprint == self.fingerprint:
            return
        beside = folder.resolve()
        beside = beside.with_name(f"{beside.name}-{given.fingerprint[:8]}")
        lines = [
            f"{folder} was made with another checkpoint: {self.fingerprint[:12]}",
            f"For an index with this checkpoint: {given.command(beside)}",
        ]
        if self._checkpoint_is_there():
            lines.append(f"To go on with the other one: {self.command(folder)}")
        raise LibraryIndexError("\n".join(lines))

    def _checkpoint_is_there(self) -> bool:
        try:
            return describe(self.checkpoint).fingerprint == self.fingerprint
        except (CheckpointError, OSError):
            return False
