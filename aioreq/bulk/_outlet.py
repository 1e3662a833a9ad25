"""The way out: results as they land, no further ahead of the caller than he lets them be."""

from __future__ import annotations

import asyncio
from collections import deque

from ._item import UploadResult


class Outlet:
    """Passes results on in the order in which they are brought; who brings one too many waits until it is not."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._results: deque[UploadResult] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._news = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    def put(self, result: UploadResult) -> None:
        """Bring a result: its place is that of its arrival."""
        self._results.append(result)
        self._news.set()

    @property
    def is_full(self) -> bool:
        """Whether it holds one too many, so that :meth:`room` is to be waited for."""
        return len(self._results) > self._size

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def end(self, error: BaseException | None = None) -> None:
        """No more results will come; ``error`` is raised behind the last one. The first end counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._news.set()

    async def get(self) -> UploadResult | None:
        """The next result, or None at the end. Raises what the run ended with."""
        while not self._results:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._news.clear()
            await self._news.wait()
        result = self._results.popleft()
        self._room.set()
        return result
