"""A file that aiofiles has open: python examples/async_file.py URL FILE

The URL is that of a bin (python examples/postbin.py makes some), which answers with what it was sent.
"""

import asyncio
import sys

import aiofiles

import aioreq


async def main(url, name):
    async with aiofiles.open(name, "rb") as file:
        first = await aioreq.post(url, files={"file": file})
        again = await aioreq.post(url, files={"file": file})  # whole again: every upload starts at the first byte
    for response in (first, again):
        print(response.raise_for_status().json()["parts"][0]["sha256"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (aioreq.RequestException, OSError) as error:  # aiofiles opens the file
        sys.exit(f"not uploaded: {error}")
