"""The faults: what the server does, what the client is asked to do, and what the evidence then says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from aioreq.testing import Exchange, Script, faults, script
from fault_table.judging import (
    MIB,
    Judge,
    error_words,
    is_own_answer,
    is_own_error,
    is_whole_form,
    judged,
    memory_note,
    not_offered,
    outcome_words,
    part_head,
    right,
    wrong,
)
from fault_table.play import Case, Evidence, Play, Verdict

_FIRST = 65_536
"""How much of a body the server reads before its fault."""
_SILENCE = 2.0
"""The silence that clients are told to bear where a case needs them to give up."""
_BIG = 64 * MIB
_FILE = 32 * MIB


def _upload(make: Callable[[], Script]) -> Callable[[], Mapping[str, Script]]:
    """Routes: the fault for the upload, nothing wrong with anything else."""
    return lambda: {"/upload": make(), "/next": faults.ok(), "/final": faults.ok()}


# -- Early answers -------------------------------------------------------------------------------------------------


@judged
def _every_413(evidence: Evidence) -> Verdict:
    lost = [outcome for outcome in evidence.attempts if outcome.get("status") != 413]
    if lost:
        return wrong(f"answer lost {len(lost)} of {len(evidence.attempts)} ({error_words(evidence, lost[0])})")
    return right(memory_note(evidence))


@judged
def _prompt_413(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if outcome.get("status") != 413:
        return wrong(f"answer lost, {error_words(evidence, outcome)} after {outcome['elapsed']:.0f} s")
    if outcome["elapsed"] > _SILENCE - 0.2:
        return wrong(f"answer only after {outcome['elapsed']:.0f} s")
    return right(memory_note(evidence))


@judged
def _all_sent_after_200(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        return wrong(error_words(evidence, outcome))
    if not evidence.to("/upload")[0].complete:
        return wrong(f"drops the rest of the body, {outcome['status']}")
    return right()


_IMPATIENT = {"seconds": _SILENCE}
_EARLY_CASES = (
    Case(
        title="413 and close in mid-upload, async generator, 10 runs",
        promise="the 413 reaches the caller each time",
        job={"task": "stream", "length": _BIG, "runs": 10, **_IMPATIENT},
        routes=_upload(lambda: faults.early_answer(413, after=_FIRST, then="close")),
        judge=_every_413,
    ),
    Case(
        title="413 and close in mid-upload, file in a form, 10 runs",
        promise="the 413 reaches the caller each time",
        job={"task": "form", "runs": 10, **_IMPATIENT},
        routes=_upload(lambda: faults.early_answer(413, after=_FIRST, then="close")),
        judge=_every_413,
        file_size=_FILE,
    ),
    Case(
        title="413, then the server stops reading and holds the socket",
        promise="the 413 reaches the caller, and not only after a timeout",
        job={"task": "form", **_IMPATIENT},
        routes=_upload(lambda: faults.early_answer(413, after=_FIRST, then="hold")),
        judge=_prompt_413,
        file_size=_FILE,
    ),
    Case(
        title="early 200 while the server goes on reading",
        promise="the rest of the body is sent, as the server expects it",
        job={"task": "stream", "length": 16 * MIB, **_IMPATIENT},
        routes=_upload(lambda: faults.early_answer(200, after=_FIRST, then="go_on")),
        judge=_all_sent_after_200,
    ),
)


# -- Files that change, disks that stall ---------------------------------------------------------------------------


@script
async def _pause_at_first(exchange: Exchange) -> None:
    await exchange.read_body(_FIRST)
    await exchange.pause("at first")
    await faults.ok()(exchange)


def _changing(play: Play, *, size: int) -> None:
    """Give the file another size while its first bytes are on their way."""
    with play.server:
        play.start()
        with contextlib.suppress(TimeoutError):
            play.server.reached("at first").wait()
        os.truncate(play.path, size)
        play.server.release("at first")
        play.finish()


@judged
def _shrunk(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        if outcome["elapsed"] > _SILENCE:
            return wrong(f"short body, {error_words(evidence, outcome)} after {outcome['elapsed']:.0f} s")
        words = error_words(evidence, outcome)
        return right(words) if is_own_error(evidence, outcome) else wrong(words)
    return _as_declared(evidence)


@judged
def _grown(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if evidence.violations:
        return wrong(f"writes past Content-Length, {outcome_words(outcome)}")
    if "exception" in outcome:
        return wrong(error_words(evidence, outcome))
    return _as_declared(evidence)


def _as_declared(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    (request,) = evidence.to("/upload")
    if not is_whole_form(request, evidence.content):
        return wrong(f"spoiled form, {outcome['status']}")
    return right(memory_note(evidence))


@judged
def _prompt_loop(evidence: Evidence) -> Verdict:
    failed = [outcome for outcome in evidence.attempts if outcome.get("status") != 200]
    if failed:
        return wrong(f"{len(failed)} of {len(evidence.attempts)} fail: {outcome_words(failed[0])}")
    if not all(is_whole_form(request, evidence.content) for request in evidence.to("/upload")):
        return wrong("spoiled form, 200")
    stall, lookup = evidence.report["stall_ms"] / 1000, evidence.report["lookup_ms"] / 1000
    if stall > _PROMPT:
        return wrong(f"event loop stands still for {stall:.1f} s")
    if lookup > _PROMPT:
        return wrong(f"name look-ups wait for {lookup:.1f} s")
    return right()


_PROMPT = 0.25
"""Seconds; generous, for a busy machine. What is looked for is several times that."""

_FILE_CASES = (
    Case(
        title="file shrinks in mid-upload",
        promise="an error says so, or what was declared is sent; no waiting for an answer to a short body",
        job={"task": "form", **_IMPATIENT},
        routes=_upload(_pause_at_first),
        judge=_shrunk,
        stage=partial(_changing, size=20 * MIB),
        file_size=_FILE,
    ),
    Case(
        title="file grows in mid-upload",
        promise="what was declared is sent, and the form is whole",
        job={"task": "form", **_IMPATIENT},
        routes=_upload(_pause_at_first),
        judge=_grown,
        stage=partial(_changing, size=_FILE + 8 * MIB),
        file_size=_FILE,
    ),
    Case(
        title="slow disk, 64 KiB in 50 ms, 24 uploads",
        promise="the event loop and `getaddrinfo` stay prompt (below 0.25 s)",
        job={"task": "slow forms", "uploads": 24},
        routes=_upload(faults.ok),
        judge=_prompt_loop,
        file_size=6 * 65_536,
        limit=20.0,
    ),
)


# -- Sending again -------------------------------------------------------------------------------------------------


@judged
def _form_sent_again(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        return wrong(error_words(evidence, outcome))
    (final,) = evidence.to("/final")
    if not is_whole_form(final, evidence.content):
        return wrong(f"{final.received} bytes sent again, {outcome['status']}")
    return right()


@judged
def _stream_sent_again_or_refused(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        words = error_words(evidence, outcome)
        return right(words) if is_own_error(evidence, outcome) else wrong(words)
    first, final = evidence.to("/upload")[0], evidence.to("/final")[0]
    if final.sha256 == first.sha256:
        return right("sent again")
    return wrong(f"{'empty' if not final.received else 'short'} body sent again, {outcome['status']}")


def _own_error(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" not in outcome:
        return wrong(f"no error, {outcome['status']}")
    words = error_words(evidence, outcome)
    return right(words) if is_own_error(evidence, outcome) else wrong(words)


_AGAIN_CASES = (
    Case(
        title="307 after a file in a form",
        promise="the whole form is sent again",
        job={"task": "form"},
        routes=_upload(lambda: faults.redirect("/final")),
        judge=_form_sent_again,
    ),
    *(
        Case(
            title=f"307 after an async generator{how}",
            promise="the body is sent again, or an error says that it cannot be; never an empty or short one",
            job={"task": "stream", "length": MIB, "chunked": chunked},
            routes=_upload(lambda: faults.redirect("/final")),
            judge=_stream_sent_again_or_refused,
        )
        for how, chunked in (("", False), (", sent chunked", True))
    ),
    Case(
        title="reset in mid-upload, then another request",
        promise="an error of the library's own, and the session works on",
        job={"task": "stream", "length": _BIG, **_IMPATIENT},
        routes=_upload(lambda: faults.reset_after(_FIRST)),
        judge=judged(_own_error),
    ),
)


# -- Forms ---------------------------------------------------------------------------------------------------------


@judged
def _file_left_open(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if outcome.get("status") != 200:
        return wrong(outcome_words(outcome))
    return wrong("closed") if evidence.report["file_closed"] else right()


@judged
def _async_file_sent(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        return not_offered(error_words(evidence, outcome))
    (request,) = evidence.to("/upload")
    if not is_whole_form(request, evidence.content):
        return wrong(f"spoiled form, {outcome['status']}")
    return wrong("no Content-Length, chunked") if request.declared is None else right()


@judged
def _name_as_typed(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        return wrong(error_words(evidence, outcome))
    head = part_head(evidence.to("/upload")[0], b"name=")
    if f'name="{_NAME}"'.encode() in head[0]:
        return right()
    return wrong(f"sent as {head[0].partition(b'name=')[2].decode('utf-8', 'replace')}")


@judged
def _nothing_injected(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        return right(error_words(evidence, outcome))
    head = part_head(evidence.to("/upload")[0], b"filename")
    if any(line.lower().startswith(b"x-injected") for line in head):
        return wrong("header injected")
    return right("escaped")


_NAME = "größe"
_INJECTION = "\r\nX-Injected: yes"

_FORM_CASES = (
    Case(
        title="the caller's file after the upload",
        promise="it is open still: who opened it closes it",
        job={"task": "form"},
        routes=_upload(faults.ok),
        judge=_file_left_open,
    ),
    Case(
        title="aiofiles file in a form",
        promise="the form arrives whole, with a Content-Length",
        job={"task": "aiofiles form"},
        routes=_upload(faults.ok),
        judge=_async_file_sent,
    ),
    Case(
        title="non-ASCII name of a text field",
        promise="the name arrives as UTF-8, as browsers send it",
        job={"task": "form", "fields": {_NAME: "12 µm"}},
        routes=_upload(faults.ok),
        judge=_name_as_typed,
    ),
    Case(
        title="CR LF in a filename",
        promise="it is escaped or refused; no header is injected",
        job={"task": "form", "filename": f'a"{_INJECTION}\r\n.txt'},
        routes=_upload(faults.ok),
        judge=_nothing_injected,
    ),
    Case(
        title="CR LF in a part's content type",
        promise="it is refused; no header is injected",
        job={"task": "form", "content_type": f"text/plain{_INJECTION}"},
        routes=_upload(faults.ok),
        judge=_nothing_injected,
    ),
)


# -- Interim answers -----------------------------------------------------------------------------------------------


@script
async def _hints_before_100(exchange: Exchange) -> None:
    """103, half a second in which the body has no business to come, then 100; 425 to those who send it on the 103."""
    await exchange.interim(103)
    early = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await exchange.read_body(1, allow=False)
            early = True
    await exchange.read_body()
    await exchange.answer(425 if early else 200)


@judged
def _body_sent(evidence: Evidence) -> Verdict:
    (outcome,) = evidence.attempts
    if "exception" in outcome:
        return wrong(error_words(evidence, outcome))
    if outcome["status"] == 425:
        return wrong("sends the body on the 103")
    return right() if evidence.to("/upload")[0].complete else wrong(f"short body, {outcome['status']}")


_INTERIM_CASES = (
    Case(
        title="`Expect: 100-continue`, and the server never says 100",
        promise="after a while the body is sent all the same (RFC 9110, section 10.1.1)",
        job={"task": "stream", "length": MIB, "expect": True, "seconds": 5.0},
        routes=_upload(faults.silent_on_expect),
        judge=_body_sent,
    ),
    Case(
        title="`Expect: 100-continue`, 103 before the 100",
        promise="the body waits for the 100",
        job={"task": "stream", "length": MIB, "expect": True, "seconds": 5.0},
        routes=_upload(_hints_before_100),
        judge=_body_sent,
    ),
    Case(
        title="interim answers without end",
        promise="an error, soon",
        job={"task": "stream", "length": 1000, **_IMPATIENT},
        routes=_upload(faults.endless_1xx),
        judge=judged(_own_error),
    ),
)


# -- Limits --------------------------------------------------------------------------------------------------------


@judged
def _stall_noticed(evidence: Evidence) -> Verdict:
    found = _own_error(evidence)
    (outcome,) = evidence.attempts
    if found.right and outcome["elapsed"] > 2 * _SILENCE:
        return wrong(f"{found.text} after {outcome['elapsed']:.0f} s")
    return found


def _unless_lacking(what: str, judge: Judge) -> Judge:
    """A hang is no fault of a library that does not claim to have the limit."""

    def verdict(evidence: Evidence) -> Verdict:
        found = judge(evidence)
        instead = evidence.report.get("lacks", {}).get(what)
        return not_offered(instead) if instead and not found.right else found

    return verdict


_LIMIT_CASES = (
    Case(
        title="server stops reading, and says nothing; 2 s of silence allowed",
        promise="a timeout",
        job={"task": "stream", "length": _BIG, **_IMPATIENT},
        routes=_upload(lambda: faults.stall(after=_FIRST)),
        judge=_unless_lacking("write timeout", _stall_noticed),
    ),
    Case(
        title="a generator that never ends, 1 MiB declared",
        promise="an error, and the event loop runs on",
        job={"task": "stream", "length": MIB, "endless": True, **_IMPATIENT},
        routes=_upload(faults.ok),
        judge=judged(_own_error),
        limit=6.0,
    ),
)


# -- Connections ---------------------------------------------------------------------------------------------------


def _stray_while_idle(play: Play) -> None:
    """Send what nobody asked for when the first answer has been read and the connection is back in the pool."""
    with play.server:
        play.start()
        if play.wait_for_client():
            play.server.release("late")
            play.server.reached("strayed").wait()
            play.let_client_go()
        play.finish()


def _unreachable_at_first(play: Play) -> None:
    """Nobody accepts while the client connects and gives up; then the server is there, at the same address."""
    with play.server:
        address = play.server.address
    assert isinstance(address, tuple)
    with _full_backlog(address):
        play.start()
        play.wait_for_client()
    with play.server:
        play.let_client_go()
        play.finish()


@contextlib.contextmanager
def _full_backlog(address: tuple[str, int]) -> Iterator[None]:
    """A listener that takes no more connections: whoever connects waits."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield


