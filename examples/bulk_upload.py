"""Many files up at once, each checked: python examples/bulk_upload.py [--url URL] [--put] [PATH ...]

Without a URL it starts the bin (examples/postbin.py); without paths it sends the files of this Python installation.
"""

import argparse
import asyncio
import hashlib
import sys
import time
from urllib.parse import quote

from demo_parts import Display, embedded_bin, ends_on_ctrl_c, files_to_send

import aioreq

CONCURRENCY = 32


async def upload(session, url, path, put):
    """Send one file; return what the server says is the SHA-256 of what it got."""
    if put:
        address = f"{url.rstrip('/')}/{quote(path.as_posix().lstrip('/'))}"
        (await session.put(address, data=path)).raise_for_status()
        return hashlib.sha256((await session.get(address)).content).hexdigest()
    response = (await session.post(url, files={"file": path})).raise_for_status()
    return response.json()["parts"][0]["sha256"]


async def worker(session, url, put, paths, display):
    for path in paths:  # all workers take from the same iterator
        try:
            seen = await upload(session, url, path, put)
            expected = await asyncio.to_thread(lambda path=path: hashlib.sha256(path.read_bytes()).hexdigest())
            problem = None if seen == expected else f"arrived as {seen}, is {expected}"
        except aioreq.RequestException as error:
            problem = str(error)
        display.finished(path, problem)


async def main(url, files, put):
    started = time.perf_counter()
    async with aioreq.Session() as session:
        if not put:
            url = (await session.post(url)).url  # a bin of our own
        with Display(files) as display:
            todo = iter(files)
            await asyncio.gather(*(worker(session, url, put, todo, display) for _ in range(CONCURRENCY)))
    return display.summary(time.perf_counter() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="files and folders")
    parser.add_argument("--url", help="where to send them")
    parser.add_argument("--put", action="store_true", help="PUT each file below the URL (WebDAV), and read it back")
    arguments = parser.parse_args()
    with ends_on_ctrl_c(), embedded_bin(arguments.url) as url, files_to_send(arguments.paths) as files:
        sys.exit(asyncio.run(main(url, files, arguments.put)))
