"""Many files up at once, each checked: python examples/bulk_upload.py [--url URL] [--put] [PATH ...]

Without a URL it starts the bin (examples/postbin.py); without paths it sends the files of this Python installation.
"""

import argparse
import asyncio
import hashlib
import sys

from demo_parts import Display, embedded_bin, ends_on_ctrl_c, files_to_send

import aioreq
from aioreq.bulk import Digest, Upload


def seen_by_the_bin(response):
    return response.json()["parts"][-1]["sha256"]  # the file is the form's last part


async def problem_of(result, session, put):
    """What went wrong with an upload, or None. A WebDAV server does not tell what it got: it is read back."""
    if result.ok and put:
        seen = hashlib.sha256((await session.get(result.url)).content).hexdigest()
        return None if seen == result.digest else f"arrived as {seen}, is {result.digest}"
    return result.problem


async def main(url, files, put):
    async with aioreq.Session() as session:
        if put:
            url, method, digest = url.rstrip("/") + "/", "PUT", "sha256"
        else:
            url, method, digest = (await session.post(url)).url, "POST", Digest("sha256", verify=seen_by_the_bin)
        items = (Upload(path, name=path.as_posix()) for path in files)
        with Display() as display:
            run = aioreq.bulk_upload(
                url, items, method=method, digest=digest, concurrency=32, session=session, progress=display.show
            )
            run.expect(len(files), sum(path.stat().st_size for path in files))
            async with run:
                async for result in run:
                    display.finished(result.item.path, await problem_of(result, session, put))
        return display.summary(run.progress)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="files and folders")
    parser.add_argument("--url", help="where to send them")
    parser.add_argument("--put", action="store_true", help="PUT each file below the URL (WebDAV), and read it back")
    arguments = parser.parse_args()
    with ends_on_ctrl_c(), embedded_bin(arguments.url) as url, files_to_send(arguments.paths) as files:
        try:
            sys.exit(asyncio.run(main(url, files, arguments.put)))
        except aioreq.RequestException as error:  # a URL that is none, nobody there, ...
            sys.exit(f"not uploaded: {error}")