@judged
def _answers_not_swapped(evidence: Evidence) -> Verdict:
    (first,), second = evidence.attempts, evidence.report["next"]
    if not is_own_answer(first, "first"):
        return wrong(outcome_words(first))
    if second.get("content") == "stray":
        return wrong("stray bytes taken for the next answer")
    return right()


@judged
def _place_free_again(evidence: Evidence) -> Verdict:
    # What counts is the next request, which `judged` looks at; this looks whether the case was played at all.
    connected = [outcome for outcome in evidence.attempts if not outcome["cancelled"]]
    return wrong("ended before it could be cancelled") if connected else right()


_CONNECTION_CASES = (
    Case(
        title="stray bytes along with an answer",
        promise="the next request gets its own answer",
        job={"task": "two requests", "url": "/first"},
        routes=lambda: {"/first": faults.stray_bytes(), "/next": faults.ok()},
        judge=_answers_not_swapped,
    ),
    Case(
        title="stray bytes on an idle connection",
        promise="the next request gets its own answer",
        job={"task": "two requests", "url": "/first", "rendezvous": True},
        routes=lambda: {"/first": faults.stray_bytes(gate="late"), "/next": faults.ok()},
        judge=_answers_not_swapped,
        stage=_stray_while_idle,
    ),
    Case(
        title="cancelled while connecting, one connection allowed, 3 times",
        promise="the place is free again: the next request works",
        job={"task": "cancel while connecting", "runs": 3, "connections": 1, "seconds": 5.0},
        routes=lambda: {"/upload": faults.ok(), "/next": faults.ok()},
        judge=_place_free_again,
        stage=_unreachable_at_first,
    ),
)

CASES = (*_EARLY_CASES, *_FILE_CASES, *_AGAIN_CASES, *_FORM_CASES, *_INTERIM_CASES, *_LIMIT_CASES, *_CONNECTION_CASES)
