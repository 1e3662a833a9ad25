"""Who is measured, and what each one needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from environments import BENCHMARKS, ROOT


@dataclass(frozen=True, eq=False)
class Peer:
    """A row of the table.

    `environment` names the virtual environment that it runs in, `requirements` what pip puts there, `imports` what S7
    imports. `loop` is a faster event loop to run on. `cannot` says, by scenario, why it is not asked to do it.
    """

    name: str
    program: str
    environment: str
    requirements: tuple[str, ...]
    distribution: str | None = None
    imports: str | None = None
    loop: str | None = None
    only: frozenset[str] | None = None
    cannot: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return BENCHMARKS / "clients" / f"with_{self.program}.py"


_THREADS = {"S9 upload": "a thread for each", "S9 idle": "a thread for each"}
_NO_CLIENT = {"S9 upload": "no client", "S9 idle": "no client"}
# Where another event loop could make a difference; elsewhere the rows would repeat what stands above them.
_ON_UVLOOP = frozenset({"S1", "S2", "S3", "S4", "S6", "S8 GET", "S10"})


def _library(name: str, *requirements: str, cannot: Mapping[str, str] | None = None) -> Peer:
    return Peer(name, name, name, requirements or (name,), distribution=name, imports=name, cannot=cannot or {})


def _on_uvloop(peer: Peer) -> Peer:
    return replace(peer, name=f"{peer.name} + uvloop", loop="uvloop", imports=None, only=_ON_UVLOOP)


_AIOREQ = _library("aioreq", str(ROOT), "uvloop")
_AIOHTTP = _library("aiohttp", "aiohttp", "uvloop")
_HTTPUNK = _library("httpunk", "httpunk", "uvloop")

PEERS = (
    _AIOREQ,
    _on_uvloop(_AIOREQ),
    _AIOHTTP,
    _on_uvloop(_AIOHTTP),
    _library("httpx2"),
    _library("httpx"),
    _library("niquests"),
    _library("aiosonic"),
    _library("wreq"),
    _HTTPUNK,
    _on_uvloop(_HTTPUNK),
    _library("primp"),
    _library("curl_cffi"),
    _library("requests", "requests", "requests-toolbelt", cannot=_THREADS),
    Peer("curl", "curl", "limit", (), only=frozenset({"S3", "S6", "S8 upload"})),
    Peer("limit", "limit", "limit", (), imports="asyncio, ssl", cannot=_NO_CLIENT),
)
"""The limit is not a client: bare sockets and asyncio that do the least that the scenario can be done with."""
