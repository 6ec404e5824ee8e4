"""API keys: shown once, kept as salted hashes, checked in constant time.

A key is `m2d_ID_SECRET`. The secret has 256 random bits, so that one salted SHA-256 is enough: there
is nothing to guess. The file is JSON, readable by its owner alone.
"""

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from m2d_clap.model.files import to_disk
from m2d_clap.service import logs
from m2d_clap.service.errors import ServiceError

Scope = Literal["read", "write"]
_LOG = logs.logger(__name__)
_NOBODY = ("0" * 32, "0" * 64)  # checked where no key has the id, so that it takes as long


class KeysError(ServiceError):
    """A file of keys that cannot be read or written, or a key that is not there."""


@dataclass(frozen=True)
class Key:
    """What is kept of a key."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    salt: str
    hash: str
    created: str


class KeyFile:
    """The keys of one file; read again whenever the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[Any, dict[str, Key]] = (None, {})
        self._unread = False

    def all(self) -> list[Key]:
        """Every key, oldest first. Raises KeysError where the file is damaged or not there."""
        return list(self._keys().values())

    def find(self, shown: str) -> Key | None:
        """The key that somebody shows; None where there is no such key."""
        _, _, rest = shown.partition("_")
        identity, _, secret = rest.partition("_")
        key = self._known().get(identity)
        salt, expected = (key.salt, key.hash) if key else _NOBODY
        right = hmac.compare_digest(_hash(salt, secret), expected)
        return key if right and shown.startswith("m2d_") else None

    def add(self, name: str, scopes: tuple[Scope, ...]) -> str:
        """A new key, which cannot be shown again."""
        if not scopes or not set(scopes) <= set(get_args(Scope)):
            raise KeysError("a key's scopes are read, write or both")
        keys = self._keys() if self._path.exists() else {}
        identity, secret, salt = (secrets.token_hex(n) for n in (6, 32, 16))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        key = Key(identity, name, scopes, salt, _hash(salt, secret), now)
        self._write([*keys.values(), key])
        return f"m2d_{identity}_{secret}"

    def revoke(self, identity: str) -> None:
        """Raises KeysError where no key has this id."""
        keys = self._keys()
        if identity not in keys:
            raise KeysError(f"no key has the id {identity!r}; `m2d-clap keys list` shows all")
        self._write([key for key in keys.values() if key.id != identity])

    def _keys(self) -> dict[str, Key]:
        try:
            state = self._path.stat()
            stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
            if stamp != self._read[0]:
                rows = json.loads(self._path.read_text(encoding="utf-8"))["keys"]
                keys = [Key(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
                self._read = (stamp, {key.id: key for key in keys})
        except FileNotFoundError as error:
            raise KeysError(
                f"there is no file of keys at {self._path}; make one with: m2d-clap keys add NAME"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KeysError(f"the file of keys {self._path} cannot be read: {error}") from error
        return self._read[1]

    def _known(self) -> dict[str, Key]:
        """Those read last, where the file is there and cannot be read now: half written, or another
        user's. Nobody is shut out for that."""
        try:
            keys = self._keys()
        except KeysError as error:
            if not (self._read[1] and self._path.exists()):
                raise
            if not self._unread:
                _LOG.error("keys_unreadable", reason=str(error))
            self._unread = True
            return self._read[1]
        self._unread = False
        return keys

    def _write(self, keys: list[Key]) -> None:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, aside = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=folder)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump({"keys": [asdict(key) for key in keys]}, file, indent=2)
                to_disk(Path(aside))
                self._as_before(Path(aside))
                Path(aside).replace(self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(aside).unlink()
                raise
        except OSError as error:
            raise KeysError(f"{self._path} cannot be written: {error.strerror}") from error

    def _as_before(self, aside: Path) -> None:
        """Owner and mode of the file that is replaced, so that the service can still read it."""
        with contextlib.suppress(OSError):
            before = self._path.stat()
            os.chown(aside, before.st_uid, before.st_gid)
            aside.chmod(stat.S_IMODE(before.st_mode))


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()
