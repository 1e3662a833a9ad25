"""The picture of a run: right in numbers, small whatever the run, and readable in a real browser on a phone."""

import itertools
import json
import os
import random
import re
import subprocess
import xml.etree.ElementTree as ET
from html import escape
from pathlib import Path
from typing import Any

import pytest

from aioreq.bulk import Report, Upload, UploadResult, bulk_upload
from aioreq.bulk._picture import count_text, over_time, scatter, size_text, time_text
from aioreq.bulk._report import Timeline
from aioreq.testing import Exchange
from tests.servers.requirements import require


def result(
    number: int = 0,
    *,
    ok: bool = True,
    size: int = 1000,
    started: float = 0.0,
    duration: float = 0.1,
    attempts: int = 1,
) -> UploadResult:
    return UploadResult(
        Upload(f"folder/file <{number}> & more.bin"),
        error=None if ok else OSError("it <b>broke</b> {{failed}}"),
        size=size,
        sent=size,
        started=started,
        duration=duration,
        attempts=attempts,
        status=201 if ok else None,
    )


def example() -> Report:
    """A run of a minute with retries and failures."""
    report = Report("500 files to <https://example.org/>")
    for number in range(500):
        report.add(
            result(
                number,
                ok=number % 50 != 7,
                size=10 ** (number % 7) + number,
                started=number / 8,
                duration=0.01 * (1 + number % 7) ** 2,
                attempts=1 + (number % 20 == 0),
            )
        )
    return report


class TestNumbers:
    """What is counted."""

    def test_counts(self):
        """Uploads, failures, repetitions, bytes and time."""
        report = example()
        assert (report.uploaded, report.failed, report.retries, report.skipped) == (490, 10, 25, 0)
        assert report.seconds == pytest.approx(62.49)
        assert len(report.failures) == 10
        assert [each.duration for each in report.slowest] == [pytest.approx(0.49)] * 10

    def test_what_was_done_before(self):
        """Skipped items count apart, and took no time."""
        report = Report()
        report.add(UploadResult(Upload("a"), skipped=True, status=200))
        assert (report.skipped, report.uploaded, report.seconds) == (1, 0, 0)
        assert "<b>1</b> done before" in report.html()

    def test_what_was_never_sent(self):
        """An item that could not be read has failed, and took no time."""
        report = Report()
        report.add(result(ok=False, attempts=0, started=5))
        assert (report.failed, report.seconds) == (1, 0)

    def test_it_stays_small(self):
        """However long the run, the page is of the same size."""
        pages = []
        for number in (5_000, 20_000):
            report = Report()
            for each in range(number):
                report.add(result(each, ok=each % 3 != 0, started=each * 0.5, size=each + 1))
            pages.append(len(report.html()))
        assert pages[1] < 1.2 * pages[0] < 250_000


class TestTimeline:
    """What happened when."""

    def test_bytes_are_spread(self):
        """An upload's bytes and its place count for as long as it took."""
        timeline = Timeline()
        timeline.add(result(started=0.1, duration=0.2, size=4000))
        assert [round(each.bytes) for each in timeline.bins] == pytest.approx([0, 0, 1000, 1000, 1000, 1000, 0], abs=1)
        assert sum(each.busy for each in timeline.bins) == pytest.approx(0.2)
        assert [each.finished for each in timeline.bins][-1] == 1

    def test_no_time_at_all(self):
        """An upload that took no time counts in full."""
        timeline = Timeline()
        timeline.add(result(started=0.12, duration=0.0, size=4000))
        assert timeline.bins[2].bytes == 4000

    @pytest.mark.parametrize("seconds", [1, 60, 100_000])
    def test_nothing_is_lost(self, seconds: float):
        """When stretches become wider, their sums stay."""
        timeline = Timeline()
        for number in range(1000):
            timeline.add(result(started=number * seconds / 1000, duration=seconds / 100, ok=number % 4 > 0, attempts=2))
        assert len(timeline.bins) <= 240
        assert sum(each.bytes for each in timeline.bins) == pytest.approx(1_000_000)
        assert sum(each.busy for each in timeline.bins) == pytest.approx(10 * seconds)
        assert sum(each.finished for each in timeline.bins) == 750
        assert sum(each.failed for each in timeline.bins) == 250
        assert sum(each.retries for each in timeline.bins) == 1000


