"""Tables of any size, read batch by batch: Parquet, Arrow IPC file, Arrow IPC stream."""

from __future__ import annotations

import mmap
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgru._cli.errors import CommandError, explained
from rgru._cli.files import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

IPC_ENDINGS = (".arrow", ".feather", ".ipc")
"""The endings of Arrow IPC files."""

ENDINGS = (".parquet", *IPC_ENDINGS)
"""The endings of the files in a folder that are read as tables."""

_BATCH_BYTES, _BATCH_ROWS = 2**23, 2**13


@dataclass(frozen=True)
class Table:
    """A table that is read batch by batch.

    Attributes
    ----------
    name : str
        The name for error messages.
    schema : pyarrow.Schema
    num_rows : int or None
        None if it is unknown before the table has been read.
    batches : callable
        ``batches(columns)`` yields the batches in order, with these columns in the schema's order, or all for None.
        A batch has at most 8192 rows and, unless single rows are huge, about a dozen megabytes.
    """

    name: str
    schema: pa.Schema
    num_rows: int | None
    batches: Callable[[list[str] | None], Iterator[pa.RecordBatch]]


@contextmanager
def open_table(path: str) -> Iterator[Table]:
    """Open a table to read: "-" for an Arrow IPC stream on stdin, else a file, whose first bytes determine its format.

    Raises
    ------
    CommandError
        If it cannot be read, or has no known format; raised here or while reading.
    """
    name = "stdin" if path == STANDARD else path
    if path == STANDARD and sys.stdin is None:
        raise CommandError("'-' reads an Arrow IPC stream from stdin, but stdin is closed")
    if path == STANDARD and sys.stdin.isatty():
        raise CommandError("'-' reads an Arrow IPC stream from stdin, but stdin is a terminal")
    with ExitStack() as stack:
        with explained(name):
            schema, num_rows, batches = _open(path, stack)
            twice = {column for column in schema.names if schema.names.count(column) > 1}
            if twice:
                raise CommandError(f"{name}: expected distinct column names, got {', '.join(sorted(twice))} twice")

        def checked(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
            with explained(name):
                yield from batches(columns)

        yield Table(name, schema, num_rows, checked)


def _open(path: str, stack: ExitStack) -> tuple[pa.Schema, int | None, Callable[..., Iterator[pa.RecordBatch]]]:
    import pyarrow as pa

    if path == STANDARD:
        return _from_stream(stack.enter_context(pa.ipc.open_stream(sys.stdin.buffer)))
    if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
        raise ValueError("expected a file (or - for a stream on stdin), got a pipe or a device")
    with Path(path).open("rb") as file:
        start = file.read(6)
    if start[:4] == b"PAR1":
        import pyarrow.parquet as pq

        # pre_buffer would keep all row groups in memory; buffer_size makes the reader read page by page.
        options = {"pre_buffer": False, "buffer_size": 2**20, "page_checksum_verification": True}
        return _from_parquet(stack.enter_context(pq.ParquetFile(path, **options)))
    if start == b"ARROW1":
        source, release = _mapped(path)
        return _from_ipc_file(stack.enter_context(pa.ipc.open_file(source)), release)
    if start[:4] == b"\xff\xff\xff\xff":
        return _from_stream(stack.enter_context(pa.ipc.open_stream(stack.enter_context(pa.OSFile(path)))))
    raise ValueError("neither Parquet nor Arrow IPC")


def _from_parquet(file: Any) -> tuple[pa.Schema, int, Callable[..., Iterator[pa.RecordBatch]]]:
    metadata = file.metadata

    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        rows = _rows_per_batch(_decoded_bytes(metadata, columns), metadata.num_rows)
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            yield from _cut(batch)

    return file.schema_arrow, metadata.num_rows, batches


_WIDTHS = {"INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""The bytes per number of Parquet's physical types."""


def _decoded_bytes(metadata: Any, columns: list[str] | None) -> int:
    """Estimate the decoded size of a Parquet file's columns; encoded, repeated numbers take nearly nothing."""
    total = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for k in range(group.num_columns):
            chunk = group.column(k)
            path = f"{chunk.path_in_schema}."
            if columns is None or any(path.startswith(f"{name}.") for name in columns):
                numbers = chunk.num_values * _WIDTHS.get(chunk.physical_type, 0)
                total += max(numbers, chunk.total_uncompressed_size)
    return total


def _mapped(path: str) -> tuple[pa.Buffer, Callable[[], None]]:
    """Map a file into memory; return it as a buffer, with a function that frees the pages read so far.

    A batch of an IPC file may be as large as the file (Polars writes such), too large to be read at once.
    """
    import pyarrow as pa

    with Path(path).open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows, which manages this by itself
            pages.madvise(mmap.MADV_DONTNEED)

    return pa.py_buffer(pages), release


def _from_ipc_file(
    reader: Any, release: Callable[[], None]
) -> tuple[pa.Schema, int | None, Callable[..., Iterator[pa.RecordBatch]]]:
    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        held = 0
        for i in range(reader.num_record_batches):
            for part in _cut(_select(reader.get_batch(i), columns)):
                yield part
                held += part.nbytes
                if held >= _BATCH_BYTES:
                    release()
                    held = 0

    # Older pyarrow cannot count rows without decompressing everything.
    return reader.schema, reader.count_rows() if hasattr(reader, "count_rows") else None, batches


def _from_stream(reader: Any) -> tuple[pa.Schema, None, Callable[..., Iterator[pa.RecordBatch]]]:
    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield from _cut(_select(batch, columns))

    return reader.schema, None, batches


def _select(batch: pa.RecordBatch, columns: list[str] | None) -> pa.RecordBatch:
    """Select columns of an IPC batch and validate them: pyarrow would follow the offsets of a damaged file anywhere."""
    chosen = batch if columns is None else batch.select([name for name in batch.schema.names if name in columns])
    chosen.validate(full=True)
    return chosen


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows <= _BATCH_ROWS and batch.nbytes <= 1.5 * _BATCH_BYTES:  # 1.5: avoids a small remainder
        yield batch
        return
    rows = _rows_per_batch(batch.nbytes, batch.num_rows)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _rows_per_batch(num_bytes: int, num_rows: int) -> int:
    return min(_BATCH_ROWS, max(1, _BATCH_BYTES * num_rows // max(num_bytes, 1)))
