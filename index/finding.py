"""Something about an index that is not as it should be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """done: what the check did about it, None where it is left; then `advice` says what to do."""

    what: str
    done: str | None = None
    advice: str | None = None
