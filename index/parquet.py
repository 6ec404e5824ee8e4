"""An export as one Parquet file, for pandas, DuckDB, Spark and the like: a row a window.

    clip, path      of the window's clip: its id, its first file
    seconds         how long the clip is
    start, end      of the window, in seconds
    vector          dim float32, of unit length
    metadata        of the clip, as JSON
    record          in the first row of a clip: its line of `clips.jsonl` (see `transfer`)
    sound           there too, of an upload: its bytes

The schema's metadata hold, under `m2d-clap`, what `export.json` holds.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from m2d_clap.index.errors import LibraryIndexError

_KEY = b"m2d-clap"
_ROWS = 4096  # of a group: what is held in memory

try:
    import pyarrow
    from pyarrow import parquet
except ImportError as error:
    raise LibraryIndexError("Parquet needs its library: pip install 'm2d-clap[parquet]'") from error


class ParquetWriter:
    """A file being written. whole: of `export.json`."""

    def __init__(self, file: Path, whole: Mapping[str, Any]) -> None:
        self._dim = int(whole["dim"])
        text, number = pyarrow.string(), pyarrow.float64()
        columns: dict[str, Any] = {"clip": text, "path": text, "seconds": number}
        columns |= {"start": number, "end": number}
        columns |= {"vector": pyarrow.list_(pyarrow.float32(), self._dim)}
        columns |= {"metadata": text, "record": text, "sound": pyarrow.large_binary()}
        self._schema = pyarrow.schema(columns, metadata={_KEY: json.dumps(whole)})
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []
        self._vectors: list[NDArray[np.float32]] = []

    def put(
        self, record: Mapping[str, Any], vectors: NDArray[np.float32], sound: bytes | None
    ) -> None:
        """record: of a clip; vectors: (windows, dim); sound: of an upload."""
        path = record["files"][0]["path"] if record["files"] else record["upload"]["path"]
        metadata = json.dumps(record["metadata"], ensure_ascii=False)
        first: tuple[Any, Any] = (
            json.dumps(record, ensure_ascii=False),
            sound,
        )
        for start, end in record["windows"]:
            shared = (record["id"], path, record["seconds"], start, end, metadata)
            self._rows.append((*shared, *first))
            first = None, None
        self._vectors.append(vectors)
        if len(self._rows) >= _ROWS or sound is not None:
            self._flush()

    def close(self) -> None:
        """The file is whole when this returns."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        clip, path, seconds, start, end, metadata, record, sound = zip(*self._rows, strict=True)
        flat = pyarrow.array(np.concatenate(self._vectors).astype(np.float32).ravel())
        vector = pyarrow.FixedSizeListArray.from_arrays(flat, self._dim)
        columns = [clip, path, seconds, start, end, vector, metadata, record, sound]
        arrays = [
            column if field.name == "vector" else pyarrow.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._vectors = [], []


def read_whole(file: Path) -> dict[str, Any]:
    """What `export.json` holds. Raises ValueError where the file is none of ours, or OSError."""
    return dict(json.loads(_schema(file).metadata[_KEY]))


def read_clips(
    file: Path,
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32], bytes | None]]:
    """(record, (windows, dim) vectors, an upload's bytes) of every clip. Raises ValueError where rows
    are missing."""
    record: dict[str, Any] | None = None
    sound: bytes | None = None
    vectors: list[NDArray[np.float32]] = []
    with parquet.ParquetFile(file) as opened:
        names = ["vector", "record", "sound"]
        for batch in opened.iter_batches(batch_size=_ROWS, columns=names):
            dim = batch.schema.field("vector").type.list_size
            rows = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            rows = rows.reshape(-1, dim).astype(np.float32)
            told: Sequence[str | None] = batch.column("record").to_pylist()
            starts = [at for at, text in enumerate(told) if text is not None]
            rest = rows[: starts[0] if starts else len(rows)]
            if record is None and len(rest):
                raise ValueError("its first row is of no clip")
            vectors.append(rest)
            for at, end in zip(starts, [*starts[1:], len(rows)], strict=True):
                if record is not None:
                    yield record, np.concatenate(vectors), sound
                record, vectors = json.loads(str(told[at])), [rows[at:end]]
                sound = batch.column("sound")[at].as_py()
    if record is not None:
        yield record, np.concatenate(vectors), sound


def _schema(file: Path) -> Any:
    try:
        schema = parquet.read_schema(file)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(str(error)) from error
    if schema.metadata is None or _KEY not in schema.metadata:
        raise ValueError("it is a Parquet file of another program")
    return schema
