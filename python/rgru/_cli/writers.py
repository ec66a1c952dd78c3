"""Tables of any size, written batch by batch, one after the other: Parquet, Arrow IPC file or stream, CSV."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rgru._cli.dictionaries import Dictionaries, wide_codes
from rgru._cli.errors import explained
from rgru._cli.files import STANDARD
from rgru._cli.readers import IPC_ENDINGS
from rgru._data.string_views import plain_type
from rgru._files.atomic_write import sync_names, whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import pyarrow as pa

    Write: TypeAlias = Callable[[pa.RecordBatch], None]

ENDINGS = ("", ".parquet", *IPC_ENDINGS, ".csv")
"""The endings of files that can be written."""

_BATCH_BYTES = 2**23
_ROW_GROUP_BYTES, _ROW_GROUP_ROWS = 2**26, 2**17
_CSV_ROWS = 2**12
"""Rows converted at a time, since the values of a dictionary column may be far larger than its codes."""


def is_csv(path: str) -> bool:
    """Return whether an output is to be a CSV file."""
    return path != STANDARD and Path(path).suffix.lower() == ".csv"


class Outputs:
    """Output tables, written one after the other; each appears when it is complete, or not at all.

    Their names are synced together at the end of the block: syncing them one by one would take as long as writing many
    small files, and a file whose name is lost in a power cut merely counts as not written.

    The end of the block, too, may raise errors. They are CommandError, with the path, if a table cannot be written.
    """

    def __init__(self) -> None:
        self._begun = ExitStack()
        self._write: Write | None = None
        self._folders: set[Path] = set()

    def __enter__(self) -> Outputs:
        return self

    def write(self, path: str, schema: pa.Schema, batch: pa.RecordBatch) -> None:
        """Write a batch of the current table, or begin a table with it."""
        self._writing(path, schema)(batch)

    def end(self, path: str, schema: pa.Schema) -> None:
        """Complete the current table; it is empty if no batch was written."""
        self._writing(path, schema)
        self._write = None
        self._begun.close()

    def drop(self) -> None:
        """Discard the current table, if there is one."""
        self._write = None
        with suppress(_DroppedError), self._begun:
            raise _DroppedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._begun.__exit__(kind, error, trace)
        finally:
            for folder in self._folders:
                with explained(str(folder)):
                    sync_names(folder)

    def _writing(self, path: str, schema: pa.Schema) -> Write:
        if self._write is None:
            self._begun.enter_context(explained("stdout" if path == STANDARD else path))
            Path(path).parent.mkdir(parents=True, exist_ok=True)  # for a subfolder, in a job over a folder
            self._write = self._begun.enter_context(open_output(path, schema, self._folders.add))
        return self._write


class _DroppedError(Exception):
    """Raised to discard a table that has been begun."""


@contextmanager
def open_output(path: str, schema: pa.Schema, named: Callable[[Path], object]) -> Iterator[Write]:
    """Open a table to write; yield the function that writes a batch.

    "-" writes an Arrow IPC stream to stdout, an ending ``.arrow``, ``.feather`` or ``.ipc`` an Arrow IPC file, ``.csv``
    a CSV file, in which dictionary columns become plain ones, ``.parquet`` or no ending a Parquet file. If a column's
    dictionaries differ between batches, an IPC file extends the first one by deltas, which not every library reads
    (Polars does not). If the block ends without an error, the file appears, complete, and `named` is called with its
    folder; otherwise no file appears, and a stream is left without its end mark.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If it cannot be written.
    """
    import pyarrow as pa

    if path == STANDARD:
        # With PYTHONUNBUFFERED it is a raw file, whose partial writes, as after a signal, pyarrow does not notice.
        raw = sys.stdout.buffer
        sink: Any = os.fdopen(raw.fileno(), "wb", closefd=False) if isinstance(raw, io.RawIOBase) else raw
        stream = pa.ipc.new_stream(sink, schema)
        yield stream.write_batch
        stream.close()
        sink.flush()
        return
    with whole_file(path, named) as draft:
        if is_csv(path):
            from pyarrow import csv

            # Without string views, also in dictionaries; then without dictionaries: Arrow has no single cast for both.
            unviewed = pa.schema([field.with_type(plain_type(field.type)) for field in schema])
            plain = pa.schema([_without_dictionary(field) for field in unviewed])
            with pa.OSFile(str(draft), "wb") as file, csv.CSVWriter(file, plain) as writer:

                def write(batch: pa.RecordBatch) -> None:
                    for first in range(0, batch.num_rows, _CSV_ROWS):
                        writer.write_batch(batch.slice(first, _CSV_ROWS).cast(unviewed).cast(plain))

                yield write
        elif Path(path).suffix.lower() in IPC_ENDINGS:
            dictionaries = Dictionaries(schema)
            options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
            with (
                pa.OSFile(str(draft), "wb") as file,
                pa.ipc.new_file(file, dictionaries.schema, options=options) as writer,
            ):
                yield lambda batch: writer.write_batch(dictionaries.unified(batch))
        else:
            import pyarrow.parquet as pq

            plain = pa.schema([_for_parquet(field) for field in schema], schema.metadata)
            with pa.OSFile(str(draft), "wb") as file, ExitStack() as writer:

                def begin(num_bytes: int) -> Any:
                    # A dictionary beyond an eighth of the data means that values hardly repeat; building it takes space
                    # and as long as all the rest. For 8 MB this equals the default, which suits large row groups.
                    limit = min(2**20, max(1, num_bytes // 8))
                    options = {"write_page_checksum": True, "dictionary_pagesize_limit": limit}
                    return writer.enter_context(pq.ParquetWriter(file, plain, **options))

                groups = _RowGroups(begin)
                yield groups.add if plain == schema else lambda batch: groups.add(batch.cast(plain))
                groups.flush()


def _for_parquet(field: pa.Field) -> pa.Field:
    """Return a field that pyarrow can write to Parquet and read again, whatever dictionaries the batches have."""
    import pyarrow as pa

    kind = plain_type(field.type) if pa.types.is_dictionary(field.type) else field.type
    return field.with_type(wide_codes(kind))


class _RowGroups:
    """A buffer that gathers batches to row groups of a good size: readers are slow on many small ones.

    The writer is opened with the size of the first row group in bytes.
    """

    def __init__(self, begin: Callable[[int], Any]) -> None:
        self._begin = begin
        self._writer: Any = None
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _ROW_GROUP_ROWS or self._bytes >= _ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._writer = self._begin(self._bytes)
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches), row_group_size=self._rows)
            self._batches, self._rows, self._bytes = [], 0, 0


def _without_dictionary(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
