"""``aioreq get|head|post|put|delete``."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._message import Response
from .._progress import DownloadProgress
from ..bulk._picture import size_text
from ..multipart import MultipartParam
from ._arguments import Options
from ._connection import session_for


def send(options: Options) -> int:
    """Send one request and show the answer; returns the exit status."""
    return asyncio.run(_send(options))


async def _send(options: Options) -> int:
    async with (
        session_for(options) as session,
        session.stream(options.command.upper(), options.url, **_content(options)) as response,
    ):
        if options.json:
            await response.read()
            _write(json.dumps(_described(response), ensure_ascii=False).encode() + b"\n")
        elif options.command == "head":
            _write(_head(response))
        else:
            await _show(response, options)
            if not response.ok and not options.include:  # what it says may be nothing
                print(f"aioreq: {response.status_code} {response.reason}".rstrip(), file=sys.stderr)  # noqa: T201
        return 0 if response.ok else 1


def _content(options: Options) -> dict[str, Any]:
    """The query, or the body: a form with files, a form, or what --body says."""
    if options.command in ("get", "head"):
        return {"params": options.data}
    if options.body is not None:
        if options.form or options.data:
            raise ValueError("--body is the whole body: leave out --form and --data")
        return {"data": _text_or_file(options.body)}
    if options.form:
        return {"files": [*(MultipartParam(*pair) for pair in options.data), *map(_form_field, options.form)]}
    return {"data": options.data or None}


def _text_or_file(text: str) -> Any:
    if text == "@-":
        return sys.stdin.buffer.read()
    return Path(text[1:]) if text.startswith("@") else text.encode()


def _form_field(pair: tuple[str, str]) -> MultipartParam:
    name, value = pair
    if not value.startswith("@"):
        return MultipartParam(name, value)
    path, *parameters = value[1:].split(";")
    known: dict[str, str | None] = {"type": None, "filename": None}
    for parameter in parameters:
        key, mark, text = parameter.partition("=")
        if not mark or key not in known:
            raise ValueError(f"{value!r}: behind the file there may be ;type=TYPE and ;filename=NAME")
        known[key] = text
    source: Any = sys.stdin.buffer.read() if path == "-" else Path(path)
    filename = known["filename"] or (Path(path).name if path != "-" else name)
    if isinstance(source, bytes):
        return MultipartParam(name, source, filename=filename, filetype=known["type"])
    return MultipartParam(name, fileobj=source, filename=filename, filetype=known["type"])


async def _show(response: Response, options: Options) -> None:
    if options.include:
        _write(_head(response))
    if options.output is None:
        async for chunk in response.iter_content():
            _write(chunk)
        return
    if not response.ok:
        _write(await response.read())  # what went wrong is no content for the file
        return
    size = await response.save(options.output, _told() if sys.stderr.isatty() else None)
    print(f"{size_text(size)} written to {options.output}", file=sys.stderr)  # noqa: T201


def _told() -> Any:
    """A line of progress that is written over; the last word is the caller's."""

    def tell(progress: DownloadProgress) -> None:
        total = "" if progress.total is None else f" of {size_text(progress.total)}"
        print(f"\r{size_text(progress.received)}{total}\x1b[K\r", end="", file=sys.stderr, flush=True)  # noqa: T201

    return tell


def _head(response: Response) -> bytes:
    lines = [f"{response.http_version} {response.status_code} {response.reason}".rstrip()]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode("latin-1", "replace")


def _described(response: Response) -> dict[str, Any]:
    body: Any = response.text
    if "json" in response.headers.get("Content-Type", ""):
        with suppress(ValueError):
            body = response.json()
    return {
        "status": response.status_code,
        "reason": response.reason,
        "url": response.url,
        "headers": [[name, value] for name, value in response.headers.items()],
        "elapsed": response.elapsed.total_seconds(),
        "sent": response.upload.sent,
        "body": body,
    }


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
