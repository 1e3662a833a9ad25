"""The journal: a SQLite file that remembers what has arrived, so that a run can be killed and started again.

Each result is written in a transaction before anybody is told of it. The file is in WAL mode and synchronous=FULL:
what is committed is on the disk, and outlives the process and the power, however they end. Results that come together
share a transaction, so that a slow disk costs little. The process that has a journal open holds SQLite's exclusive lock
on it, which the system gives back when the process ends in whatever way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._threads import READERS
from ..exceptions import ExtraRequired, RequestException

if TYPE_CHECKING:
    import aiosqlite

# "aioq": how a SQLite file says whose it is (SQLite, PRAGMA application_id).
_APPLICATION = 0x61696F71
_FORMAT = 1
_WRITTEN_AT_ONCE = 200
# How every SQLite file begins.
_MAGIC = b"SQLite format 3\0"

_SCHEMA = (
    "CREATE TABLE job (id TEXT NOT NULL, description TEXT NOT NULL, created REAL NOT NULL)",
    """CREATE TABLE uploads (
        identity BLOB NOT NULL UNIQUE,
        url TEXT, field TEXT, path TEXT, size INTEGER, mtime INTEGER,
        key TEXT NOT NULL, ok INTEGER NOT NULL, status INTEGER, digest TEXT, problem TEXT,
        attempts INTEGER NOT NULL, finished REAL NOT NULL
    )""",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)


class JournalError(RequestException):
    """The journal can't be used, or can't be written to."""


class JournalMismatch(JournalError, ValueError):
    """The journal is another job's, or the file is no journal at all; it is left as it was."""


class JournalBusy(JournalError):
    """Another run has the journal open."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal.

    Attributes:
        identity: what the item is known by: 16 bytes made of the fields below.
        url: where it went, without what only signs it; or None.
        field: the form's field, or None.
        path: the file's absolute path, or None.
        size: bytes.
        mtime: the file's time of change, in nanoseconds, or None.
        key: the Idempotency-Key.
        ok: whether it arrived.
        status: of the answer, or None.
        digest: of the source, or None.
        problem: in a line why it did not arrive, or None.
        attempts: how many there were.
        finished: seconds since the epoch.
    """

    identity: bytes
    url: str | None
    field: str | None
    path: str | None
    size: int | None
    mtime: int | None
    key: str
    ok: bool
    status: int | None
    digest: str | None
    problem: str | None
    attempts: int
    finished: float

    def row(self) -> tuple[Any, ...]:
        """Its values in the order of the table. A path that is not UTF-8 is stored as its bytes."""
        path: str | bytes | None = self.path
        if self.path is not None and not _is_utf8(self.path):
            path = os.fsencode(self.path)
        problem = None if self.problem is None else self.problem.encode("utf-8", "backslashreplace").decode()
        return (
            self.identity, self.url, self.field, path, self.size, self.mtime, self.key, self.ok, self.status,
            self.digest, problem, self.attempts, self.finished,
        )  # fmt: skip


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_COLUMNS = len(Entry.__slots__)
_ROW = f"({', '.join('?' * _COLUMNS)})"


@dataclass(frozen=True, slots=True)
class Done:
    """What the journal tells of an item that has arrived.

    Attributes:
        status: of the answer then.
        digest: of the source then, or None.
    """

    status: int
    digest: str | None


