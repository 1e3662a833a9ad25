"""Timeout, Limits and Retry are values: fixed, and as good as any other with the same fields."""

import copy
import pickle
from typing import Any

import pytest

from aioreq import Limits, Retry, Timeout

PAIRS = [(Timeout(1), Timeout(2)), (Limits(1), Limits(2)), (Retry(1), Retry(2))]
EACH = pytest.mark.parametrize("value", [value for value, _ in PAIRS], ids=lambda value: type(value).__name__)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_equality(one: Any, other: Any):
    """Two of a kind are equal where all fields are, and then count as one in a set."""
    same = type(one)(*(getattr(one, name) for name in one.__match_args__))
    assert one == same
    assert one != other
    assert {one, same, other} == {one, other}


@EACH
def test_kinds_differ(value: Any):
    """Fields of equal values do not make another kind equal."""
    fields = tuple(getattr(value, name) for name in value.__match_args__)
    assert value != fields
    assert value not in [other for other, _ in PAIRS if type(other) is not type(value)]


@EACH
def test_fixed(value: Any):
    """No field can be set or deleted, and there are no others."""
    name = value.__match_args__[0]
    with pytest.raises(AttributeError, match=name):
        setattr(value, name, 5)
    with pytest.raises(AttributeError, match=name):
        delattr(value, name)
    with pytest.raises(AttributeError, match="conect"):
        value.conect = 5
    with pytest.raises(AttributeError, match="conect"):
        del value.conect
    assert getattr(value, name) == 1


def test_shown():
    """Its repr is how it is made."""
    assert repr(Timeout(1)) == "Timeout(connect=1, read=60.0, write=60.0, pool=None, total=None)"
    assert eval(repr(Limits(1))) == Limits(1)


@EACH
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copied(value: Any, again: Any):
    """A copy, and what another process gets, are equal to it."""
    assert again(value) == value


def test_matched():
    """Its fields can be taken apart by position, in the order in which it is made."""
    match Timeout(1, 2, 3, 4, 5):
        case Timeout(connect, read, write, pool, total):
            assert (connect, read, write, pool, total) == (1, 2, 3, 4, 5)


def test_replaced():
    """copy.replace, which calls this method from Python 3.13 on, makes another one, and that is checked like any."""
    assert Timeout(1).__replace__(read=2) == Timeout(1, read=2)
    with pytest.raises(ValueError, match="read"):
        Timeout(1).__replace__(read=-1)


def test_own_kind():
    """A child may have attributes of its own, which can change."""

    class Counting(Retry):
        asked = 0

    policy = Counting(5)
    policy.asked += 1
    assert policy.asked == 1
    assert policy == Counting(5)
    assert policy != Retry(5)
    with pytest.raises(AttributeError, match="attempts"):
        policy.attempts = 6
