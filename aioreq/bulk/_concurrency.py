"""How many uploads are on the way at a time: a number that stays, or one that is found.

The adaptive level climbs a hill. It looks at the goodput (bytes and answers per second that did some good) of one
window after the other, changes its number a little, and keeps the change if it was for the better:

    more at a time, and more gets through      keep it, and go on
    more at a time, and no more gets through   go back: the rest only waited in the server's queue
    fewer at a time, and no less gets through  keep it: the same work with shorter waits

In between it holds still, longer after each attempt that was in vain. Where the server says that it is too much (429,
503), connections can't be made, or the same number takes much longer than it did, it backs off at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# Descriptors that are left to the rest of the program.
_RESERVE = 64
# What one upload may have open: its socket, its file, and a second number for the socket while a thread writes to it.
_PER_UPLOAD = 3
# Where there is no limit on descriptors that could be asked for.
_UNKNOWN = 1024

# How many at a time where nobody says it, and how far a number is sought, if the descriptors allow it.
_USUAL = 16
_CEILING = 128
_START = 4


def most_uploads() -> int:
    """How many uploads at a time the process's descriptors allow (RLIMIT_NOFILE); 1 at least."""
    return max(1, (_descriptors() - _RESERVE) // _PER_UPLOAD)


def _descriptors() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _UNKNOWN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNKNOWN if soft == resource.RLIM_INFINITY else soft


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Bounds for the number of uploads on the way at a time to each host; equal ones fix it.

    Args:
        floor: never fewer.
        ceiling: never more, nor in all; by default 128, or what the descriptors allow.

    Raises:
        ValueError: they can't be met; an upload needs three descriptors at most, so a third of RLIMIT_NOFILE, 64 less,
            is the limit.
    """

    floor: int = 1
    ceiling: int | None = None

    def __post_init__(self) -> None:
        most = most_uploads()
        if not 1 <= self.floor <= self.most <= most:
            given = f"{self.floor}" if self.floor == self.most else f"{self.floor} to {self.most}"
            raise ValueError(
                f"concurrency is 1 to {most} uploads at a time, as the limit on open files (ulimit -n) allows, and its "
                f"floor is not above its ceiling; not {given}"
            )

    @classmethod
    def of(cls, value: object) -> Concurrency:
        """What callers pass: bounds, a number, "auto", or None for 16, or fewer where the descriptors allow no more.

        Raises:
            ValueError, TypeError: it is none of these.
        """
        if isinstance(value, Concurrency):
            return value
        if value == "auto":
            return cls()
        if value is None:
            value = min(_USUAL, most_uploads())
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(value, value)
        raise TypeError(f'concurrency is a number, "auto", or a Concurrency; not {value!r}')

    @property
    def most(self) -> int:
        """The ceiling."""
        return min(_CEILING, most_uploads()) if self.ceiling is None else self.ceiling

    def level(self) -> Level:
        """A level for one host."""
        return Level(self.most) if self.floor == self.most else AdaptiveLevel(self)


class Outcome(Enum):
    """What an attempt tells of the level."""

    GOOD = "the server did its work"
    TOO_MUCH = "the server is overloaded, or can't be reached"
    NEITHER = "it failed for reasons of its own"


class Level:
    """A number that stays.

    Attributes:
        limit: how many uploads may be on the way at a time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def begun(self, now: float) -> None:
        """An upload is on the way."""

    def moved(self, size: int) -> None:
        """So many bytes have left."""

    def ended(self, now: float, seconds: float, outcome: Outcome) -> None:
        """An upload is over; its bytes have been told of by :meth:`moved`."""


# What an answer is worth in bytes: with small files it is answers that count.
_ANSWER = 16 * 1024
# A window ends with so many answers for each place, and at least so many in all; with large files, after so long.
_ROUNDS = 2
_FEWEST = 8
_LONGEST = 2.0
# What counts as a gain, and as no loss.
_GAIN = 1.1
_LOSS = 0.93
_CLIMB = 1.5
_STEP_UP = 1.25
_STEP_DOWN = 0.8
_BACK_OFF = 0.7
# The same number at a time, and answers take so much longer: the server has become slower.
_SLOWER = 2.0
_SHORTEST_HOLD = 2
_LONGEST_HOLD = 32


@dataclass(slots=True)
class Window:
    """What one window has seen."""

    begun: float
    units: float = 0.0
    answers: int = 0
    seconds: float = 0.0
    peak: int = 0

    def goodput(self, now: float) -> float:
        """Units per second."""
        return self.units / max(now - self.begun, 1e-9)

    @property
    def latency(self) -> float:
        """Seconds that an upload took on average."""
        return self.seconds / max(self.answers, 1)


class AdaptiveLevel(Level):
    """A number that is found by goodput, between a floor and a ceiling."""

    def __init__(self, bounds: Concurrency) -> None:
        super().__init__(max(bounds.floor, min(_START, bounds.most)))
        self._bounds = bounds
        self._on_the_way = 0
        self._window: Window | None = None
        # The number whose worth is known, and what it is worth; what is tried now is measured against it.
        self._known = self.limit
        self._goodput = 0.0
        self._latency = 0.0
        self._climbing = True
        self._settling = False
        self._next_step = _STEP_UP
        self._hold = 0
        self._patience = _SHORTEST_HOLD
        self._backed_off = 0.0

    def begun(self, now: float) -> None:
        """An upload is on the way."""
        self._on_the_way += 1
        if self._window is None:
            self._window = Window(now)
        self._window.peak = max(self._window.peak, self._on_the_way)

    def moved(self, size: int) -> None:
        """So many bytes have left."""
        if self._window is not None:
            self._window.units += size

    def ended(self, now: float, seconds: float, outcome: Outcome) -> None:
        """An upload is over."""
        self._on_the_way -= 1
        window = self._window
        if window is None:
            return
        window.answers += 1
        window.seconds += seconds
        if outcome is Outcome.GOOD:
            window.units += _ANSWER
        elif outcome is Outcome.TOO_MUCH and now - seconds >= self._backed_off:
            # Not one of those that were on the way when we backed off: it is still too much.
            self._back_off(now)
            return
        enough = max(_FEWEST, _ROUNDS * self.limit)
        if window.answers >= enough or (window.answers and now - window.begun >= _LONGEST):
            self._look_back(window, now)
            self._window = Window(now, peak=self._on_the_way)

    def _look_back(self, window: Window, now: float) -> None:
        """A window is over: what did it tell?"""
        if self._settling:
            # Its uploads began at the old number; the next window is the first that counts.
            self._settling = False
            return
        goodput = window.goodput(now)
        if window.peak < self.limit:
            return  # there was not enough to do, so it tells nothing of the number
        if self.limit == self._known:
            self._stay(goodput, window.latency)
        else:
            self._judge(goodput, window.latency)

    def _judge(self, goodput: float, latency: float) -> None:
        """Keep the number that was tried, or go back."""
        higher = self.limit > self._known
        if goodput >= self._goodput * (_GAIN if higher else _LOSS):
            self._learn(goodput, latency)
            self._patience = _SHORTEST_HOLD
            if higher:
                self._try(_CLIMB if self._climbing else _STEP_UP)
            return
        self._climbing = False
        self._set(self._known)
        self._next_step = _STEP_DOWN if higher else _STEP_UP
        self._hold = self._patience
        self._patience = min(2 * self._patience, _LONGEST_HOLD)

    def _stay(self, goodput: float, latency: float) -> None:
        """Nothing was tried: has anything changed, and is it time to try?"""
        slower = self._latency and latency > _SLOWER * self._latency and goodput < self._goodput * _LOSS
        self._learn(goodput, latency)
        if slower:
            self._climbing = False
            self._reduce(_STEP_DOWN)
        elif self._hold:
            self._hold -= 1
        elif self._climbing:
            self._try(_CLIMB)
        else:
            self._try(self._next_step)

    def _learn(self, goodput: float, latency: float) -> None:
        """What the present number is worth: the mean of what was seen of it lately."""
        fresh = self.limit != self._known or not self._goodput
        self._known = self.limit
        self._goodput = goodput if fresh else (self._goodput + goodput) / 2
        self._latency = latency if fresh else min(self._latency * 1.05, (self._latency + latency) / 2)

    def _try(self, step: float) -> None:
        changed = round(self.limit * step)
        if changed == self.limit:
            changed += 1 if step > 1 else -1
        self._set(changed)
        self._next_step = _STEP_UP if step < 1 else _STEP_DOWN

    def _back_off(self, now: float) -> None:
        """It is too much: fewer at once, and a while until more are tried."""
        self._climbing = False
        self._backed_off = now
        self._reduce(_BACK_OFF)
        self._next_step = _STEP_UP
        self._hold = self._patience
        self._patience = min(2 * self._patience, _LONGEST_HOLD)
        self._window = Window(now, peak=self._on_the_way)

    def _reduce(self, factor: float) -> None:
        """Fewer, whatever they are worth: that will be seen."""
        self._set(min(self.limit - 1, round(self.limit * factor)))
        self._known = self.limit
        self._goodput = self._latency = 0.0

    def _set(self, limit: int) -> None:
        limit = max(self._bounds.floor, min(limit, self._bounds.most))
        if limit != self.limit:
            self.limit = limit
            self._settling = True
