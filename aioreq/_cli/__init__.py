"""The command line: ``aioreq upload``, ``aioreq get|head|post|put|delete``, ``aioreq completion``.

Exit status: 0 when all went well, 1 when something failed, 2 for what can't be meant, 130 when it was interrupted.
"""

from ._main import main

__all__ = ["main"]
