"""Reading and writing in threads of their own, while the command's own thread computes."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

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
def behind(work: Callable[[Item], object]) -> Iterator[Callable[[Item], None]]:
    """Give a function that lets another thread do `work` on its argument, in order, and waits only if it falls behind.

    Errors of `work` come from a later call or at the end of the block. Then the thread has ended and, but for an error
    there or in the block, all work is done.
    """
    with ThreadPoolExecutor(1, "rgru-writer") as thread:
        waiting: deque[Future[object]] = deque()

        def put(item: Item) -> None:
            waiting.append(thread.submit(work, item))
            if len(waiting) > _DEPTH:
                waiting.popleft().result()

        try:
            yield put
            while waiting:
                waiting.popleft().result()
        finally:
            _cancel(waiting)


def _cancel(futures: deque[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
