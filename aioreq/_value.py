"""Values: set once, equal where their fields are, and shown by them.

What a frozen dataclass is. But each of those compiles its methods when it is made, and dataclasses is a module of its
own: that was 3 ms of `import aioreq`, a tenth of what is aioreq's own there.
"""

from __future__ import annotations

from typing import Any


class Value:
    """The base of values. A child names its fields in ``__match_args__``, and fills them by :meth:`_set`."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def _set(self, *values: Any) -> None:
        """Fill the fields, in their order."""
        for name, value in zip(self.__match_args__, values, strict=True):
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.__match_args__])

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__match_args__:
            raise AttributeError(f"a {type(self).__name__} does not change: make another one, with another {name}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__match_args__:
            raise AttributeError(f"a {type(self).__name__} does not change: its {name} stays")
        super().__delattr__(name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)!r}" for name in self.__match_args__]
        return f"{type(self).__qualname__}({', '.join(fields)})"

    def __replace__(self, /, **changes: Any) -> Any:
        """Another one in which some fields differ, for ``copy.replace`` (Python 3.13)."""
        return type(self)(**(dict(zip(self.__match_args__, self._values(), strict=True)) | changes))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._values()
