"""Where an index on Milvus is.

milvus://HOST:PORT/NAME                a service (standalone or cluster), the collection NAME
milvus+tls://USER:PASSWORD@HOST/NAME   the same through TLS, with an account
milvus://HOST/NAME?folder=FOLDER       with the writer's folder, else ./NAME.index
milvus:FOLDER, milvus:///FOLDER        milvus-lite in a folder, for tests and small libraries
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from m2d_clap.index.accounts import without_account
from m2d_clap.index.errors import LibraryIndexError

SCHEMES = ("milvus", "milvus+tls")
PORT = 19530
_LITE_FILE, _LITE_NAME = "milvus.db", "clips"
_NAME = re.compile(r"[A-Za-z_]\w{0,200}", re.ASCII)


@dataclass(frozen=True)
class Address:
    """uri and token: for pymilvus; collection: its name; folder: of the writer; text: to be shown,
    without a password; lite: the file of the embedded one."""

    uri: str
    token: str
    collection: str
    folder: Path
    text: str
    lite: Path | None = None


def parse(text: str) -> Address:
    """Raises LibraryIndexError where it is none."""
    try:
        parts = urlsplit(text)
        port = parts.port or PORT
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:  # its words may hold the password
        reason = "no host, port and options can be read in it; write / in a password as %2F"
        raise _unreadable(text, reason) from None
    if not parts.netloc:
        if parts.scheme != "milvus" or not parts.path or options:
            raise _unreadable(text, "name a host and a collection, or a folder")
        folder = Path(unquote(parts.path))
        lite = folder / _LITE_FILE
        return Address(str(lite), "", _LITE_NAME, folder, text, lite)
    name = parts.path.strip("/")
    if not _NAME.fullmatch(name):
        raise _unreadable(text, "a collection's name is of letters, digits and _")
    if unknown := options.keys() - {"folder"}:
        raise _unreadable(text, f"{min(unknown)} is unknown there")
    folder = Path(options["folder"][-1]) if options else Path(f"{name}.index")
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    token = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    scheme = "https" if parts.scheme.endswith("tls") else "http"
    shown = f"{parts.scheme}://{host}:{port}/{name}" + (f"?{parts.query}" if options else "")
    return Address(f"{scheme}://{host}:{port}", token, name, folder, shown)


def _unreadable(text: str, reason: str) -> LibraryIndexError:
    return LibraryIndexError(
        f"{without_account(text)} is no address of an index ({reason}): give milvus://HOST:PORT/NAME or milvus:FOLDER"
    )
