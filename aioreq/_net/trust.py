"""Whom to trust: TLS contexts out of ``verify=`` and ``cert=``."""

from __future__ import annotations

import os
import ssl
from typing import Any

from ..exceptions import FileUnreadable, SSLError

_PROTOCOLS = ["http/1.1"]


def make_context(verify: Any, cert: Any) -> ssl.SSLContext:
    """The context for a session. Blocks while it reads certificates: for a worker thread.

    Args:
        verify: True (the system's trust), a path to a file or folder of CA certificates in PEM form, an
            SSLContext (used as it is), or False (no check at all).
        cert: the client's certificate: a path to a PEM file with certificate and key, or a tuple (certificate,
            key[, password]); None for none.

    Raises:
        FileUnreadable: a path can't be read.
        SSLError: a file is not what it should be.
    """
    if isinstance(verify, ssl.SSLContext):
        return verify
    context = _context(verify)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    if cert is not None:
        _load(lambda: context.load_cert_chain(*((cert,) if isinstance(cert, (str, os.PathLike)) else cert)), cert)
    return context


def _context(verify: Any) -> ssl.SSLContext:
    if verify is True:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        folder = os.path.isdir(verify)  # noqa: PTH112 - str or path alike
        where = {"capath" if folder else "cafile": os.fspath(verify)}
        _load(lambda: context.load_verify_locations(**where), verify)
    return context


def _load(load: Any, what: Any) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise SSLError(f"{what!r} is not usable as a certificate: {error.reason or error}") from error
    except OSError as error:
        raise FileUnreadable.from_oserror(error, str(what)) from error


def check_verify(verify: Any) -> None:
    """Refuse what can't mean anything before a connection is made.

    Raises:
        TypeError: it is no bool, path or SSLContext.
        FileUnreadable: it is the path of nothing.
    """
    if isinstance(verify, (bool, ssl.SSLContext)):
        return
    if not isinstance(verify, (str, os.PathLike)):
        raise TypeError(f"verify= is True, False, a path or an SSLContext, not {type(verify).__name__}")
    if not os.path.exists(verify):  # noqa: PTH110
        raise FileUnreadable.from_oserror(FileNotFoundError(2, "no such file or directory"), os.fspath(verify))
