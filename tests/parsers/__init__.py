"""The parsers that servers read multipart/form-data with, all in one shape.

    with PARSERS["busboy"].opened():
        parts = PARSERS["busboy"].parse(body, content_type, split=[10, 20])

What a parser does with names that is not what the wire says is told by its record (`Parser.expected_name` and its
neighbours), which test_parsers_harness.py holds to the truth.
"""

from ._busboy import BUSBOY
from ._email import EMAIL
from ._multipart import MULTIPART
from ._python_multipart import PYTHON_MULTIPART
from ._shape import ParsedPart, Parser, Reader
from ._werkzeug import WERKZEUG

__all__ = ["PARSERS", "ParsedPart", "Parser", "Reader"]

PARSERS: dict[str, Parser] = {parser.name: parser for parser in (PYTHON_MULTIPART, MULTIPART, WERKZEUG, EMAIL, BUSBOY)}
