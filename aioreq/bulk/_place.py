"""Where an upload goes, in a form that stays the same from run to run and holds no secret."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit

# What signs a URL (S3, Google Cloud Storage, CloudFront, Azure): it differs each time, and is a secret.
_SIGNATURES = frozenset(("x-amz-signature", "x-goog-signature", "signature", "sig"))
_SIGNED_WITH = frozenset(
    ("expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy", "se", "st", "sp", "spr", "sv", "sr")
)


def stable_url(url: str | None) -> str | None:
    """A URL without user info, fragment, and what signs it."""
    if url is None:
        return None
    parts = urlsplit(url)
    fields = parse_qsl(parts.query, keep_blank_values=True)
    if any(name.lower() in _SIGNATURES for name, _ in fields):
        fields = [(name, value) for name, value in fields if not _signs(name.lower())]
        parts = parts._replace(query=urlencode(fields))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _signs(name: str) -> bool:
    return name in _SIGNATURES or name in _SIGNED_WITH or name.startswith(("x-amz-", "x-goog-"))


def quoted(name: str, safe: str = "/") -> str:
    """A file's name as a part of a URL: its bytes on disk, whatever encoding they are in."""
    return quote(name.encode("utf-8", "surrogateescape"), safe)
