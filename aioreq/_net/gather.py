"""A small upload made ready in one buffer: its head, then its body, from wherever that comes.

The buffers are used again: fresh memory for each file costs page faults and one copy more. A buffer may be used again
only when nobody holds it any more; a transport that could not send all at once does (uvloop always, CPython from 3.12
on), and then the buffer is left to it.
"""

from __future__ import annotations

from collections import defaultdict

from .._body import Body, Bytes

# A body up to this size leaves with its head in one write.
LARGEST = 256 * 1024
# Bytes of buffers of each size that are kept for the next ones.
_KEPT = 4 * 1024 * 1024

# By size, a power of two. The last one given back is taken first: the processor still knows it.
_free: defaultdict[int, list[bytearray]] = defaultdict(list)


def gather(head: bytes, body: Body) -> memoryview:
    """Head and body in a buffer. Blocks when there are files: for a worker thread.

    Raises:
        FileChanged, FileUnreadable: a file has become shorter, or can't be read.
    """
    assert body.length is not None
    end = len(head)
    size = end + body.length
    view = memoryview(_take(1 << (size - 1).bit_length()))[:size]
    view[:end] = head
    for segment in body.segments:
        start = end
        end += segment.length  # type: ignore[operator]  # where a body has a length, each of its segments has one
        if isinstance(segment, Bytes):
            view[start:end] = segment.data
        else:
            with view[start:end] as place:
                segment.read_into(place)
    return view


def give_back(view: memoryview) -> None:
    """What :func:`gather` gave is sent, and held by nobody."""
    buffer: bytearray = view.obj  # type: ignore[assignment]  # one of our own
    view.release()
    free = _free[len(buffer)]
    if len(free) * len(buffer) < _KEPT:
        free.append(buffer)


def _take(size: int) -> bytearray:
    try:
        return _free[size].pop()
    except IndexError:
        return bytearray(size)
