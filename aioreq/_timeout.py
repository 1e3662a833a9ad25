"""How long things may take."""

from __future__ import annotations

from typing import Any

from ._value import Value


class Timeout(Value):
    """Limits in seconds; None for no limit.

    ``timeout=5`` on a call means ``Timeout(5, 5, 5, 5)``. ``read`` and ``write`` are the longest silences allowed:
    an upload that is slow but moves never times out.

    Args:
        connect: until the connection is there, TLS handshake included.
        read: without a byte from the server, once the request is out.
        write: without a byte of the request being taken by the kernel.
        pool: until a connection is free.
        total: for the whole call, redirects and retries included.

    Raises:
        ValueError: a limit is not a positive number.
    """

    __match_args__ = ("connect", "read", "write", "pool", "total")
    __slots__ = __match_args__

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None
    total: float | None

    def __init__(
        self,
        connect: float | None = 10.0,
        read: float | None = 60.0,
        write: float | None = 60.0,
        pool: float | None = None,
        total: float | None = None,
    ) -> None:
        self._set(connect, read, write, pool, total)
        for name in self.__match_args__:
            _check(name, getattr(self, name))

    @classmethod
    def of(cls, value: Any) -> Timeout:
        """A Timeout from what callers pass: one, a number of seconds, None for no limit, or (connect, read).

        Raises:
            ValueError: it is none of these.
        """
        if isinstance(value, Timeout):
            return value
        if isinstance(value, tuple) and len(value) == 2:  # requests' form
            return cls(connect=value[0], read=value[1], write=value[1])
        if isinstance(value, tuple):
            raise ValueError(
                f"timeout={value!r} is not a number of seconds above 0, nor a pair (connect, read) of them; "
                "aioreq.Timeout has names for more"
            )
        return cls(value, value, value, value)


def _check(name: str, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise ValueError(f"timeout {name}={value!r} is not a number of seconds above 0; None means no limit")