class Journal:
    """An open journal.

    Attributes:
        id: a random word that is the journal's for good; keys are made of it.
    """

    def __init__(self, path: str, database: aiosqlite.Connection) -> None:
        self.id = ""
        self._path = path
        self._database = database
        self._pending: list[tuple[Entry, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: str | os.PathLike[str], description: str) -> Journal:
        """Open the journal of a job, or begin one.

        Args:
            path: of the file.
            description: what the job is, in words; a journal with another one is another job's.

        Raises:
            JournalMismatch: the file is another job's journal, or something else.
            JournalBusy: another run has it open.
            JournalError: it can't be opened.
            ExtraRequired: aiosqlite is not installed.
        """
        try:
            import aiosqlite
        except ImportError as error:
            raise ExtraRequired("a journal needs aiosqlite: pip install 'aioreq[journal]'") from error
        path = os.fsdecode(path)
        with _explained(path):
            await READERS.start(_require_database, path)
            database = await aiosqlite.connect(path, isolation_level=None, timeout=0)
        journal = cls(path, database)
        try:
            with _explained(path):
                await journal._begin(description)
        except BaseException:
            await database.close()
            raise
        return journal

    async def _begin(self, description: str) -> None:
        # First of all: the lock is then taken with the first look at the file, and nobody else gets in between.
        await self._run("PRAGMA locking_mode = EXCLUSIVE")
        await self._run("PRAGMA synchronous = FULL")
        await self._run("BEGIN EXCLUSIVE")
        if await self._is_new():
            await self._run("COMMIT")
            await self._run("PRAGMA journal_mode = WAL")
            await self._run("BEGIN EXCLUSIVE")
            for statement in _SCHEMA:
                await self._run(statement)
            await self._run("INSERT INTO job VALUES (?, ?, ?)", (uuid.uuid4().hex, description, time.time()))
        [(self.id, found)] = await self._run("SELECT id, description FROM job")
        await self._run("COMMIT")
        if found != description:
            raise JournalMismatch(
                f"the journal {self._path!r} is that of another job ({found}), not of this one ({description}): "
                "name another file, or go on with the job as it was begun"
            )

    async def _is_new(self) -> bool:
        [(application,)] = await self._run("PRAGMA application_id")
        [(tables,)] = await self._run("SELECT count(*) FROM sqlite_master")
        [(version,)] = await self._run("PRAGMA user_version")
        if not tables and not application:
            return True
        if application != _APPLICATION:
            raise JournalMismatch(f"{self._path!r} is a database, but not a journal of aioreq: name another file")
        if version != _FORMAT:
            raise JournalMismatch(f"the journal {self._path!r} was written by another version of aioreq")
        return False

    async def done(self, identities: Sequence[bytes]) -> dict[bytes, Done]:
        """Those of the items that have arrived."""
        if not identities:
            return {}
        marks = ", ".join("?" * len(identities))
        sql = f"SELECT identity, status, digest FROM uploads WHERE ok AND identity IN ({marks})"  # noqa: S608 - marks
        with _explained(self._path):
            rows = await self._run(sql, tuple(identities))
        return {identity: Done(status, digest) for identity, status, digest in rows}

    async def record(self, entry: Entry) -> None:
        """Write an entry; when this returns it outlives the process. Entries that come together share a transaction.

        Raises:
            JournalError: it could not be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._pending.append((entry, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="aioreq journal")
        await written

    async def _write(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:_WRITTEN_AT_ONCE], self._pending[_WRITTEN_AT_ONCE:]
            error: Exception | None = None
            try:
                with _explained(self._path):
                    await self._insert([entry for entry, _ in batch])
            except JournalError as raised:
                error = raised
            for _, written in batch:
                if written.done():
                    continue
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(error)
        self._writing = None

    async def _insert(self, entries: list[Entry]) -> None:
        """In one statement, which is one transaction and one hop to the thread."""
        rows = ", ".join((_ROW,) * len(entries))
        values = [value for entry in entries for value in entry.row()]
        await self._run(f"INSERT OR REPLACE INTO uploads VALUES {rows}", values)  # noqa: S608 - rows of marks

    async def aclose(self) -> None:
        """Write what is left, and close."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
        await self._database.close()

    async def _run(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(await self._database.execute_fetchall(sql, values))


def _require_database(path: str) -> None:
    """Make the file if there is none, and refuse one that holds something else. Blocks: for a reader thread.

    A short file would be nothing to SQLite, and written over.
    """
    with open(path, "ab+") as file:  # noqa: PTH123 - it is text
        file.seek(0)
        if file.read(len(_MAGIC)) not in (b"", _MAGIC):
            raise _no_journal(path)


def _no_journal(path: str) -> JournalMismatch:
    return JournalMismatch(f"{path!r} is not a journal: name another file")


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """What SQLite and the operating system say, in our words."""
    try:
        yield
    except RequestException:
        raise
    except (sqlite3.Error, OSError) as error:
        raise _explain(error, path) from error


def _explain(error: Exception, path: str) -> JournalError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalBusy(f"the journal {path!r} is in use by another run: wait for its end, or name another file")
    if code == sqlite3.SQLITE_NOTADB:
        return _no_journal(path)
    return JournalError(f"the journal {path!r} can't be used: {error}")
