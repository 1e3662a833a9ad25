"""Which Python runs which peer, and what it has installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import environments

from bench._peers import Peer


class Environments:
    """The peers' environments.

    Args:
        here: run all in the environment of this program, and install nothing.
        fresh: install the newest releases, even where there is an environment.
    """

    def __init__(self, *, here: bool, fresh: bool) -> None:
        self._here, self._fresh = here, fresh
        self._made: dict[str, Path] = {}

    def python(self, peer: Peer) -> Path:
        """The interpreter for a peer, in an environment that is made if it is not there.

        Raises:
            InstallError: it could not be made.
        """
        if self._here or not peer.requirements:
            return Path(sys.executable)
        if peer.environment not in self._made:
            folder = environments.PLACE / "bench" / peer.environment
            self._made[peer.environment] = environments.make(folder, peer.requirements, fresh=self._fresh)
        return self._made[peer.environment]


def versions(pythons: Mapping[Peer, Path]) -> dict[str, str]:
    """What of each distribution is measured, by its name."""
    found: dict[str, str] = {}
    for peer, python in pythons.items():
        names = [name for name in (peer.distribution, peer.loop, *peer.requirements[1:]) if name]
        found.update(json.loads(environments.run(python, "-c", _VERSIONS, *names)))
    return found


_VERSIONS = """
import importlib.metadata as m, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = m.version(name)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
