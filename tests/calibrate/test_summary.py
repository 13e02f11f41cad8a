"""A summary does not depend on how the values were divided, nor on their order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edgekit.calibrate import (
    Summary,
    entropy_range,
    merge,
    minmax_range,
    mse_range,
    percentile_range,
    ranges,
    summarise,
)
from edgekit.errors import QuantizationError
from edgekit.spec import CalibrationMethod, Range

Values = npt.NDArray[np.float32]
METHODS: tuple[CalibrationMethod, ...] = ("minmax", "percentile", "entropy", "mse")
values_of_any_size = npst.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.one_of(
        st.floats(-6, 6, width=32), st.floats(allow_nan=False, allow_infinity=False, width=32), st.just(-0.0)
    ),
)


def content(summary: Summary) -> tuple[object, ...]:
    low, high = np.float64(summary.low).tobytes(), np.float64(summary.high).tobytes()
    channels = summary.channel_low.tobytes(), summary.channel_high.tobytes()
    return summary.count, low, high, summary.exponent, summary.bins.tobytes(), *channels


@given(values_of_any_size, st.data())
def test_any_split_in_any_order_merges_to_the_same_bytes(values: Values, data: st.DataObject) -> None:
    whole = content(summarise(values))
    shuffled = values[data.draw(st.permutations(range(values.size)))]
    cuts = sorted(data.draw(st.lists(st.integers(0, values.size), max_size=5)))
    parts = [summarise(part) for part in np.split(shuffled, cuts)]
    while len(parts) > 1:  # any tree of merges
        first = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        second = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.append(merge(first, second))
    assert content(parts[0]) == whole


@given(values_of_any_size)
def test_every_value_is_counted_in_the_bin_that_holds_it(values: Values) -> None:
    summary = summarise(values)
    assert summary.bins.sum() == summary.count == values.size
    edges = np.array([summary.edge(index) for index in range(summary.bins.size + 1)])
    assert np.array_equal(np.histogram(values.astype(np.float64), edges)[0], summary.bins)


@given(values_of_any_size)
def test_the_empty_summary_is_neutral(values: Values) -> None:
    summary = summarise(values)
    assert content(merge(Summary(), summary)) == content(merge(summary, Summary())) == content(summary)
    assert content(summarise(values[:0])) == content(Summary())


def test_a_summary_has_a_fixed_size_and_bins_fine_enough_for_eight_bits() -> None:
    summary = summarise(np.linspace(0, 6, 1_000_000, dtype=np.float32))
    assert summary.bins.nbytes == 65536
    assert 2.0**summary.exponent <= 6 / 2048


def test_summaries_with_and_without_histogram_do_not_mix() -> None:
    values = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="histogram"):
        merge(summarise(values), summarise(values, histogram=False))
    with pytest.raises(ValueError, match="histogram"):
        percentile_range(summarise(values, histogram=False))


@given(values_of_any_size, values_of_any_size)
def test_minmax_is_exact_with_and_without_histogram(first: Values, second: Values) -> None:
    everything = np.concatenate([first, second])
    expected = Range(float(everything.min()), float(everything.max()))
    for histogram in (True, False):
        merged = merge(summarise(first, histogram=histogram), summarise(second, histogram=histogram))
        assert minmax_range(merged) == expected


@given(
    npst.arrays(np.float32, st.integers(1, 300), elements=st.floats(-6, 6, width=32)),
    st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]),
)
def test_percentiles_are_those_of_all_values_to_one_bin(values: Values, percentile: float) -> None:
    summary = summarise(values)
    found = percentile_range(summary, percentile)
    # As many values as this are left out at each end.
    rank = int(np.floor(values.size * (100 - percentile) / 200 + 1e-9))
    ordered = np.sort(values).astype(np.float64)
    width = 2.0**summary.exponent
    assert ordered[rank] - width <= found.low <= ordered[rank]
    assert ordered[-1 - rank] <= found.high <= ordered[-1 - rank] + width
    assert ((values >= found.low) & (values <= found.high)).mean() >= percentile / 100 - 1e-9


def test_a_value_that_is_not_finite_stays_visible_whatever_it_is_merged_with() -> None:
    fine, broken = (summarise(np.array(values, np.float32)) for values in ([1, 2], [1, np.nan]))
    for merged in (merge(fine, broken), merge(broken, fine), merge(broken, broken)):
        assert not merged.is_finite
        assert merged.bins.size == 0
        assert np.isnan(merged.high)
    assert merge(fine, summarise(np.array([np.inf], np.float32))).high == np.inf


def test_negative_zero_and_the_smallest_numbers_are_counted_where_they_belong() -> None:
    smallest = np.float32(1e-45)
    for largest in (0.0, 1.0, 1e6):
        values = np.array([-0.0, 0.0, smallest, -smallest, largest], np.float32)
        summary = summarise(values)
        assert summary.bins[4095] == 1, "just below zero is left of zero"
        assert summary.bins[4096:].sum() == 4
        assert content(merge(summarise(values[:1]), summarise(values[1:]))) == content(summary)


def test_long_tensors_are_counted_like_short_ones() -> None:
    values = np.random.default_rng(0).standard_normal((1, 3, 311, 331)).astype(np.float32)
    whole = summarise(values)
    assert whole.bins.sum() == whole.count == values.size
    rows = summarise(values[0, 0])
    for row in (values[0, 1], values[0, 2]):
        rows = merge(rows, summarise(row))
    assert rows.bins.tobytes() == whole.bins.tobytes()


def test_percentile_cuts_an_outlier_and_minmax_does_not() -> None:
    values = np.append(np.linspace(-1, 1, 99_999, dtype=np.float32), np.float32(100))
    assert minmax_range(summarise(values)).high == 100
    assert percentile_range(summarise(values)).high < 1.1


@pytest.mark.parametrize("percentile", [0.0, -1.0, 100.5])
def test_a_percentile_outside_0_to_100_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile_range(summarise(np.ones(3, np.float32)), percentile)


def test_each_method_gives_the_range_it_names() -> None:
    values = np.append(np.random.default_rng(0).random(100_000) ** 3, 4)
    summary = summarise(values.astype(np.float32))
    assert ranges({"a": summary}, "minmax") == {"a": minmax_range(summary)}
    assert ranges({"a": summary}, "percentile") == {"a": percentile_range(summary, 99.99)}
    assert ranges({"a": summary}) == ranges({"a": summary}, "percentile")
    assert ranges({"a": summary}, "entropy") == {"a": entropy_range(summary)}
    assert ranges({"a": summary}, "mse") == {"a": mse_range(summary)}
    assert len({found["a"] for found in (ranges({"a": summary}, method) for method in METHODS)}) == 4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[-1.0, 0.5, 0.25], [0.0, 3.0], [-2.0, -1.0], [0.0, 0.0], [5.0]])
def test_a_symmetric_range_reaches_as_far_down_as_up(method: CalibrationMethod, values: list[float]) -> None:
    found = ranges({"a": summarise(np.array(values, np.float32))}, method, symmetric=True)["a"]
    assert found.low == -found.high
    assert found.high == pytest.approx(np.abs(values).max(), rel=0.01)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-40, 3e38])
def test_a_constant_tensor_has_the_range_of_its_constant(method: CalibrationMethod, value: float) -> None:
    constant = float(np.float32(value))
    assert ranges({"a": summarise(np.full(9, value, np.float32))}, method)["a"] == Range(constant, constant)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_a_tensor_without_finite_values_is_refused_by_name(method: CalibrationMethod, values: list[float]) -> None:
    summary = summarise(np.array(values, np.float32))
    with pytest.raises(QuantizationError, match="EK502 layer"):
        ranges({"layer": summary}, method)


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_methods_that_need_a_histogram_say_so(method: CalibrationMethod) -> None:
    with pytest.raises(ValueError, match="histogram"):
        ranges({"a": summarise(np.ones(3, np.float32), histogram=False)}, method)
