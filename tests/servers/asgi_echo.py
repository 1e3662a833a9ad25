"""The echo contract as an ASGI app, and uvicorn to serve it.

python -m tests.servers.asgi_echo LISTENING_FD [PEM]
"""

import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.parsers import PARSERS

from .contract import CHUNK, METHODS, Digest, pattern


async def echo(request: Request) -> Response:
    """Tells what came."""
    return JSONResponse(
        {
            "method": request.method,
            "path": request.scope["raw_path"].decode("latin-1"),
            "query": request.scope["query_string"].decode("latin-1"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw],
            **(await _read(request)).told(),
        }
    )


async def form(request: Request) -> Response:
    """Reads a form with python-multipart while it comes."""
    try:
        reader = PARSERS["python-multipart"].begin(request.headers.get("content-type", ""))
        async for chunk in request.stream():
            reader.feed(chunk)
        parts = reader.finish()
    except ValueError as error:
        return JSONResponse({"error": str(error)}, 400)
    told: list[dict[str, Any]] = []
    for part in parts:
        digest = Digest()
        digest.feed(part.data)
        told.append(
            {
                "name": part.name,
                "filename": part.filename,
                "content_type": part.content_type,
                **digest.told(),
            }
        )
    return JSONResponse({"parts": told})


async def status(request: Request) -> Response:
    """Reads, then answers."""
    await _read(request)
    return Response(status_code=request.path_params["code"])


async def early(request: Request) -> Response:
    """Answers without reading."""
    return Response(status_code=request.path_params["code"])


async def redirect(request: Request) -> Response:
    """Reads, then sends elsewhere."""
    await _read(request)
    return Response(status_code=request.path_params["code"], headers={"location": request.query_params["to"]})


async def chunked(request: Request) -> Response:
    """Answers a body whose length no header tells."""
    count = int(request.query_params["n"])

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, count, CHUNK):
            yield pattern(min(CHUNK, count - start), start)

    return StreamingResponse(chunks(), media_type="application/octet-stream")


async def _read(request: Request) -> Digest:
    digest = Digest()
    async for chunk in request.stream():
        digest.feed(chunk)
    return digest


app = Starlette(
    routes=[
        Route(path, endpoint, methods=METHODS)
        for path, endpoint in {
            "/echo": echo,
            "/echo/{rest:path}": echo,
            "/form": form,
            "/status/{code:int}": status,
            "/early/{code:int}": early,
            "/redirect/{code:int}": redirect,
            "/chunked": chunked,
        }.items()
    ]
)


def main(listening_fd: str, pem: str | None = None) -> None:
    """Serve on the socket until SIGTERM, over TLS if `pem` has a certificate and its key."""
    # h11 holds both sides to the letter of RFC 9112; the other servers parse with llhttp or their own.
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        ssl_certfile=pem,
        ssl_keyfile=pem,
        timeout_graceful_shutdown=1,
    )
    with socket.socket(fileno=int(listening_fd)) as listener:
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
