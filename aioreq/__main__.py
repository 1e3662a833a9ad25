"""``python -m aioreq`` is the command ``aioreq``."""

import sys

from ._cli import main

sys.exit(main())
