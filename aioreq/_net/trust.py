"""Whom to trust: TLS contexts out of ``verify=`` and ``cert=``."""

from __future__ import annotations

import os
import ssl
from types import NoneType
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
        _load_client_certificate(context, *_paths(cert))
    return context


def _paths(cert: Any) -> tuple[Any, Any, str | None]:
    """(certificate, key or None, password or None)."""
    if isinstance(cert, (str, os.PathLike)):
        return cert, None, None
    certificate, key, *rest = cert
    return certificate, key, rest[0] if rest else None


def _load_client_certificate(context: ssl.SSLContext, certificate: Any, key: Any, password: str | None) -> None:
    def missing() -> str:
        """Called for an encrypted key; without it, OpenSSL would ask on the terminal."""
        raise SSLError(f"the key in {str(key or certificate)!r} is encrypted: pass cert=(certificate, key, password)")

    _load(lambda: context.load_cert_chain(certificate, key, missing if password is None else password), certificate)


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
    except SSLError:
        raise
    except ssl.SSLError as error:
        why = error.reason or "no PEM file, or the wrong password"
        raise SSLError(f"{str(what)!r} is not usable as a certificate: {why}") from error
    except OSError as error:
        raise FileUnreadable.from_oserror(error, str(what)) from error


def check_trust(verify: Any, cert: Any) -> None:
    """Refuse what can't mean anything before a connection is made.

    Raises:
        TypeError: ``verify`` is no bool, path or SSLContext, or ``cert`` no path or tuple.
        ValueError: ``cert`` stands beside an SSLContext, which is used as it is.
        FileUnreadable: a path leads to nothing.
    """
    if not isinstance(verify, (bool, ssl.SSLContext, str, os.PathLike)):
        raise TypeError(f"verify= is True, False, a path or an SSLContext, not {type(verify).__name__}")
    if isinstance(verify, (str, os.PathLike)):
        _require_path(verify)
    if cert is None:
        return
    if isinstance(verify, ssl.SSLContext):
        raise ValueError("verify= is an SSLContext, which is used as it is: load cert= into it, with load_cert_chain")
    if not isinstance(cert, (str, os.PathLike, tuple)) or (isinstance(cert, tuple) and len(cert) not in (2, 3)):
        raise TypeError("cert= is a path, (certificate, key) or (certificate, key, password)")
    certificate, key, _ = _paths(cert)
    if not isinstance(certificate, (str, os.PathLike)) or not isinstance(key, (str, os.PathLike, NoneType)):
        raise TypeError("cert= has paths of a certificate and of a key, which may be None where one file has both")
    _require_path(certificate)
    if key is not None:
        _require_path(key)


def _require_path(path: Any) -> None:
    if not os.path.exists(path):  # noqa: PTH110
        raise FileUnreadable.from_oserror(FileNotFoundError(2, "no such file or directory"), os.fspath(path))
