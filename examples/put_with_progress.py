"""PUT a big file and watch it go: python examples/put_with_progress.py URL FILE"""

import asyncio
import sys
from pathlib import Path

import aioreq


def show(progress):
    print(f"{progress.sent:>15,} of {progress.total:,} bytes ({progress.sent / progress.total:.0%})", flush=True)


async def main(url, file):
    response = await aioreq.put(url, data=Path(file), progress=show)
    print(response.status_code, response.upload)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except aioreq.RequestException as error:
        sys.exit(f"not uploaded: {error}")
