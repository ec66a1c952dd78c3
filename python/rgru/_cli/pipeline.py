"""Reading and writing in threads of their own, while the command's own thread computes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    Work: TypeAlias = Callable[[], object]

Item = TypeVar("Item")

_DEPTH = 2
"""Items that are ready at most, or wait to be written."""


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """Give `items`, which another thread takes a few ahead.

    Errors of `items` come in their place. When this generator is closed the thread has ended.
    """
    end: Any = object()
    with ThreadPoolExecutor(1, "rgru-reader") as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(_DEPTH))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, items, end))
                yield item
        finally:
            _cancel(coming)


@contextmanager
def behind() -> Iterator[Callable[[Work], None]]:
    """Give a function that lets another thread do work, in order, and waits only if it falls behind.

    After an error of the work nothing more is done; the error comes from a later call or at the end of the block. There
    the thread has ended, and all work is done, be it after an error of the block; only an interrupted block leaves
    undone what has not begun.
    """
    with ThreadPoolExecutor(1, "rgru-writer") as thread:
        waiting: deque[Future[None]] = deque()

        def put(work: Work) -> None:
            waiting.append(thread.submit(_after, waiting[-1] if waiting else None, work))
            if len(waiting) > _DEPTH:
                waiting.popleft().result()

        def finish() -> None:
            while waiting:
                waiting.popleft().result()

        try:
            yield put
        except Exception:
            finish()
            raise
        else:
            finish()
        finally:
            _cancel(waiting)


def at_once(work: Work) -> None:
    """Do work where `behind` would let it be done."""
    work()


def _after(before: Future[None] | None, work: Work) -> None:
    if before is not None:
        before.result()  # its error becomes this one's
    work()


def _cancel(futures: deque[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
