"""The commands of a Markdown page, to be run as they are written.

A block of ```sh is one script. Before it may stand, as comments that no reader sees,
`<!-- answers: REGEX -->`, what its output has to hold, and `<!-- not run: WHY -->`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"((?:^<!-- .*? -->\n)*)^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- (answers|not run): (.*?) -->")


@dataclass(frozen=True)
class Block:
    """line: where it begins; answers: a regular expression; not_run: why it cannot be run here."""

    line: int
    script: str
    answers: str | None = None
    not_run: str | None = None


def read(page: Path) -> list[Block]:
    """Every block of shell commands, in order. Raises ValueError for a mark that is unknown."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for found in _BLOCK.finditer(text):
        comments = found[1].splitlines()
        marks = dict(m.groups() for m in map(_MARK.fullmatch, comments) if m)
        if len(marks) != len(comments):
            raise ValueError(f"{page}: an unknown mark among {comments}")
        line = text.count("\n", 0, found.start(2)) + 1
        blocks.append(Block(line, found[2], marks.get("answers"), marks.get("not run")))
    return blocks
