"""A small upload packed into one buffer: its head, then its body, from wherever that comes.

The buffers are used again: fresh memory for each file costs page faults and one copy more. A buffer may be used again
only when nobody holds it any more; a transport that could not send all at once does (uvloop always, CPython from 3.12
on), and then the buffer is left to it.
"""

from __future__ import annotations

from collections import defaultdict

from .._body import Body, Bytes, FileRegion

# A form of more parts than this is left to a thread, even if all its files are in memory: the loop has others to serve.
_FEW_SEGMENTS = 24
# Bytes of buffers of each size that are kept for the next ones.
_KEPT = 4 * 1024 * 1024

# By size, a power of two. The last one given back is taken first: the processor still knows it.
_free: defaultdict[int, list[bytearray]] = defaultdict(list)


class Parcel:
    """Head and body of a small upload. ``len()`` is the number of bytes that have not left.

    Attributes:
        packed: all of it in a buffer, between :meth:`pack` and :meth:`give_back`.
    """

    __slots__ = ("_body", "_head", "_left", "_size", "packed")

    def __init__(self, head: bytes, body: Body) -> None:
        assert body.length is not None
        self._head, self._body = head, body
        self._left = self._size = len(head) + body.length
        self.packed: memoryview | None = None

    def __len__(self) -> int:
        return self._left

    @property
    def has_begun(self) -> bool:
        """Whether some of it has left."""
        return self._left < self._size

    def lone_file(self) -> tuple[bytes, FileRegion, bytes] | None:
        """The only file in it, with what stands before and behind; or None, as in a form of many parts."""
        if len(self._body.segments) > _FEW_SEGMENTS:
            return None
        # Few are added up quicker than they are joined, by 4 % of a small file's time.
        before, file, behind = self._head, None, b""
        for segment in self._body.segments:
            if isinstance(segment, FileRegion):
                if file is not None:
                    return None
                file = segment
                continue
            assert isinstance(segment, Bytes)  # what else there is can't be read at once
            if file is None:
                before += segment.data
            else:
                behind += segment.data
        return None if file is None else (before, file, behind)

    def taken(self, size: int) -> None:
        """So many bytes have left, by another way than from the buffer."""
        self._left -= size

    def pack(self, *, wait: bool = True) -> bool:
        """Put everything into a buffer; whether that is done.

        Args:
            wait: for a worker thread, since it blocks. Else for the event loop: it is done if that needs no disk.

        Raises:
            FileChanged, FileUnreadable: a file has become shorter, or can't be read.
        """
        if not wait and len(self._body.segments) > _FEW_SEGMENTS:
            return False
        view = memoryview(_take(1 << (self._size - 1).bit_length()))[: self._size]
        end = len(self._head)
        view[:end] = self._head
        for segment in self._body.segments:
            start = end
            end += segment.length  # type: ignore[operator]  # where a body has a length, each of its segments has one
            if isinstance(segment, Bytes):
                view[start:end] = segment.data
                continue
            assert isinstance(segment, FileRegion)  # what else there is can't be read at once
            with view[start:end] as place:
                if wait:
                    segment.source.read_into(place)
                    continue
                is_there = segment.source.read_cached_into(place)
            if not is_there:
                _give_back(view)
                return False
        self.packed = view
        return True

    @property
    def rest(self) -> memoryview:
        """What has not left, in the buffer."""
        assert self.packed is not None
        return self.packed[self._size - self._left :]

    def give_back(self) -> None:
        """What was packed is sent, and held by nobody: its buffer may be used again."""
        assert self.packed is not None
        _give_back(self.packed)


def _give_back(view: memoryview) -> None:
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
