"""Tables that are written one after the other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rgru.cli.columnar import open_output
from rgru.cli.errors import explained
from rgru.cli.files import STANDARD

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import pyarrow as pa

    Write: TypeAlias = Callable[[pa.RecordBatch], None]


class Outputs:
    """Writes a table and then the next one; each appears at its end. One that has not come to its end vanishes.

    Errors may come from the end of the block as well. They are CommandError, with the path, where the table cannot be
    written.
    """

    def __init__(self) -> None:
        self._begun = ExitStack()
        self._write: Write | None = None

    def __enter__(self) -> Outputs:
        return self

    def write(self, path: str, schema: pa.Schema, batch: pa.RecordBatch) -> None:
        """Write a batch of the table that is begun, or is to begin with it."""
        self._writing(path, schema)(batch)

    def end(self, path: str, schema: pa.Schema) -> None:
        """End the table, which has no rows if none was written."""
        self._writing(path, schema)
        self._write = None
        self._begun.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._begun.__exit__(kind, error, trace)

    def _writing(self, path: str, schema: pa.Schema) -> Write:
        if self._write is None:
            self._begun.enter_context(explained("stdout" if path == STANDARD else path))
            Path(path).parent.mkdir(parents=True, exist_ok=True)  # a subfolder of a job over a folder
            self._write = self._begun.enter_context(open_output(path, schema))
        return self._write
