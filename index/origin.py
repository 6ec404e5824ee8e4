"""What an index was made from, and the commands that mend a mismatch."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.model.description import describe
from m2d_clap.model.errors import CheckpointError


@dataclass(frozen=True)
class Origin:
    """A model, where it lies, and the folder of sounds it was run over."""

    fingerprint: str
    checkpoint: Path
    library: Path

    def command(self, out: Path | str) -> str:
        """The command that makes this index, or goes on with it; ready to paste."""
        words = ["m2d-clap", "index", str(self.library), "--out", str(out)]
        return shlex.join([*words, "--checkpoint", str(self.checkpoint)])

    def refuse_other(self, given: "Origin", place: Path | str) -> None:
        """Raises LibraryIndexError where `given` is another model than that of the index at `place`,
        a folder or an address."""
        if given.fingerprint == self.fingerprint:
            return
        lines = [f"{place} was made with another checkpoint: {self.fingerprint[:12]}"]
        if isinstance(place, Path):
            beside = place.resolve()
            beside = beside.with_name(f"{beside.name}-{given.fingerprint[:8]}")
            lines.append(f"For an index with this checkpoint: {given.command(beside)}")
        else:
            lines.append("For an index with this checkpoint give --out another name")
        if self._checkpoint_is_there():
            lines.append(f"To go on with the other one: {self.command(place)}")
        raise LibraryIndexError("\n".join(lines))

    def _checkpoint_is_there(self) -> bool:
        try:
            return describe(self.checkpoint).fingerprint == self.fingerprint
        except (CheckpointError, OSError):
            return False
