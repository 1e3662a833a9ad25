"""What all parsers have in common: the parts they give, the readers they are fed through, and the record of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol


@dataclass(frozen=True)
class ParsedPart:
    """One part of a form.

    `name` and `filename` are as the parser gives them (`Parser.expected_name` says how that differs from the
    wire), `filename` is None for a field. `content_type` is the part's own header, None where it has none.
    """

    name: str
    filename: str | None
    content_type: str | None
    data: bytes


class Reader(Protocol):
    """One form being read."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body. Raises ValueError if they cannot belong to a form."""

    def finish(self) -> list[ParsedPart]:
        """The parts, in the order of the wire. Raises ValueError if the closing boundary has not been seen."""


def as_on_the_wire(value: str) -> str:
    """What a parser gives that does not touch a name."""
    return value


def _content_type_as_on_the_wire(content_type: str | None) -> str | None:
    return content_type


def _never_misreads(_wire_value: str) -> bool:
    return False


@dataclass(frozen=True)
class Parser:
    """A parser of multipart/form-data that servers out there use.

    A *wire value* is what stands between the quotes of `name="..."` or `filename="..."`, decoded as UTF-8. It
    holds no quote, CR or LF: a form's encoder escapes those as %22, %0D and %0A (WHATWG HTML, "multipart/form-data
    encoding algorithm").
    """

    name: str
    begin: Callable[[str], Reader]
    """Starts to read a body of this Content-Type. For one that is no form's, this or the reader raises ValueError."""
    expected_name: Callable[[str], str] = as_on_the_wire
    """What this parser gives for a name on the wire."""
    expected_filename: Callable[[str], str | None] = as_on_the_wire
    """What this parser gives for a filename on the wire; None where it takes the part for a field."""
    expected_content_type: Callable[[str | None], str | None] = _content_type_as_on_the_wire
    """What this parser gives for a part's Content-Type, None on the wire being a part without one."""
    misreads: Callable[[str], bool] = _never_misreads
    """Whether this parser cannot read a head with this wire value as its name in front of a filename:
    it refuses the form or loses the end of the name. The other functions promise nothing for such a value."""
    needs_a_part: bool = False
    """Whether a form without parts is an error to this parser."""
    opened: Callable[[], AbstractContextManager[object]] = nullcontext
    """Holds what `begin` needs, such as a process, for as long as the context lasts."""

    def parse(self, body: bytes, content_type: str, split: Sequence[int] = ()) -> list[ParsedPart]:
        """Read the form in `body`, fed in pieces that are cut at the ascending offsets in `split`.

        `split=range(1, len(body))` feeds it byte by byte. Raises ValueError for a body that is no complete form.
        """
        reader = self.begin(content_type)
        for piece in pieces(body, split):
            reader.feed(piece)
        return reader.finish()


def pieces(body: bytes, split: Sequence[int]) -> Iterator[bytes]:
    """The non-empty pieces of `body` between the ascending offsets in `split`."""
    for start, end in pairwise([0, *split, len(body)]):
        if start < end:
            yield body[start:end]


def without_doubled_backslashes(wire_value: str) -> str:
    """A quoted string as most parsers unquote it: a pair of backslashes is one, a single one stays."""
    return wire_value.replace("\\\\", "\\")


def without_windows_path(filename: str) -> str:
    r"""The last component of what looks like a full Windows path (C:\..., \\host\...), which IE 6 sent."""
    if filename[1:3] == ":\\" or filename[:2] == "\\\\":
        return filename.rpartition("\\")[2]
    return filename


def ends_in_a_backslash(wire_value: str) -> bool:
    """Whether the closing quote looks escaped to a parser that counts occurrences of backslash-quote."""
    return wire_value.endswith("\\")


def ends_in_a_lone_backslash(wire_value: str) -> bool:
    """Whether the closing quote is escaped for a parser that pairs backslashes from the left."""
    backslashes = len(wire_value) - len(wire_value.rstrip("\\"))
    return backslashes % 2 == 1
