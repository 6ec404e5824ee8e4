"""One collection of Milvus: a row a window, and one row that tells what all of them were made from.

Everything that a hit shows and a filter asks for lies in each row, so that one search is one question.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.clips import Clip
from m2d_clap.index.errors import IndexUnreachableError, LibraryIndexError
from m2d_clap.index.milvus.address import Address
from m2d_clap.index.milvus.expressions import fields, one_of, quoted
from m2d_clap.index.windows import Embedded

MOST = 16384
"""Rows that Milvus gives for one search, at most."""
_ROWS_AT_ONCE = 1000
_CLIPS_AT_ONCE = 500
_ORIGIN = "origin"

try:
    import grpc
    from pymilvus import DataType, MilvusClient, MilvusException
except ImportError as error:
    raise LibraryIndexError(
        "an index on Milvus needs its client: pip install 'm2d-clap[milvus]'"
    ) from error

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # what it logs it raises too


@lru_cache(maxsize=8)
def _client(uri: str, token: str) -> Any:
    return MilvusClient(uri, token=token)


class Collection:
    """Rows by clip. Everything raises IndexUnreachableError where Milvus refuses or does not answer.

    What was written is seen by every later read, of any client: consistency is strong.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._name = address.collection
        if address.lite is not None:
            address.folder.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._client = _client(address.uri, address.token)

    def there(self) -> bool:
        with self._explained():
            return bool(self._client.has_collection(self._name))

    def load(self) -> None:
        """Makes what is there ready to be searched."""
        with self._explained():
            self._client.load_collection(self._name)

    def create(self, dim: int, kind: str) -> None:
        """kind: of Milvus' index over the vectors, FLAT or AUTOINDEX."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.VARCHAR, is_primary=True, max_length=96)
        schema.add_field("clip", DataType.VARCHAR, max_length=64)
        schema.add_field("position", DataType.INT64)
        for name in ("start", "end", "seconds"):
            schema.add_field(name, DataType.DOUBLE)
        for name in ("files", "numbers", "texts", "facts"):
            schema.add_field(name, DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
        index = MilvusClient.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type="IP")
        given = {"schema": schema, "index_params": index, "consistency_level": "Strong"}
        with self._explained():
            self._client.create_collection(self._name, **given)

    def drop(self) -> None:
        with self._explained():
            self._client.drop_collection(self._name)

    def put(self, clips: Iterable[tuple[Clip, Sequence[Embedded]]]) -> None:
        """In place of what is there of these clips, window by window: see `_rows`."""
        pending: list[dict[str, Any]] = []
        for clip, windows in clips:
            pending.extend(_rows(clip, windows))
            while len(pending) >= _ROWS_AT_ONCE:
                self._upsert(pending[:_ROWS_AT_ONCE])
                pending = pending[_ROWS_AT_ONCE:]
        if pending:
            self._upsert(pending)

    def delete(self, clips: Sequence[str]) -> None:
        for at in range(0, len(clips), _CLIPS_AT_ONCE):
            with self._explained():
                gone = one_of("clip", clips[at : at + _CLIPS_AT_ONCE])
                self._client.delete(self._name, filter=gone)

    def note(self, state: Mapping[str, Any], dim: int) -> None:
        """Keeps what `state` gives. The last thing that is written of any change."""
        nowhere = {"position": -1, "start": 0.0, "end": 0.0, "seconds": 0.0, "clip": ""}
        empty: dict[str, Any] = {"files": {}, "numbers": {}, "texts": {}, "vector": [0.0] * dim}
        self._upsert([{"row": _ORIGIN, **nowhere, **empty, "facts": dict(state)}])
        with self._explained():
            self._client.flush(self._name)

    def state(self) -> dict[str, Any] | None:
        """None where nothing was ever finished."""
        found = self.query(f"row == {quoted(_ORIGIN)}", ["facts"], 1)
        return dict(_json(found[0]["facts"])) if found else None

    def query(self, where: str, names: Sequence[str], most: int = MOST) -> list[dict[str, Any]]:
        with self._explained():
            return list(
                self._client.query(self._name, filter=where, output_fields=[*names], limit=most)
            )

    def all(self, where: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """As `query`, however many there are."""
        with self._explained():
            parts = self._client.query_iterator(
                self._name, filter=where, output_fields=[*names], batch_size=_ROWS_AT_ONCE
            )
            try:
                while part := parts.next():
                    yield from part
            finally:
                parts.close()

    def count(self, where: str) -> int:
        with self._explained():
            found = self._client.query(self._name, filter=where, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def nearest(
        self, query: NDArray[np.float32], most: int, where: str
    ) -> list[tuple[float, dict[str, Any]]]:
        """(inner product, clip, position, start, end, facts) of at most MOST rows, best first."""
        with self._explained():
            found = self._client.search(
                self._name,
                data=[query.tolist()],
                anns_field="vector",
                limit=most,
                filter=where,
                output_fields=["clip", "position", "start", "end", "facts"],
                search_params={"metric_type": "IP"},
            )
        return [(float(np.float32(hit["distance"])), hit["entity"]) for hit in found[0]]

    def vectors(self, rows: Sequence[tuple[str, int]]) -> NDArray[np.float32]:
        """(rows, dim) of (clip, position)."""
        keys = [_key(clip, position) for clip, position in rows]
        found: dict[str, Any] = {}
        for at in range(0, len(keys), _ROWS_AT_ONCE):
            wanted = one_of("row", dict.fromkeys(keys[at : at + _ROWS_AT_ONCE]))
            found |= {row["row"]: row["vector"] for row in self.query(wanted, ["row", "vector"])}
        try:
            return np.array([found[key] for key in keys], np.float32).reshape(len(keys), -1)
        except KeyError as error:
            raise LibraryIndexError(f"{error} was deleted just now: ask again") from error

    def _upsert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._explained():
            self._client.upsert(self._name, data=[*rows])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (MilvusException, grpc.RpcError) as error:
            reason = getattr(error, "message", None) or str(error)
            raise IndexUnreachableError(
                f"Milvus at {self.address.text} does not answer, or refuses: {reason}"
            ) from error


def clip_of(facts: Any) -> Clip:
    """Of a row's `facts`."""
    told = _json(facts)
    paths, metadata = tuple(told["paths"]), told["metadata"]
    return Clip(told["id"], told["seconds"], paths, metadata, told["stored"])


def facts_of(clip: Clip, windows: int) -> dict[str, Any]:
    """What `clip_of` reads, and how many windows there are."""
    told = vars(clip) | {"paths": [*clip.paths], "metadata": dict(clip.metadata)}
    return {**told, "windows": windows}


def _rows(clip: Clip, windows: Sequence[Embedded]) -> Iterator[dict[str, Any]]:
    """The first window last: where it is there as it should be, all the others are."""
    shared = {**fields(clip), "facts": facts_of(clip, len(windows))}
    for position, window in reversed([*enumerate(windows)]):
        place = {"row": _key(clip.id, position), "position": position}
        yield {
            **shared,
            **place,
            "start": float(window.start),
            "end": float(window.end),
            "vector": window.vector.astype(np.float32).tolist(),
        }


def _key(clip: str, position: int) -> str:
    return f"{clip}-{position}"


def _json(value: Any) -> Any:
    """Some releases of the client give JSON as text."""
    return json.loads(value) if isinstance(value, str | bytes) else value
