"""Work beside the main thread: items made ahead of it, calls made behind it; one thread each, so in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar, cast

Item = TypeVar("Item")
Call = Callable[..., None]

_END = object()


@contextmanager
def ahead(items: Iterable[Item], *, threaded: bool, size: int = 2) -> Iterator[Iterator[Item]]:
    """While open, `items`, in their order, up to `size` of them made before they are wanted.

    What making one raises is raised, with its traceback, where that one is wanted. On leaving, however the block
    ends, what is being made is waited for and nothing more is made. Not `threaded`, each is made when it is wanted.

    >>> with ahead(map(read, paths), threaded=True) as tables:
    ...     for table in tables: ...
    """
    source = iter(items)
    if not threaded:
        yield source
        return
    with _one_thread() as pool:
        yield _made_ahead(source, pool, size)


def _made_ahead(source: Iterator[Item], pool: ThreadPoolExecutor, size: int) -> Iterator[Item]:
    making = deque(pool.submit(next, source, _END) for _ in range(size))
    while (item := making.popleft().result()) is not _END:
        making.append(pool.submit(next, source, _END))
        yield cast(Item, item)


@contextmanager
def behind(*, threaded: bool, size: int = 2) -> Iterator[Call]:
    """While open, `call(function, *arguments)` has the function called, after all before it, and does not wait for it.

    Up to `size` calls wait or run; one more waits for the oldest. Leaving the block waits for all. What a call raises
    is raised, with its traceback, by one of the next or on leaving, and no call after it is begun. If the block
    raises, calls not yet begun are dropped. Not `threaded`, each is made at once.

    >>> with TableWriter(path, schema) as writer, behind(threaded=True) as call:
    ...     for rows in tables:
    ...         call(writer.write, rows)
    """
    if not threaded:
        yield lambda function, *arguments: function(*arguments)
        return
    with _one_thread() as pool:
        line = _Line(pool, size)
        yield line.call
        line.wait(0)


class _Line:
    """Calls that wait for their turn."""

    def __init__(self, pool: ThreadPoolExecutor, size: int) -> None:
        self._pool, self._size = pool, size
        self._calls: deque[Future[None]] = deque()
        self._broken = False

    def call(self, function: Call, *arguments: Any) -> None:
        self._calls.append(self._pool.submit(self._run, function, arguments))
        self.wait(self._size)

    def wait(self, most: int) -> None:
        """Until at most so many calls are left."""
        while len(self._calls) > most or (self._calls and self._calls[0].done()):
            self._calls.popleft().result()

    def _run(self, function: Call, arguments: tuple[Any, ...]) -> None:
        if self._broken:  # an earlier call's error is about to be raised
            return
        try:
            function(*arguments)
        except BaseException:
            self._broken = True
            raise


@contextmanager
def _one_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread that is gone after the block; what it has not begun by the end of a block is dropped."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
