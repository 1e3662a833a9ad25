"""From the command line's words to the command, and from what it raises to the exit status."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from ..bulk import JournalError, ManifestError
from ..exceptions import ExtraRequired, RequestException
from ._arguments import Options, parse
from ._completion import completion
from ._request import send
from ._upload import upload

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# What a person can put right in the command itself.
_USAGE = (ValueError, ManifestError, JournalError, ExtraRequired)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words behind the program's name; those of this process by default.

    Returns:
        The exit status.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files can be any bytes
    try:
        return _run(parse(arguments))
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain of it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except RequestException as error:
        return _say(str(error), USAGE if isinstance(error, _USAGE) else FAILED)
    except (ValueError, OSError) as error:
        return _say(str(error), USAGE)


def _run(options: Options) -> int:
    if options.command == "completion":
        print(completion(options.shell))  # noqa: T201 - a command line talks
        return DONE
    return upload(options) if options.command == "upload" else send(options)


def _say(text: str, status: int) -> int:
    print(f"aioreq: {text}", file=sys.stderr)  # noqa: T201
    return status
