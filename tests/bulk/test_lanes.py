"""Lanes: who is read next and who is sent next, decided without a loop."""

from collections import Counter

import pytest

from aioreq._body import Bytes
from aioreq.bulk._concurrency import Concurrency
from aioreq.bulk._delivery import Delivery
from aioreq.bulk._item import Upload
from aioreq.bulk._lanes import Lanes
from aioreq.bulk._loading import BATCH, HOP_BYTES

PLENTY = 100 * HOP_BYTES


def delivery(host: str = "a") -> Delivery:
    return Delivery(Upload(f"/{host}"), f"http://{host}/", ("http", host, 80))


def read(lanes: Lanes, batch: list[Delivery], size: int = 1) -> None:
    for each in batch:
        each.segment = Bytes(bytes(size))
        each.weight = size
        each.ready = True
    lanes.put_batch(batch)


def filled(lanes: Lanes, **hosts: int) -> Lanes:
    """With so many items for each host, all read."""
    for host, number in hosts.items():
        for _ in range(number):
            each = delivery(host)
            each.segment = Bytes(b"")
            lanes.add_ready(each)
    return lanes


def lanes_of(total: int = 8, memory: int = PLENTY, limit: int = BATCH) -> Lanes:
    lanes = Lanes(Concurrency(total, total), memory)
    lanes._concurrency = Concurrency(limit, limit)
    return lanes


def taken(lanes: Lanes) -> list[Delivery]:
    return list(iter(lanes.take, None))


def hosts(deliveries: list[Delivery]) -> Counter[str]:
    return Counter(each.origin[1] for each in deliveries if each.origin)


class TestReading:
    """Which items are read, and when."""

    def test_in_batches(self):
        """One hop reads a batch; two are under way at most for a lane that sends nothing."""
        lanes = lanes_of()
        for _ in range(10 * BATCH):
            lanes.add(delivery())
        assert [len(batch) for batch in iter(lanes.take_batch, [])] == [BATCH, BATCH]

    def test_a_small_batch_goes_alone(self):
        """A single item is read at once when there is nothing else to do, and waits for company otherwise."""
        lanes = lanes_of()
        lanes.add(delivery())
        batch = lanes.take_batch()
        assert len(batch) == 1
        lanes.add(delivery())
        assert lanes.take_batch() == []
        read(lanes, batch)
        lanes.take()
        assert len(lanes.take_batch()) == 1

    def test_many_lanes_share_a_batch(self):
        """A batch holds items of as many lanes as have any."""
        lanes = lanes_of()
        for number in range(BATCH):
            lanes.add(delivery(f"host{number}"))
        assert len(lanes.take_batch()) == BATCH

    def test_memory_is_bounded(self):
        """No hop is begun that could bring in more than there is room for; what is sent makes room."""
        lanes = lanes_of(memory=2 * HOP_BYTES)
        for _ in range(10 * BATCH):
            lanes.add(delivery())
        first = lanes.take_batch()
        assert len(lanes.take_batch()) == BATCH
        assert lanes.take_batch() == []
        read(lanes, first, size=HOP_BYTES // BATCH)
        assert lanes.held <= 2 * HOP_BYTES
        assert lanes.take_batch() == []
        for each in taken(lanes):
            lanes.finished(each)
        assert lanes.held <= 2 * HOP_BYTES

    def test_little_memory(self):
        """However little memory there is, one hop may be under way."""
        lanes = lanes_of(memory=1)
        lanes.add(delivery())
        assert len(lanes.take_batch()) == 1

    def test_what_did_not_fit_goes_first(self):
        """What a hop had no room for waits again, in its old order and before the others."""
        lanes = lanes_of(total=100)
        items = [delivery() for _ in range(BATCH + 1)]
        for each in items:
            lanes.add(each)
        batch = lanes.take_batch()
        for each in batch[:2]:
            each.ready = True
        lanes.put_batch(batch)
        assert taken(lanes) == items[:2]
        assert lanes.take_batch() == items[2 : BATCH + 2]

    def test_a_lane_that_is_held_up_leaves_memory_to_the_others(self):
        """The files of a stalled server don't keep those of others from being read."""
        lanes = lanes_of(memory=4 * HOP_BYTES)
        for host in ("stalled", "other"):
            for _ in range(4 * BATCH):
                lanes.add(delivery(host))
        for batch in list(iter(lanes.take_batch, [])):
            read(lanes, batch, size=HOP_BYTES // BATCH)
        sent = Counter[str]()
        for _ in range(4 * BATCH):
            for each in taken(lanes):
                assert each.origin is not None
                if each.origin[1] == "other":
                    sent["other"] += 1
                    lanes.finished(each)
            for batch in list(iter(lanes.take_batch, [])):
                read(lanes, batch, size=HOP_BYTES // BATCH)
        assert sent["other"] == 4 * BATCH


class TestSending:
    """Whose turn it is."""

    def test_one_lane_may_have_all_places(self):
        """With one host there is nothing to share."""
        assert len(taken(filled(lanes_of(8), a=20))) == 8

    @pytest.mark.parametrize(
        ("total", "wanted", "share"),
        [
            (8, {"a": 20, "b": 20}, {"a": 4, "b": 4}),
            (8, {"a": 20, "b": 1}, {"a": 7, "b": 1}),
            (9, {"a": 20, "b": 2, "c": 20}, {"a": 4, "b": 2, "c": 3}),
            (3, {"a": 5, "b": 5, "c": 5}, {"a": 1, "b": 1, "c": 1}),
            (2, {"a": 5, "b": 5, "c": 5}, {"a": 1, "b": 1}),
        ],
    )
    def test_places_are_shared(self, total: int, wanted: dict[str, int], share: dict[str, int]):
        """Who needs little gets it; the rest is shared equally."""
        assert hosts(taken(filled(lanes_of(total), **wanted))) == share

    def test_a_share_is_kept_for_who_is_still_read(self):
        """A lane whose items are still being read finds its places free."""
        lanes = filled(lanes_of(8), a=20)
        for _ in range(20):
            lanes.add(delivery("b"))
        batch = lanes.take_batch()
        assert hosts(taken(lanes)) == {"a": 4}
        read(lanes, batch)
        assert hosts(taken(lanes)) == {"b": 4}

    def test_a_level_bounds_its_lane(self):
        """No lane has more on the way than its level says."""
        assert len(taken(filled(lanes_of(8, limit=3), a=20))) == 3

    def test_who_is_tried_again_goes_first(self):
        """An item that has waited for its next attempt is read before those that never were sent."""
        lanes = lanes_of()
        first, again = delivery(), delivery()
        lanes.add(first)
        lanes.add_again(again)
        assert lanes.take_batch() == [again, first]

    def test_dropping(self):
        """drop() forgets what is not on the way and not being read, and its memory."""
        lanes = lanes_of(2)
        for _ in range(3 * BATCH):
            lanes.add(delivery())
        first, second = lanes.take_batch(), lanes.take_batch()
        read(lanes, first, size=10)
        on_the_way = taken(lanes)
        assert len(on_the_way) == 2
        assert lanes.drop() == 2 * BATCH - 2
        lanes.put_batch(second)
        assert lanes.drop() == BATCH
        for each in on_the_way:
            lanes.finished(each)
        assert (lanes.held, lanes.in_flight) == (0, 0)
