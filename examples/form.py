"""A form with several files and fields: python examples/form.py URL FILE ...

The URL is that of a bin (python examples/postbin.py makes some), which answers with what it was sent.
"""

import asyncio
import sys
from pathlib import Path

import aioreq


async def main(url, *files):
    response = await aioreq.post(
        url,
        data={"title": "Holiday", "tags": ["sea", "2026"]},  # a list repeats the field
        files=[
            ("cover", ("cover.txt", "made on the spot", "text/plain")),  # filename, content, type
            *(("picture", Path(file)) for file in files),
        ],
    )
    for part in response.raise_for_status().json()["parts"]:
        print(part["name"], part["filename"], part["content_type"], part["size"])


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except aioreq.RequestException as error:
        sys.exit(f"not uploaded: {error}")
