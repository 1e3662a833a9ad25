"""How far an upload has come: every byte is counted once, and told to whoever asked."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq import UploadProgress
from aioreq._body import Body, Bytes, bytes_body
from aioreq._progress import DownloadProgress, Meter
from aioreq._source import describe
from aioreq.multipart import MultipartParam, multipart_encode


def told_of(body: Body, steps: list[int], attempt: int = 1) -> list[UploadProgress]:
    """What progress= is told as these many bytes leave, one step after the other."""
    told: list[UploadProgress] = []
    meter = Meter(body, told.append, attempt)
    for step in steps:
        meter.advance(step)
    return told


class TestRawBodies:
    def test_each_step_is_told(self):
        """A body without parts has no param; sent and total are bytes of all of it."""
        told = told_of(bytes_body(b"0123456789"), [3, 3, 4])
        assert [(progress.param, progress.sent, progress.total) for progress in told] == [
            (None, 3, 10),
            (None, 6, 10),
            (None, 10, 10),
        ]
        assert [(progress.param_sent, progress.param_total) for progress in told] == [(3, 10), (6, 10), (10, 10)]

    def test_nothing_is_told_of_nothing(self):
        """A step of no bytes is none."""
        assert told_of(bytes_body(b"0123"), [0, 2, 0, 2, 0]) == told_of(bytes_body(b"0123"), [2, 2])

    def test_a_total_that_nobody_knows(self):
        """With chunked coding there is no total."""
        body = Body((describe(iter([b"0123"]), chunked=True),))
        told = told_of(body, [3, 1])
        assert [(progress.sent, progress.total, progress.param_total) for progress in told] == [
            (3, None, None),
            (4, None, None),
        ]

    def test_attempts_are_numbered(self):
        """Each attempt begins at nothing, with its number."""
        assert [progress.attempt for progress in told_of(bytes_body(b"x"), [1], attempt=3)] == [3]


class TestForms:
    def form(self) -> tuple[Body, list[MultipartParam]]:
        params = [MultipartParam("a", "1"), MultipartParam("b", fileobj=iter([b"2345"]), filesize=4)]
        return multipart_encode(params, boundary="B")[0], params

    def test_the_end_of_each_param_is_told(self):
        """One step that covers several params is told once for each: nobody has to guess where one ended."""
        body, (one, other) = self.form()
        told = told_of(body, [len(body)])
        assert [progress.param for progress in told] == [one, other, None]
        assert [progress.sent for progress in told] == [
            one.get_size("B"),
            one.get_size("B") + other.get_size("B"),
            len(body),
        ]
        assert all(progress.param_sent == progress.param_total for progress in told)
        assert [progress.param_total for progress in told] == [
            one.get_size("B"),
            other.get_size("B"),
            len(b"--B--\r\n"),
        ]

    def test_byte_by_byte(self):
        """Every byte belongs to one param, head lines and line ends included."""
        body, (one, other) = self.form()
        told = told_of(body, [1] * len(body))
        assert [progress.sent for progress in told] == list(range(1, len(body) + 1))
        counts = [sum(progress.param is param for progress in told) for param in (one, other, None)]
        assert counts == [one.get_size("B"), other.get_size("B"), len(b"--B--\r\n")]

    def test_all_listeners_hear_the_same(self):
        """cb of the form, cb of a param and progress= are told of the same bytes, each in its own way."""
        of_form: list[tuple[Any, int, int]] = []
        of_param: list[tuple[Any, int, int]] = []
        param = MultipartParam("a", "12345", cb=lambda *arguments: of_param.append(arguments))
        body, _ = multipart_encode([param], boundary="B", cb=lambda *arguments: of_form.append(arguments))
        told = told_of(body, [10, len(body) - 10])
        assert of_form == [(progress.param, progress.sent, progress.total) for progress in told]
        assert of_param == [(param, progress.param_sent, progress.param_total) for progress in told if progress.param]

    def test_a_form_of_nothing(self):
        """The closing boundary alone has no param."""
        body, _ = multipart_encode({}, boundary="B")
        assert [(progress.param, progress.sent) for progress in told_of(body, [7])] == [(None, 7)]

    @settings(max_examples=60, derandomize=True, database=None, deadline=None)
    @given(
        values=st.lists(st.binary(max_size=20), max_size=5),
        steps=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    )
    def test_any_steps_over_any_form(self, values: list[bytes], steps: list[int]):
        """However the bytes leave: what is told only grows, ends at the total, and adds up for each param."""
        params = [MultipartParam(f"n{number}", value) for number, value in enumerate(values)]
        body, _ = multipart_encode(params, boundary="B")
        cuts = sorted({min(sum(steps[:end]), len(body)) for end in range(len(steps) + 1)} | {len(body)})
        told = told_of(body, [end - start for start, end in pairwise(cuts)])
        sent = [progress.sent for progress in told]
        assert sent == sorted(set(sent))
        assert set(cuts) - {0} <= set(sent)
        assert told[-1].sent == told[-1].total == len(body)
        whole = [progress.param for progress in told if progress.param_sent == progress.param_total]
        assert list(map(id, whole)) == list(map(id, [*params, None]))


class TestWhoListens:
    def test_nobody(self):
        """Without a listener nothing is counted."""
        assert not Meter.is_wanted(bytes_body(b"x"), None)
        assert not Meter.is_wanted(multipart_encode({"a": "b"})[0], None)

    def test_somebody(self):
        """progress=, a form's cb, or a param's cb."""
        assert Meter.is_wanted(bytes_body(b"x"), print)
        assert Meter.is_wanted(multipart_encode({"a": "b"}, cb=print)[0], None)
        assert Meter.is_wanted(multipart_encode([MultipartParam("a", "b", cb=print)])[0], None)

    def test_what_a_listener_raises_is_raised(self):
        """A callback may stop the upload: its exception comes out as it was raised."""

        class Stop(Exception):
            pass

        def refuse(_progress: UploadProgress) -> None:
            raise Stop

        with pytest.raises(Stop):
            Meter(bytes_body(b"x"), refuse).advance(1)


def test_progress_is_a_record():
    """UploadProgress and DownloadProgress are values: compared by what they say, and not to be changed."""
    assert UploadProgress(None, 1, 2, 1, 2) == UploadProgress(None, 1, 2, 1, 2, attempt=1)
    for record in (UploadProgress(None, 1, 2, 1, 2), DownloadProgress(1, None)):
        with pytest.raises(AttributeError):
            record.total = 7  # type: ignore[misc]


def test_empty_segments_are_passed_over():
    """A segment without bytes is told of by nobody."""
    body = Body((Bytes(b""), Bytes(b"ab"), Bytes(b""), Bytes(b"c")))
    assert [progress.sent for progress in told_of(body, [3])] == [3]
