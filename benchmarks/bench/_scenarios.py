"""What is measured, as data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@dataclass(frozen=True)
class Scenario:
    """One column of numbers.

    Attributes:
        operation: what the client does, in its own words (`clients/frame.py`), or "import".
        whole: how much of it: requests or files, bytes where `amounts` is "bytes", connections or uploads.
        probe: how much of it in the run that finds out how fast a client is.
        seconds: a client that would take longer than this for the whole is given less, as its probe says.
        file_size: of each file that goes up, in bytes.
    """

    key: str
    title: str
    operation: str
    unit: str
    whole: int
    probe: int
    concurrency: int = 1
    seconds: float = 0.6
    file_size: int = 0
    tls: bool = False
    amounts: Literal["count", "bytes"] = "count"
    better: Literal["more", "less"] = "more"
    cost: str = "CPU ms per 1,000"
    quick: int | None = None

    @property
    def scales(self) -> bool:
        """Whether a client may be given less to do without another meaning of what it is measured at."""
        return self.better == "more"

    @property
    def steady(self) -> bool:
        """Whether it hardly varies, so that few rounds are enough: memory, which is the same whatever the speed."""
        return self.operation in ("idle", "stalled")

    def small(self) -> Scenario:
        """The same for a smoke test."""
        few = self.quick or self.probe
        return replace(self, whole=few, probe=few, seconds=0.2)


def _requests(key: str, title: str, operation: str, *, concurrency: int = 50, tls: bool = False) -> Scenario:
    probe = 10 * concurrency
    whole = 10_000 if concurrency == 1 else 40_000
    return Scenario(key, title, operation, "requests/s", whole, probe, concurrency=concurrency, tls=tls)


def _large(key: str, title: str, operation: str, *, tls: bool = False) -> Scenario:
    return Scenario(
        key, title, operation, "GB/s", GIB, 32 * MIB, seconds=1.5, tls=tls, amounts="bytes", cost="CPU s per GB"
    )


def _many(key: str, title: str, operation: str, whole: int, file_size: int, *, seconds: float) -> Scenario:
    return Scenario(key, title, operation, "files/s", whole, 512, concurrency=32, seconds=seconds, file_size=file_size)


def _memory(key: str, title: str, operation: str, whole: int, *, file_size: int = 0, quick: int) -> Scenario:
    return Scenario(key, title, operation, "KiB", whole, whole, file_size=file_size, better="less", quick=quick)


SCENARIOS = (
    _requests("S1", "small GET, one at a time", "get", concurrency=1),
    _requests("S2", "small GET, 50 at a time", "get"),
    _large("S3", "upload of one file of 1 GiB", "file"),
    _many("S4", "upload of 2,000 files of 64 KiB, 32 at a time", "file", 2000, 64 * KIB, seconds=1.2),
    _requests("S5", "small form, 50 at a time", "form"),
    _large("S6", "download of 1 GiB", "download"),
    Scenario("S7", "import, above bare Python", "import", "ms", 1, 1, better="less"),
    _requests("S8 GET", "small GET, 50 at a time, TLS", "get", tls=True),
    _large("S8 upload", "upload of one file of 1 GiB, TLS", "file", tls=True),
    _memory("S9 idle", "memory of an idle connection, 1,000 open", "idle", 1000, quick=50),
    _memory("S9 upload", "memory of an upload in flight, 500 stalled", "stalled", 500, file_size=4 * MIB, quick=20),
    _many("S10", "bulk upload of 20,000 files of 4 KiB, 32 at a time", "bulk", 20_000, 4 * KIB, seconds=2.5),
)
