"""Reading and writing in threads of their own, while the command's main thread computes."""

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
"""The most items that are read ahead, or wait to be written."""


def ahead(items: Iterator[Item]) -> Generator[Item]:
    """Yield `items`, which another thread takes a few ahead.

    Errors of `items` are raised in their place. Closing this generator ends the thread.
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
    """Yield a function that runs work on another thread, in order, and blocks only if that falls behind.

    After an error of the work, no more is done; the error is raised by a later call or at the end of the block. At that
    end all work is done, also after an error of the block, and the thread has ended. Only an interrupted block cancels
    work that has not begun.
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
        except Exception:  # what was read before the error is still written; Ctrl-C does not wait for it
            finish()
            raise
        else:
            finish()
        finally:
            _cancel(waiting)


def at_once(work: Work) -> None:
    """Run work on this thread, in place of the function that `behind` yields."""
    work()


def _after(before: Future[None] | None, work: Work) -> None:
    if before is not None:
        before.result()  # raises its error here too
    work()


def _cancel(futures: deque[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