class TestPage:
    """What is written."""

    def test_it_loads_nothing(self):
        """The page is one file: no script, no address to load anything from."""
        page = example().html()
        assert "<script" not in page
        assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
        assert "url(" not in page

    def test_names_are_text(self):
        """Whatever a file is called, it is text in the page."""
        page = example().html()
        assert "file &lt;499&gt; &amp; more.bin" not in page  # not among the slowest or the failed
        assert "file &lt;57&gt; &amp; more.bin" in page
        assert "it &lt;b&gt;broke&lt;/b&gt; {{failed}}" in page
        assert "<title>500 files to &lt;https://example.org/&gt;</title>" in page

    def test_charts_are_svg(self):
        """Each chart is well-formed, stays inside its frame, and says in words what it shows."""
        charts = re.findall(r"<svg.*?</svg>", example().html(), re.DOTALL)
        assert len(charts) == 4
        for chart in charts:
            tree = ET.fromstring(chart)
            assert tree.attrib["aria-label"]
            width, height = map(float, tree.attrib["viewBox"].split()[2:])
            for text in tree.iter("text"):
                assert 0 <= float(text.attrib["x"]) <= width
                assert 0 <= float(text.attrib["y"]) <= height

    def test_of_nothing(self):
        """A run without items has a page without charts."""
        page = Report("nothing").html()
        assert "<svg" not in page
        assert "<b>0</b> uploaded" in page

    @pytest.mark.parametrize("points", [[(0, 0.0, 0)], [(1, 1.0, 2)] * 3, [(10**15, 10**5, 1), (0, 1e-9, 0)]])
    def test_unusual_points(self, points: Any):
        """A single point, equal ones and extremes can be drawn."""
        assert "NaN" not in scatter("x", points, size_text, time_text)

    @pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [1e15], [1e-9, 3.0]])
    def test_unusual_values(self, values: list[float]):
        """Nothing at all and extremes can be drawn."""
        ET.fromstring(re.findall(r"<svg.*</svg>", over_time("x", values, 0.05, size_text))[0])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (size_text(0), "0 B"),
            (size_text(999), "999 B"),
            (size_text(1536), "1.54 kB"),
            (size_text(2.5e12), "2.5 TB"),
            (count_text(1500), "1.5 k"),
            (count_text(15), "15"),
            (time_text(0), "0 s"),
            (time_text(0.0123), "12.3 ms"),
            (time_text(2.5), "2.5 s"),
            (time_text(65), "1 min 5 s"),
            (time_text(120), "2 min"),
            (time_text(7800), "2 h 10 min"),
        ],
    )
    def test_numbers_for_people(self, text: str, expected: str):
        """Numbers are short."""
        assert text == expected


_MEASURE = """
<script>
const svg = document.querySelector("svg").getBoundingClientRect();
const text = document.querySelector("svg text").getBoundingClientRect();
parent.document.documentElement.dataset.measured = JSON.stringify({
  wide: document.documentElement.scrollWidth, room: innerWidth, charts: document.querySelectorAll("svg").length,
  chart: svg.width, letters: text.height, rows: document.querySelectorAll("tr").length,
});
</script>
"""


def browse(page: Path, *options: str) -> str:
    """Open a page in headless Chromium, which shares nothing with anybody's own; returns what it prints."""
    program = require("chromium")
    command = [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={page.parent / 'profile'}",
        *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1200])
def test_in_a_browser(tmp_path: Path, width: int):
    """On a phone as on a desk nothing is wider than the screen, and letters can be read."""
    page = tmp_path / "run.html"
    # Only the copy that is measured may run a script. It stands in a frame, for no window is as narrow as a phone.
    html = re.sub(r"<meta http-equiv=.*>", "", example().html()).replace("</body>", f"{_MEASURE}</body>")
    page.write_text(f'<iframe srcdoc="{escape(html)}" style="width: {width}px; height: 1000px; border: 0"></iframe>')
    shown = browse(page, "--window-size=1300,1100", "--dump-dom")
    found = re.search(r'data-measured="([^"]*)"', shown)
    assert found is not None
    measured = json.loads(found[1].replace("&quot;", '"'))
    assert measured["wide"] <= measured["room"] <= width
    assert measured["charts"] == 4
    assert measured["chart"] > 300
    assert measured["letters"] >= 11
    assert measured["rows"] == 22


@pytest.mark.slow
async def test_a_screenshot_of_a_real_run(fault_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A real run's page can be taken a picture of, which is not blank.

    With AIOREQ_SCREENSHOTS=docs the picture is that of the documentation.
    """
    pictures = Path(os.environ.get("AIOREQ_SCREENSHOTS") or tmp_path).resolve()
    monkeypatch.chdir(tmp_path)
    chance = random.Random(4)
    files = [Path("photos", f"{number:04}.jpg") for number in range(500)]
    files[0].parent.mkdir()
    for path in files:
        path.write_bytes(bytes(int(10 ** chance.uniform(3, 5.8))))
    numbers = itertools.count(1)

    async def serve(exchange: Exchange) -> None:
        number = next(numbers)
        await exchange.read_body()
        if number % 250 == 0:
            await exchange.answer(413, body=b"too large for this album")
        elif number % 40 == 0:
            await exchange.answer(503, (("Retry-After", "0"),))
        else:
            await exchange.answer(201)

    server, report = fault_server(serve), Report("POST to https://example.org/upload")
    async for each in bulk_upload(server.url, files, concurrency="auto", rate_limit=25e6):
        report.add(each)
    page, picture = tmp_path / "run.html", pictures / "bulk-report.png"
    page.write_text(report.html().replace(server.url, "https://example.org"))
    browse(page, "--window-size=500,1750", f"--screenshot={picture}")
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000
