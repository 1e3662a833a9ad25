"""HTTPS with a CA of one's own: python examples/private_ca.py URL CA.pem FILE"""

import asyncio
import sys
from pathlib import Path

import aioreq


async def main(url, authority, file):
    async with aioreq.Session(verify=authority) as session:
        response = await session.post(url, files={"file": Path(file)})
        print(response.status_code, response.http_version)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except aioreq.RequestException as error:
        sys.exit(f"not sent: {error}")
