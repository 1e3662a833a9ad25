"""Files that the system has in memory, opened and read without waiting for a disk (Linux).

A hop to a thread costs more than reading a small file from memory; so what is there is read in the event loop, where
nothing may block. ``preadv2`` with ``RWF_NOWAIT`` reads what is in the page cache, ``cachestat`` (Linux 6.5) tells how
much is, and ``openat2`` with ``RESOLVE_CACHED`` (Linux 5.12) opens what nobody has looked up before, if no look at the
disk is needed for that. What can't be had in this way is a thread's to do, and to find out why.

The filesystems of a network, or those that are a program, may have to ask somebody each time a file is opened. Hardly
any of them knows ``RWF_NOWAIT``: so a device is trusted here when a thread has seen there that it does.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

# From <linux/fcntl.h> and <linux/openat2.h>.
_AT_FDCWD = -100
_RESOLVE_CACHED = 0x20
# Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
_HOW = struct.pack("=QQQ", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0), 0, _RESOLVE_CACHED)
_HOW_SIZE = len(_HOW)
# Their numbers where system calls are numbered as on all newer architectures; on MIPS and Alpha they are others.
_OPENAT2, _CACHESTAT = 437, 451
_MACHINES = ("x86_64", "aarch64", "riscv64", "ppc64le", "s390x")

_CAN_READ_NOW = hasattr(os, "RWF_NOWAIT")

# By st_dev: whether its files can be read without waiting, and whether it tells what of them is in memory.
_answering: dict[int, bool] = {}
_telling: dict[int, bool] = {}


def learn(fd: int, device: int) -> None:
    """Find out, from one of its files, whether a device can be asked. May block."""
    if device not in _answering:
        _telling[device] = _pages(fd, 0, 1) is not None
        _answering[device] = _read(fd, bytearray(1)) is not None


def answers(device: int) -> bool:
    """Whether the device is known as one whose files can be read without waiting, if they are in memory."""
    return _answering.get(device, False)


def tells(device: int) -> bool:
    """Whether it is one that also tells, by :func:`holds`, what is in memory: else nothing need be opened to ask."""
    return answers(device) and _telling[device]


def forget(device: int) -> None:
    """Look anew when a thread reads from the device again."""
    _answering.pop(device, None)


def read(fd: int, device: int, place: memoryview) -> bool:
    """Fill the place with a file's first bytes; False if not all of them are in memory, or in the file."""
    count = _read(fd, place)
    if count is None:  # the number belongs to another device now
        forget(device)
    return count == len(place)


def _read(fd: int, place: bytearray | memoryview, offset: int = 0) -> int | None:
    """How many bytes could be read at once; None if this can't be asked of the file."""
    if not _CAN_READ_NOW:
        return None
    try:
        return os.preadv(fd, [place], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return 0
    except OSError:
        return None


def open_cached(path: str) -> int | None:
    """A descriptor for reading, or None if there is none to be had without waiting."""
    call = _syscall()
    if call is None or "\0" in path:  # it would end there
        return None
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return None
    fd = call(_OPENAT2, _AT_FDCWD, name, _HOW, _HOW_SIZE)
    return None if fd < 0 else fd


def holds(fd: int, start: int, size: int) -> bool:
    """Whether some bytes of a file, one or more, are in memory, as far as can be told: they can go at any time."""
    pages = _pages(fd, start, size)
    # Pages that are on their way from the disk count, too; as a rule they arrive in their order.
    return pages is not None and pages * _page_size() >= size and _read(fd, bytearray(1), start + size - 1) == 1


def _pages(fd: int, start: int, size: int) -> int | None:
    """How many of the pages that these bytes are in are in memory; None if this can't be asked of the file."""
    call = _syscall()
    if call is None:
        return None
    found = _counts()()
    return None if call(_CACHESTAT, fd, struct.pack("=QQ", start, size), found, 0) else int(found[0])


@cache
def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE")


@cache
def _syscall() -> Callable[..., int] | None:
    """``syscall(2)``, since Python has neither of these calls; None elsewhere."""
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        return None
    import ctypes  # not before it is needed

    call = ctypes.CDLL(None).syscall
    call.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_long)
    call.restype = ctypes.c_long
    return call


@cache
def _counts() -> Callable[[], Any]:
    """Room for what ``cachestat`` finds: pages in memory first, then four numbers of other kinds."""
    import ctypes

    return ctypes.c_uint64 * 5
