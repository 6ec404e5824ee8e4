"""What tells one upload's bytes from any other's."""

import hashlib
from typing import BinaryIO


def sha256_of(file: BinaryIO) -> str:
    """In hex, of all of it, wherever it stands."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
