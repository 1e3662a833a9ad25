"""A file's bytes in two buffers that take turns: one is sent while a thread fills the other.

For who copies what he is given before he asks for more, as TLS does. Fresh memory for each megabyte would cost its page
faults: a fifth of the time that an upload over TLS takes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from .._files import OpenFile
from .._threads import READERS

# Small at first, so that a thousand stalled uploads hold little memory, and up to where a hop to a thread is cheap.
_FIRST = 64 * 1024
_LARGEST = 1024 * 1024


async def read_blocks(file: OpenFile, length: int) -> AsyncGenerator[memoryview, None]:
    """The first ``length`` bytes of a file; each block is gone when the next one is asked for.

    Raises:
        FileChanged, FileUnreadable: the file has become shorter, or can't be read.
    """
    size = min(_FIRST, length)
    spare: bytearray | None = None
    view = memoryview(bytearray(size))
    reading = READERS.start(file.read_into, view, 0) if length else None
    read = 0
    try:
        while reading is not None:
            await reading
            block, read = view, read + len(view)
            size = min(size * 2, _LARGEST, length - read)
            if size:
                if spare is None or len(spare) < size:
                    spare = bytearray(size)
                view = memoryview(spare)[:size]
                reading = READERS.start(file.read_into, view, read)
            else:
                reading = None
            yield block
            spare = block.obj  # type: ignore[assignment]  # it is one of our own
    finally:
        if reading is not None:
            reading.cancel()  # if it has failed while the last block was sent, nobody is to hear of that either
