"""The echo contract as an app of aiohttp.web, and aiohttp's server to serve it.

python -m tests.servers.aiohttp_echo PLAIN_LISTENING_FD TLS_LISTENING_FD PEM
"""

import asyncio
import socket
import ssl
import sys
from typing import Any

from aiohttp import BodyPartReader, web

from .contract import CHUNK, METHODS, Digest, pattern


async def echo(request: web.Request) -> web.Response:
    """Tells what came."""
    path, _, query = request.raw_path.partition("?")
    return web.json_response(
        {
            "method": request.method,
            "path": path,
            "query": query,
            "headers": [
                [name.decode("latin-1").lower(), value.decode("latin-1")] for name, value in request.raw_headers
            ],
            **(await _read(request)).told(),
        }
    )


async def form(request: web.Request) -> web.Response:
    """Reads a form with aiohttp's own reader while it comes."""
    told: list[dict[str, Any]] = []
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise ValueError("a form in a form")
            digest = Digest()
            while chunk := await part.read_chunk():
                digest.feed(chunk)
            told.append(
                {
                    "name": part.name,
                    "filename": part.filename,
                    "content_type": part.headers.get("Content-Type"),
                    **digest.told(),
                }
            )
    except (AssertionError, ValueError) as error:
        return web.json_response({"error": str(error)}, status=400)
    return web.json_response({"parts": told})


async def status(request: web.Request) -> web.Response:
    """Reads, then answers."""
    await _read(request)
    return web.Response(status=int(request.match_info["code"]))


async def early(request: web.Request) -> web.Response:
    """Answers without reading."""
    return web.Response(status=int(request.match_info["code"]))


async def redirect(request: web.Request) -> web.Response:
    """Reads, then sends elsewhere."""
    await _read(request)
    return web.Response(status=int(request.match_info["code"]), headers={"Location": request.query["to"]})


async def chunked(request: web.Request) -> web.StreamResponse:
    """Answers a body whose length no header tells."""
    count = int(request.query["n"])
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    if request.method != "HEAD":  # aiohttp leaves it to the handler to send no body there
        for start in range(0, count, CHUNK):
            await response.write(pattern(min(CHUNK, count - start), start))
    await response.write_eof()
    return response


async def _read(request: web.Request) -> Digest:
    digest = Digest()
    async for chunk in request.content.iter_any():
        digest.feed(chunk)
    return digest


HANDLERS = {
    "/echo": echo,
    "/echo/{rest:.*}": echo,
    "/form": form,
    r"/status/{code:\d+}": status,
    r"/early/{code:\d+}": early,
    r"/redirect/{code:\d+}": redirect,
    "/chunked": chunked,
}


async def serve(plain_fd: int, tls_fd: int, pem: str) -> None:
    """Serve on the two sockets until the process ends."""
    app = web.Application()
    for path, handler in HANDLERS.items():
        for method in METHODS:
            app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    await web.SockSite(runner, socket.socket(fileno=plain_fd)).start()
    await web.SockSite(runner, socket.socket(fileno=tls_fd), ssl_context=tls).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
