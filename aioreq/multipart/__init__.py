"""poster's ``encode`` on asyncio: ``multipart/form-data`` (RFC 7578) as a stream of known length.

    datagen, headers = multipart_encode({"name": "value", "file": pathlib.Path("big.iso")})

``datagen`` is async-iterable any number of times, each time from the first byte; ``headers`` carries the
Content-Type with the boundary and the exact Content-Length. Names are poster's; where Python 2 had ``str``
there are ``bytes``.
"""

from ._encode import (
    encode_file_header,
    encode_string,
    get_body_size,
    get_headers,
    multipart_encode,
)
from ._param import MultipartParam, encode_and_quote, gen_boundary

__all__ = [
    "MultipartParam",
    "encode_and_quote",
    "encode_file_header",
    "encode_string",
    "gen_boundary",
    "get_body_size",
    "get_headers",
    "multipart_encode",
]
