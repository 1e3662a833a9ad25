"""What can be said on the command line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from .._message import checked_method
from .._version import __version__
from ..exceptions import InvalidMethod

Options = argparse.Namespace

METHODS = ("get", "head", "post", "put", "delete")
SHELLS = ("bash", "zsh", "fish")

_UPLOAD = """\
Upload files and whole folders, many at a time, and say what became of them.

  aioreq upload https://example.org/upload photos/ notes.txt
  aioreq upload --method PUT https://example.org/dav/ photos
  aioreq upload --manifest list.jsonl --journal job.db -

A folder stands for all files below it: "photos" names them "photos/2024/a.jpg", "photos/" names them "2024/a.jpg".
With --method PUT the file itself is the body; a URL that ends with a slash has the name put behind it, and {name} and
{base} anywhere in it stand for the whole name and its last part. A manifest is a file (or - for standard input) of
JSON lines, CSV with a column "path", or one path on each line; each item may have its own "url", then say - for URL.

With --journal an upload that was interrupted, or killed, goes on where it was when the same command is run again.

Exit status: 0 all uploaded, 1 some failed, 2 usage, 130 interrupted."""


def parse(arguments: Sequence[str] | None) -> Options:
    """The options; says so and ends the program with status 2 where they can't be meant."""
    parser = build_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(words, Options(words=words))
    if options.command == "upload" and not options.paths and not options.manifest:
        parser.error("nothing to upload: name files, folders, or a --manifest")
    if options.command == "upload":
        options.raw = options.raw or (options.method == "PUT" and options.field is None)
        if options.raw and (options.data or options.field):
            parser.error("--data and --field are of a form, but the body is the file itself")
    return options


def build_parser() -> argparse.ArgumentParser:
    """The parser, which is also what completion is made of."""
    parser = argparse.ArgumentParser(
        prog="aioreq", description="Uploads over HTTP: exact, restartable, watched.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"aioreq {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_upload(commands)
    for method in METHODS:
        _add_request(commands, method)
    shells = commands.add_parser("completion", help="print a script that completes these words in a shell")
    shells.add_argument("shell", choices=SHELLS)
    return parser


def _add_upload(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "upload",
        help="upload files and folders",
        description=_UPLOAD,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_argument("url", metavar="URL", help="where to; - when the manifest says it for each item")
    command.add_argument("paths", metavar="PATH", nargs="*", default=[], help="files and folders")
    command.add_argument("--manifest", metavar="FILE", action="append", default=[], help="a list of items; - for stdin")
    what = command.add_argument_group("what is sent")
    what.add_argument("--field", metavar="NAME", help="the form's field (default: file)")
    what.add_argument("--raw", action="store_true", help="the file itself is the body; so it is with PUT by default")
    what.add_argument("-X", "--method", type=_method, default="POST", help="the method (default: POST)")
    what.add_argument("-d", "--data", metavar="NAME=VALUE", type=_pair, action="append", help="a field of the form")
    what.add_argument("--digest", choices=("sha256", "md5", "crc32c"), help="compute and send a digest")
    how = command.add_argument_group("how it is sent")
    how.add_argument("--concurrency", type=_concurrency, metavar="N", help='uploads at a time, or "auto" (default: 16)')
    how.add_argument("--retries", type=_count, default=4, metavar="N", help="times a file is tried again (default: 4)")
    how.add_argument("--rate-limit", type=parse_size, metavar="SIZE", help="bytes per second, such as 500k or 10M")
    how.add_argument("--journal", metavar="FILE", help="remember what is done, and skip it the next time")
    how.add_argument("--stop-on-error", action="store_true", help="begin nothing more when a file has failed")
    _add_connection(how)
    told = command.add_argument_group("what is told")
    told.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")
    told.add_argument(
        "--report", metavar="FILE", action="append", default=[], type=_report,
        help="write every result to a .jsonl file, or a page about the run to a .html file; can be repeated",
    )  # fmt: skip
    told.add_argument("-q", "--quiet", action="store_true", help="say nothing but what has failed")
    told.add_argument("--json", action="store_true", help="print every result as a line of JSON")


def _add_request(commands: argparse._SubParsersAction[argparse.ArgumentParser], method: str) -> None:
    command = commands.add_parser(
        method, help=f"send a {method.upper()} request", description=_about(method), allow_abbrev=False
    )
    command.add_argument("url", metavar="URL")
    if method in ("post", "put", "delete"):
        command.add_argument(
            "-F", "--form", metavar="NAME=VALUE", type=_pair, action="append", default=[],
            help="a field of a form; NAME=@FILE[;type=TYPE][;filename=NAME] is a file",
        )  # fmt: skip
        command.add_argument(
            "-d", "--data", metavar="NAME=VALUE", type=_pair, action="append", default=[], help="a field"
        )
        command.add_argument("--body", metavar="TEXT", help="the body itself; @FILE for a file's content, @- for stdin")
    else:
        command.add_argument(
            "-d", "--data", metavar="NAME=VALUE", type=_pair, action="append", default=[], help="a field of the query"
        )
    if method != "head":
        command.add_argument("-o", "--output", metavar="FILE", help="write the answer's body to a file")
        command.add_argument("-i", "--include", action="store_true", help="print the answer's head too")
    command.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    _add_connection(command)


def _about(method: str) -> str:
    shown = "the answer's head" if method == "head" else "the answer"
    return (
        f"Send a {method.upper()} request and print {shown}. "
        "Exit status: 0 for an answer below 400, 1 for any other or none, 2 usage, 130 interrupted."
    )


def _add_connection(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", type=_header, action="append", default=[], help="a request header"
    )
    group.add_argument("--auth", metavar="USER[:PASSWORD]", help="credentials; a missing password is asked for")
    group.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="the longest silence")
    group.add_argument("-k", "--insecure", action="store_true", help="don't check the server's certificate")
    group.add_argument("--cacert", metavar="FILE", help="trust these certificates (PEM)")
    group.add_argument("--cert", metavar="FILE", help="the client's certificate and key (PEM)")
    group.add_argument("--proxy", metavar="URL", help="send everything through this proxy")


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _header(text: str) -> tuple[str, str]:
    name, mark, value = text.partition(":")
    if not mark or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not 'NAME: VALUE'")
    return name.strip(), value.strip()


def _method(text: str) -> str:
    try:
        return checked_method(text)
    except InvalidMethod as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _concurrency(text: str) -> int | str:
    if text == "auto":
        return text
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f'{text!r} is neither a number nor "auto"')


def _count(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number, 0 or more")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def _report(text: str) -> str:
    if text.endswith((".jsonl", ".html")):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} ends neither with .jsonl nor with .html")


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?(?:/s)?", re.IGNORECASE)


def parse_size(text: str) -> float:
    """Bytes as people write them: 500k, 1.5M, 2MiB, 10 MB/s."""
    found = _SIZE.fullmatch(text.strip())
    number = float(found[1]) if found else 0.0
    if not found or not number or (found[3] and not found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes such as 500k, 10M or 1MiB")
    power: int = " kmgt".index(found[2].lower() or " ")
    return number * float((1024 if found[3] else 1000) ** power)
