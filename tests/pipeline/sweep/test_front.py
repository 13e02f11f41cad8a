"""What is worth having, and what is worth a larger share of the images: decisions on numbers alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.pipeline.sweep import Standing, area_under, dominates, front, goes_on, shares

numbers = st.integers(0, 6).map(float)
standings = st.lists(
    st.builds(Standing, losses=st.tuples(numbers, numbers), excess=st.sampled_from([0.0, 0.0, 0.1, 0.5])), max_size=8
)


def test_better_in_one_and_worse_in_none_dominates() -> None:
    assert dominates(Standing((1.0, 2.0)), Standing((1.0, 3.0)))
    assert not dominates(Standing((1.0, 2.0)), Standing((0.0, 3.0)))
    assert not dominates(Standing((1.0, 2.0)), Standing((1.0, 2.0)))


def test_whoever_keeps_the_limits_dominates_whoever_does_not() -> None:
    assert dominates(Standing((9.0, 9.0)), Standing((0.0, 0.0), excess=0.1))
    assert dominates(Standing((9.0, 9.0), excess=0.1), Standing((0.0, 0.0), excess=0.2))


@given(standings)
def test_the_front_is_all_that_keep_the_limits_and_are_not_dominated(everyone: list[Standing]) -> None:
    best = front(everyone)
    for place, mine in enumerate(everyone):
        worthy = not mine.excess and not any(dominates(other, mine) for other in everyone)
        assert worthy == any(everyone[other] == mine for other in best), place
    assert len({everyone[place] for place in best}) == len(best)


def test_the_area_is_what_lies_under_the_steps() -> None:
    assert area_under([]) == 0.0
    assert area_under([(1.0, 0.0)]) == 1.0
    # 0.8 from the cost of 0.5 on, and 0.6 from 0.25 on until there.
    assert area_under([(0.8, 0.5), (0.6, 0.25)]) == pytest.approx(0.8 * 0.5 + 0.6 * 0.25)


def test_what_is_dominated_or_dearer_than_the_baseline_adds_no_area() -> None:
    assert area_under([(0.8, 0.5), (0.7, 0.6), (1.0, 1.5)]) == pytest.approx(0.4)


def test_shares_grow_up_to_all_images() -> None:
    assert shares(1000, 100, 3) == (100, 300, 900, 1000)
    assert shares(900, 100, 3) == (100, 300, 900)
    assert shares(80, 100, 3) == (80,)


def test_one_in_three_goes_on_and_the_first_in_any_case() -> None:
    assert goes_on(Standing((5.0,)), [], 3)
    others = [Standing((float(loss),)) for loss in (1, 2, 3, 4, 5)]
    assert goes_on(Standing((1.5,)), others, 3)
    assert not goes_on(Standing((2.5,)), others, 3)


def test_all_of_a_front_go_on_together() -> None:
    others = [Standing((float(loss), 9.0 - loss)) for loss in range(5)]
    assert goes_on(Standing((8.0, 0.0)), others, 3)
    assert not goes_on(Standing((8.0, 9.0)), others, 3)
