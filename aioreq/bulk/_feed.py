"""The items, taken from whatever iterable gives them, a few at a time and never all.

A plain iterable may block (it walks a disk, it reads a pipe): it is advanced in a thread of its own, always the same
one, and only as far as somebody asked. What is in memory already needs no thread, and an async iterable is
awaited in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, Iterable, Iterator, KeysView, ValuesView
from itertools import islice
from typing import Any

from .._source import is_file

# Other collections may be anything behind their faces, a database among them.
_IN_MEMORY = (list, tuple, set, frozenset, dict, deque, KeysView, ValuesView)


class Feed(ABC):
    """Where items come from."""

    @abstractmethod
    async def take(self, most: int) -> list[Any]:
        """At least one item and at most ``most``, or an empty list at the end. Raises what the iterable raised."""

    @abstractmethod
    async def aclose(self) -> None:
        """Take no more; a generator is closed."""


def feed_from(items: Any) -> Feed:
    """The feed for what a caller handed in.

    Raises:
        TypeError: it can't be iterated.
    """
    if isinstance(items, AsyncIterable):
        return _AsyncFeed(items)
    if isinstance(items, _IN_MEMORY):
        return _CollectionFeed(items)
    if isinstance(items, Iterable) and not isinstance(items, (bytes, bytearray, memoryview)) and not is_file(items):
        return _ThreadFeed(items)
    raise TypeError(f"items are an iterable of paths and Uploads, or an async one, not {type(items).__name__}")


class _CollectionFeed(Feed):
    """Items that are in memory already: a list, a tuple, a set."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._iterator = iter(items)

    async def take(self, most: int) -> list[Any]:
        return list(islice(self._iterator, most))

    async def aclose(self) -> None:
        self._iterator = iter(())


class _AsyncFeed(Feed):
    """Items of an async iterable, awaited in a task of its own: what has come is passed on, be it one or many."""

    def __init__(self, items: AsyncIterable[Any]) -> None:
        self._iterator: Any = aiter(items)
        self._ready: deque[Any] = deque()
        self._most = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._awaiting: asyncio.Task[None] | None = None

    async def take(self, most: int) -> list[Any]:
        self._most = most
        self._room.set()
        if self._awaiting is None:
            self._awaiting = asyncio.create_task(self._await(), name="aioreq items")
        while not self._ready and not self._awaiting.done():
            self._news.clear()
            await self._news.wait()
        taken = list(self._ready)
        self._ready.clear()
        if not taken:
            self._awaiting.result()  # raises what the iterable raised
        return taken

    async def _await(self) -> None:
        try:
            async for item in self._iterator:
                self._ready.append(item)
                self._news.set()
                while len(self._ready) >= self._most:
                    self._room.clear()
                    await self._room.wait()
        finally:
            # A task is done only when it has returned, and whoever takes must not look before that.
            asyncio.get_running_loop().call_soon(self._news.set)

    async def aclose(self) -> None:
        if self._awaiting is not None:
            self._awaiting.cancel()
            await asyncio.wait((self._awaiting,))
            if not self._awaiting.cancelled():
                self._awaiting.exception()  # nobody takes it any more
        if hasattr(self._iterator, "aclose"):
            await self._iterator.aclose()


class _ThreadFeed(Feed):
    """Items of a plain iterable, advanced in a thread of its own.

    The thread is a daemon: one that waits for a pipe must not keep the program from ending.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        # All below is shared with the thread, under the lock.
        self._lock = threading.Condition()
        self._ready: deque[Any] = deque()
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._closing = False
        self._advancing = True  # iter() is the iterable's code too
        self._ended = False
        self._thread: threading.Thread | None = None

    async def take(self, most: int) -> list[Any]:
        with self._lock:
            self._wanted = most - len(self._ready)
            self._lock.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="aioreq-items", daemon=True)
            self._thread.start()
        while not self._ready and not self._ended:
            await self._news()
        with self._lock:
            taken = list(self._ready)
            self._ready.clear()
        if not taken and self._error is not None:
            error, self._error = self._error, None
            raise error
        return taken

    async def aclose(self) -> None:
        with self._lock:
            self._closing = True
            self._ready.clear()
            self._lock.notify()
        # A thread that is inside the iterable can't be called back; it closes it as soon as it comes out.
        while self._thread is not None and not self._ended and not self._advancing:
            await self._news()

    async def _news(self) -> None:
        """Wait until the thread has told of something."""
        with self._lock:
            if self._ready or self._ended:
                return
            self._waiter = self._loop.create_future()
        await self._waiter

    def _run(self) -> None:
        try:
            iterator: Any = iter(self._items)
            with contextlib.closing(iterator) if hasattr(iterator, "close") else contextlib.nullcontext():
                self._advance(iterator)
        except BaseException as error:
            self._error = error
        with self._lock:
            self._ended = True
            self._tell()

    def _advance(self, iterator: Iterator[Any]) -> None:
        while self._may_advance():
            try:
                item = next(iterator)
            except StopIteration:
                return
            with self._lock:
                self._advancing = False
                self._ready.append(item)
                self._wanted -= 1
                self._tell()

    def _may_advance(self) -> bool:
        """Wait until an item is wanted; false when none ever will be."""
        with self._lock:
            while self._wanted <= 0 and not self._closing:
                self._lock.wait()
            self._advancing = not self._closing
            return self._advancing

    def _tell(self) -> None:
        """Wake the loop, under the lock; once is enough for all that comes until it looks."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended without waiting for us
                self._loop.call_soon_threadsafe(_wake, waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
