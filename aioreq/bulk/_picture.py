"""Charts as SVG, drawn for a phone's width: text keeps its size where there is little room.

Everything is drawn here, so that the page needs no script: it can be read wherever a picture can be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Format = Callable[[float], str]

_WIDTH, _HEIGHT = 400, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 10, 30


def size_text(number: float) -> str:
    """Bytes for people: 1.5 MB."""
    return f"{_with_prefix(number, 1000)}B"


def count_text(number: float) -> str:
    """A number for people, in little room: 1.5 k."""
    return _with_prefix(number, 1000).rstrip()


def time_text(seconds: float) -> str:
    """Seconds for people: 3 ms, 2.5 s, 1 min 5 s, 2 h 10 min."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _with_prefix(number: float, base: int) -> str:
    prefixes = ("", "k", "M", "G", "T", "P")
    power = 0
    while abs(number) >= base and power < len(prefixes) - 1:
        number /= base
        power += 1
    return f"{number:.3g} {prefixes[power]}"


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to a place in the picture.

    Attributes:
        low: the value at the beginning.
        high: the value at the end.
        begin: the place of the beginning.
        end: the place of the end.
        ticks: values to be written at the axis.
        text: how they are written.
        logarithmic: whether equal steps are equal factors.
    """

    low: float
    high: float
    begin: float
    end: float
    ticks: Sequence[float]
    text: Format
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value is."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share: float = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)


def _linear(high: float, begin: float, end: float, text: Format) -> Axis:
    """From 0 up, with round numbers at the ticks."""
    step = _round_step((high or 1.0) / 4)
    top = step * max(1, math.ceil((high or 1.0) / step))
    return Axis(0, top, begin, end, [step * number for number in range(round(top / step) + 1)], text)


def _times(high: float, begin: float, end: float) -> Axis:
    """From 0 to the end, with ticks at full seconds, minutes and hours."""
    step = next((step for step in _CLOCK_STEPS if step >= high / 4), _round_step(high / 4))
    ticks = [step * number for number in range(int(high / step) + 1)]
    # A tick at the very end would be cut off.
    return Axis(0, high, begin, end, [tick for tick in ticks if tick < 0.95 * high], time_text)


_CLOCK_STEPS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(nice for nice in (1, 2, 2.5, 5, 10) if nice * power >= step * 0.999)


def _logarithmic(values: Sequence[float], begin: float, end: float, text: Format) -> Axis:
    """Over whole powers of ten, four ticks at most."""
    least = math.floor(math.log10(min(values)))
    most = max(math.ceil(math.log10(max(values))), least + 1)
    step = -(-(most - least) // 4)
    ticks = [10.0**power for power in range(least, most + 1, step)]
    return Axis(10.0**least, 10.0**most, begin, end, ticks, text, logarithmic=True)


def _figure(title: str, described: str, x: Axis, y: Axis, drawn: Iterator[str]) -> str:
    return "".join(
        (
            f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" ',
            f'aria-label="{escape(described)}">',
            *_scales(x, y),
            *drawn,
            "</svg></figure>",
        )
    )


def _scales(x: Axis, y: Axis) -> Iterator[str]:
    for tick in y.ticks:
        place = y.place(tick)
        yield f'<path class="grid" d="M{_LEFT} {place}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 5}" y="{place + 4}" text-anchor="end">{escape(y.text(tick))}</text>'
    for tick in x.ticks:
        yield f'<text x="{x.place(tick)}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(x.text(tick))}</text>'


def _y_axis(high: float, text: Format) -> Axis:
    return _linear(high, _HEIGHT - _BOTTOM, _TOP, text)


def over_time(
    title: str, values: Sequence[float], width: float, text: Format, marks: Sequence[tuple[str, Sequence[int]]] = ()
) -> str:
    """A quantity over time, as an area.

    Args:
        title: what it is.
        values: one for each stretch of time.
        width: seconds of a stretch.
        text: how values are written.
        marks: (class, counts) of what is marked at the foot of stretches where the count isn't 0.
    """
    x = _times(len(values) * width, _LEFT, _WIDTH - _RIGHT)
    y = _y_axis(max(values), text)
    described = f"{title}: {text(max(values))} at most, in {time_text(len(values) * width)}"
    return _figure(title, described, x, y, _area(x, y, values, width, marks))


def _area(
    x: Axis, y: Axis, values: Sequence[float], width: float, marks: Sequence[tuple[str, Sequence[int]]]
) -> Iterator[str]:
    steps = [f"H{x.place(index * width)}V{y.place(value)}" for index, value in enumerate(values)]
    path = f"M{x.begin} {y.begin}{''.join(steps)}H{x.place(len(values) * width)}"
    yield f'<path class="area" d="{path}V{y.begin}Z"/><path class="line" d="{path}"/>'
    for row, (kind, counts) in enumerate(marks):
        for index, count in enumerate(counts):
            if count:
                begin, end = x.place(index * width), x.place((index + 1) * width)
                yield (
                    f'<rect class="{kind}" x="{begin}" y="{y.begin + 1 + row * 4}" width="{max(end - begin, 1.5):.1f}" '
                    f'height="3"><title>{count} {kind}</title></rect>'
                )


# What the third number of a point means, in the order of drawing: what is rare stays visible.
KINDS = ("done", "retried", "failed")


def scatter(title: str, points: Sequence[Sequence[float]], x_text: Format, y_text: Format) -> str:
    """Points on logarithmic axes.

    Args:
        title: what they are.
        points: (x, y, kind), kind being an index of :data:`KINDS`.
        x_text: how values of x are written.
        y_text: how values of y are written.
    """
    xs, ys = [max(point[0], 1) for point in points], [max(point[1], 1e-4) for point in points]
    x = _logarithmic(xs, _LEFT + 4, _WIDTH - _RIGHT - 14, x_text)
    y = _logarithmic(ys, _HEIGHT - _BOTTOM - 4, _TOP, y_text)
    drawn = [
        (int(kind), f"M{x.place(max(across, 1))} {y.place(max(up, 1e-4))}{_SHAPES[int(kind)]}")
        for across, up, kind in points
    ]
    paths = (
        f'<path class="point {name}" d="{"".join(path for kind, path in drawn if kind == number)}"/>'
        for number, name in enumerate(KINDS)
    )
    return _figure(title, f"{title}: {len(points)} uploads", x, y, paths)


# Told apart by shape as well as by colour: a dot, a triangle, a cross.
_SHAPES = ("h0", "m-3 2.5l3 -5l3 5z", "m-2.5 -2.5l5 5m0 -5l-5 5")
