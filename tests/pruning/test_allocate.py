"""How many channels each group keeps: the budget is met, counts are aligned, and channels go where they cost least."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgekit.errors import PruningError
from edgekit.pruning._allocate import allocate, fewer, require_reachable, uniform
from edgekit.pruning._sensitivity import Sensitivity


def chain(channels: Sequence[int]) -> float:
    """Cost of pointwise layers one after the other."""
    return float(sum(first * second for first, second in zip([3, *channels], [*channels, 10], strict=True)))


def straight(channels: Sequence[int], slopes: Sequence[float]) -> list[list[float]]:
    """Loss curves that fall evenly to 0."""
    return [
        [slope * (count - left) for left in range(count + 1)] for count, slope in zip(channels, slopes, strict=True)
    ]


CHANNELS = st.lists(st.integers(1, 12).map(lambda eighths: 8 * eighths), min_size=2, max_size=6)


@given(CHANNELS, st.floats(0.05, 0.95), st.data())
def test_the_budget_is_met_with_aligned_counts(channels: list[int], ratio: float, data: st.DataObject) -> None:
    slopes = data.draw(st.lists(st.floats(0.0, 10.0), min_size=len(channels), max_size=len(channels)))
    budget = ratio * chain(channels)
    assume(chain([min(8, count) for count in channels]) <= budget)
    for after in (
        allocate(channels, straight(channels, slopes), chain, budget, 8),
        uniform(channels, chain, budget, 8),
    ):
        assert chain(after) <= budget
        assert all(0 < left <= count and left % 8 == 0 for left, count in zip(after, channels, strict=True))


def test_channels_go_where_they_cost_least() -> None:
    after = allocate([64, 64, 64], straight([64, 64, 64], [1.0, 0.001, 1.0]), chain, 0.7 * chain([64, 64, 64]), 8)
    assert after[0] == after[2] == 64
    assert after[1] < 64


def test_a_width_multiplier_is_the_same_everywhere() -> None:
    assert uniform([32, 64, 128], chain, 0.28 * chain([32, 64, 128]), 8) == (16, 32, 64)


@pytest.mark.parametrize(
    "choose",
    [
        lambda *rest: require_reachable([16, 16], *rest),
        lambda *rest: allocate([16, 16], straight([16, 16], [1, 1]), *rest),
        lambda *rest: uniform([16, 16], *rest),
    ],
)
def test_a_budget_below_one_step_in_every_layer_is_ek802(choose) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        PruningError, match=r"with 16 channels in every layer the cost is still 1\.000 of the whole"
    ) as caught:
        choose(chain, 0.5 * chain([16, 16]), 16)
    assert caught.value.code == "EK802"


@pytest.mark.parametrize(
    ("channels", "divisor", "expected"),
    [(72, 16, 64), (64, 16, 48), (16, 16, 16), (10, 8, 8), (8, 8, 8), (2, 1, 1), (1, 1, 1)],
)
def test_the_next_lower_count(channels: int, divisor: int, expected: int) -> None:
    assert fewer(channels, divisor) == expected


@given(
    st.integers(2, 40).map(lambda quarters: 4 * quarters),
    st.lists(st.floats(0.0, 10.0), min_size=3, max_size=3),
)
def test_a_price_covers_what_was_measured_and_always_rises(channels: int, measured: list[float]) -> None:
    points = (channels // 4, channels // 2, channels * 3 // 4, channels)
    price = Sensitivity("layer", points, (*measured, 0.0)).price()
    assert len(price) == channels + 1
    assert price[channels] == 0.0
    assert all(fewer > more for fewer, more in itertools.pairwise(price[1:]))
    assert all(price[count] >= loss**0.75 * (1 - 1e-9) for count, loss in zip(points, measured, strict=False))


def test_a_ruined_layer_is_not_thinned_for_nothing() -> None:
    """What is measured at 32 and 16 channels is as bad as can be; each halving costs four times more all the same."""
    price = Sensitivity("layer", (16, 32, 48, 64), (9.0, 9.0, 4.0, 0.0)).price()
    assert price[48] == pytest.approx(4.0**0.75)
    assert price[32] == pytest.approx(4.0**0.75 * 3 / ((4 / 3) ** 2 - 1))
    assert price[8] / price[16] == pytest.approx(63 / 15)


def test_channels_that_nothing_reads_go_and_the_others_stay() -> None:
    """A quarter of the first layer of a trained MobileNetV1 costs nothing; its half costs much."""
    price = Sensitivity("stem", (8, 16, 24, 32), (11.5, 0.1, 0.0, 0.0)).price()
    assert price[24] == pytest.approx(0.0, abs=1e-3)
    assert price[16] == pytest.approx(0.1**0.75)
    assert price[8] == pytest.approx(11.5**0.75)


def test_a_layer_of_one_channel_has_a_price() -> None:
    assert Sensitivity("single", (1,), (0.0,)).price() == (0.0, 0.0)
