"""The ring gives every id once, the same on every machine, and moves few draws when an id comes or goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whetstone.curriculum.ring import Ring, stable_hash


def test_hash_is_the_same_on_every_machine() -> None:
    assert stable_hash("a", 1) == 0xCD85A665880B4301
    assert len({stable_hash("a", 1), stable_hash("a", 2), stable_hash("b", 1), stable_hash("\ud800")}) == 4


@given(st.sets(st.text(max_size=4), max_size=30), st.text())
def test_clockwise_is_every_id_once(ids: set[str], key: str) -> None:
    walk = list(Ring(ids).clockwise(key))
    assert len(walk) == len(ids) and set(walk) == ids


def test_a_removed_id_moves_its_own_draws_only_and_to_its_successor() -> None:
    ids = [f"p{number}" for number in range(200)]
    full = Ring(ids)
    less = Ring(one for one in ids if one != "p7")
    for key in range(2000):
        walk = full.clockwise(key)
        first, second = next(walk), next(walk)
        assert next(less.clockwise(key)) == (second if first == "p7" else first)
