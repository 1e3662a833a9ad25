"""Request and send, as in requests 0.2.1: python examples/request_send.py URL FILE"""

import asyncio
import sys
from pathlib import Path

import aioreq


async def main(url, file):
    request = aioreq.Request()
    request.method = "POST"
    request.url = url
    request.files = {"file": Path(file)}
    if not await request.send():
        sys.exit(f"refused: {request.response.status_code}")
    print("sent:", request.response.status_code, request.sent)
    print("not sent twice:", await request.send())
    print("unless asked to:", await request.send(anyway=True))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except aioreq.RequestException as error:
        sys.exit(f"not uploaded: {error}")
