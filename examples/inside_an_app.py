"""An upload inside an async app: what comes in is passed on as it arrives, nothing is kept.

python examples/inside_an_app.py URL, then: curl -T FILE http://127.0.0.1:8080/name
"""

import contextlib
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import aioreq


def create_app(upstream):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with aioreq.Session() as app.state.session:  # one session for the life of the app
            yield

    async def relay(request):
        length = request.headers.get("content-length")
        if length is None:
            return JSONResponse({"error": "send a Content-Length"}, 411)
        try:
            response = await request.app.state.session.put(
                upstream, data=request.stream(), headers={"Content-Length": length}
            )
        except aioreq.ConnectionError as error:
            return JSONResponse({"error": str(error)}, 502)
        return Response(response.content, response.status_code, media_type=response.headers.get("Content-Type"))

    return Starlette(routes=[Route("/{name:path}", relay, methods=["PUT"])], lifespan=lifespan)


if __name__ == "__main__":
    if len(sys.argv) != 2 or "://" not in sys.argv[1]:
        sys.exit(__doc__)
    uvicorn.run(create_app(sys.argv[1]), port=8080)
