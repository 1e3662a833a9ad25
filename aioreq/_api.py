"""The module-level verbs: ``await aioreq.get(...)``, over one session for each running loop.

The session is made at the first call and closed with the loop: ``asyncio.run`` (and every runner that calls
``loop.shutdown_asyncgens``) closes the async generators that were begun in the loop, and the session lives in one.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from ._message import Request, Response
from ._session import Session

_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = weakref.WeakKeyDictionary()


class _Shared:
    """The session of one loop, and the generator that closes it."""

    def __init__(self, session: Session, life: AsyncGenerator[None, None]) -> None:
        self.session = session
        self.life = life


async def _life(session: Session) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        loop = asyncio.get_running_loop()
        if (shared := _shared.get(loop)) is not None and shared.session is session:
            del _shared[loop]  # the session knows its loop, and would keep it for ever
        await session.aclose()


async def shared_session() -> Session:
    """The running loop's session."""
    loop = asyncio.get_running_loop()
    shared = _shared.get(loop)
    if shared is None or shared.session.closed:
        session = Session()
        life = _life(session)
        await anext(life)  # from here on the loop knows the generator, and closes it at its end
        shared = _shared[loop] = _Shared(session, life)
    return shared.session


async def request(method: str, url: str, **options: Any) -> Response:
    """Send a request and read the answer; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).request(method, url, **options)


async def get(url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any) -> Response:
    """GET; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).get(url, params, headers, auth, **options)


async def head(url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any) -> Response:
    """HEAD; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).head(url, params, headers, auth, **options)


async def post(
    url: str, data: Any = None, headers: Any = None, files: Any = None, auth: Any = None, **options: Any
) -> Response:
    """POST; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).post(url, data, headers, files, auth, **options)


async def put(
    url: str, data: Any = None, headers: Any = None, files: Any = None, auth: Any = None, **options: Any
) -> Response:
    """PUT; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).put(url, data, headers, files, auth, **options)


async def patch(
    url: str, data: Any = None, headers: Any = None, files: Any = None, auth: Any = None, **options: Any
) -> Response:
    """PATCH; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).patch(url, data, headers, files, auth, **options)


async def delete(url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any) -> Response:
    """DELETE; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).delete(url, params, headers, auth, **options)


async def options(url: str, params: Any = None, headers: Any = None, auth: Any = None, **options: Any) -> Response:
    """OPTIONS; see :meth:`aioreq.Session.request`."""
    return await (await shared_session()).options(url, params, headers, auth, **options)


@contextlib.asynccontextmanager
async def stream(method: str, url: str, **options: Any) -> AsyncIterator[Response]:
    """``async with aioreq.stream("GET", url) as response:``; see :meth:`aioreq.Session.stream`."""
    async with (await shared_session()).stream(method, url, **options) as response:
        yield response


async def _send(request: Request) -> Response:
    return await (await shared_session()).send(request)


Request._sender = staticmethod(_send)  # noqa: SLF001 - a request can't know the session's room
