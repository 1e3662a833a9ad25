"""One file: python examples/one_file.py URL FILE"""

import asyncio
import sys
from pathlib import Path

import aioreq


async def main(url, file):
    response = await aioreq.post(url, files={"file": Path(file)})
    response.raise_for_status()
    print(response.status_code, response.upload.sent, "bytes sent")
    print(response.text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except aioreq.RequestException as error:  # no such file, nobody there, a bad answer, ...
        sys.exit(f"not uploaded: {error}")
