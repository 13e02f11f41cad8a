"""Estimates: a roofline over a card's peaks, the fit of what is reached of them, and the file that holds it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import TargetError
from edgekit.shipped import shipped
from edgekit.targets import (
    Coefficients,
    EnginePrecision,
    LayerCost,
    Observation,
    Peaks,
    estimate,
    estimator_text,
    fit,
    load_card,
    load_estimator,
    peaks_of,
    total_ms,
)

PEAKS = Peaks(bytes_per_s=10e9, operations_per_s=1e12, bytes_per_number=2, tensor_cores=False)
HALF = Coefficients(bandwidth_share=0.5, compute_share=0.25, launch_us=30.0)


def test_a_layer_takes_the_slower_of_traffic_and_arithmetic_and_its_launch() -> None:
    layers = (
        LayerCost("heavy", macs=500_000_000, inputs=1000, outputs=1000, weights=1000),
        LayerCost("wide", macs=1000, inputs=1_000_000, outputs=1_000_000, weights=500_000),
        LayerCost("tiny", macs=1, inputs=1, outputs=1, weights=1),
    )
    heavy, wide, tiny = estimate(layers, PEAKS, HALF)
    assert [layer.bound for layer in (heavy, wide, tiny)] == ["compute", "memory", "launch"]
    assert heavy.ms == pytest.approx(2 * 500e6 / 0.25e12 * 1e3 + 0.03)
    assert wide.ms == pytest.approx(2.5e6 * 2 / 5e9 * 1e3 + 0.03)
    assert tiny.ms == pytest.approx(0.03, rel=1e-3)
    assert total_ms((heavy, wide, tiny)) == heavy.ms + wide.ms + tiny.ms


COSTS = st.builds(LayerCost, st.just("layer"), *[st.integers(1, 10**9)] * 4)


@settings(deadline=None)
@given(cost=COSTS, field=st.sampled_from(["macs", "inputs", "outputs", "weights"]), more=st.integers(1, 10**9))
def test_a_layer_that_does_more_is_never_faster(cost: LayerCost, field: str, more: int) -> None:
    larger = dataclasses.replace(cost, **{field: getattr(cost, field) + more})
    (before,), (after,) = estimate([cost], PEAKS, HALF), estimate([larger], PEAKS, HALF)
    assert after.ms >= before.ms > 0.03


@pytest.mark.parametrize(
    ("target", "precision", "tera", "size"),
    [
        ("jetson-nano", "fp16", 0.472, 2), ("jetson-nano", "fp32", 0.236, 4), ("jetson-tx2", "fp16", 1.33, 2),
        # 32 TOPS dense; 40 TOPS counts 2:4 sparse weights, so 20 are dense, and FP16 has half of that.
        ("jetson-agx-xavier", "int8", 32, 1), ("jetson-orin-nano", "int8", 20, 1), ("jetson-orin-nano", "fp16", 10, 2),
    ],
)  # fmt: skip
def test_peaks_are_those_of_the_card(target: str, precision: EnginePrecision, tera: float, size: int) -> None:
    card = load_card(target)
    peaks = peaks_of(card, precision)
    assert card.facts.bandwidth_gb_s is not None
    assert peaks.bytes_per_s == card.facts.bandwidth_gb_s.value * 1e9
    assert peaks.operations_per_s == pytest.approx(tera * 1e12)
    assert peaks.bytes_per_number == size
    assert peaks.tensor_cores == (target not in ("jetson-nano", "jetson-tx2"))


@pytest.mark.parametrize(
    ("target", "precision", "message"),
    [
        ("cpu", "fp32", "cpu: the card does not state its memory bandwidth"),
        ("x86-gpu", "fp16", "x86-gpu: the card does not state its memory bandwidth"),
        ("jetson-nano", "int8", "jetson-nano: TensorRT has no INT8 on it; take another --precision"),
        ("jetson-thor", "fp16", "jetson-thor: the card does not state a peak rate from which that of FP16 follows"),
        ("jetson-orin-nano", "fp32", "jetson-orin-nano: .* that of FP32 follows; .*a card of your own"),
    ],
)
def test_what_a_card_does_not_state_is_ek731_and_never_guessed(
    target: str, precision: EnginePrecision, message: str
) -> None:
    with pytest.raises(TargetError, match=f"EK731 {message}"):
        peaks_of(load_card(target), precision)


def observations(truth: Coefficients) -> list[Observation]:
    """Times of models that are bound by memory, by arithmetic and by launches, on a device of these coefficients."""
    models = [
        tuple(LayerCost("a", macs, numbers, numbers, numbers) for _ in range(count))
        for macs, numbers, count in ((10**9, 10**4, 3), (10**3, 10**7, 3), (1, 1, 40), (10**8, 10**6, 10))
    ]
    return [Observation(costs, PEAKS, total_ms(estimate(costs, PEAKS, truth))) for costs in models]


def test_a_fit_finds_what_the_times_were_made_with() -> None:
    truth = Coefficients(0.6, 0.2, 45.0)
    found = fit(observations(truth) * 20, Coefficients(0.8, 0.3, 20.0))
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(truth), rel=0.05)


def test_a_fit_starts_from_what_is_assumed_and_few_times_move_it_part_of_the_way() -> None:
    start, truth = Coefficients(0.8, 0.3, 20.0), Coefficients(0.8, 0.3, 200.0)
    assert fit([], start) == start
    one = fit(observations(truth)[2:3], start)
    assert 20 < one.launch_us < 200
    assert one.launch_us < fit(observations(truth)[2:3] * 10, start).launch_us < 200


def test_no_share_of_a_peak_is_above_one() -> None:
    impossible = [dataclasses.replace(item, measured_ms=item.measured_ms / 50) for item in observations(HALF)]
    found = fit(impossible, Coefficients(1.0, 0.9, 20.0))
    assert max(found.bandwidth_share, found.compute_share) <= 1


def test_a_file_says_again_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "estimator.toml"
    path.write_text(estimator_text(load_estimator(), "one line\nand another"), encoding="utf-8")
    assert load_estimator(path) == load_estimator()
    assert path.read_text().startswith("# one line\n# and another\n")


def test_every_anchor_that_ships_has_its_source_and_its_errors() -> None:
    for family in load_estimator().families:
        for anchor in family.anchors:
            assert anchor.source
            assert anchor.confidence in ("read", "secondary")
            assert 0.5 < anchor.missed_by < 2
    without, with_tensor_cores = (load_estimator().family(flag) for flag in (False, True))
    assert 1.1 < without.factor < 1.6
    assert (len(without.anchors), len(with_tensor_cores.anchors)) == (9, 1)
    # One time says nothing of how far off another will be.
    assert with_tensor_cores.factor == float("inf")


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"compute_share = .*", "compute_share = 1.5", r"families\.0\.compute_share: "),
        (r"launch_us = .*\n", "", r"families\.0\.launch_us: Field required"),
        (r'precision = "fp16"', 'precision = "fp4"', r"families\.0\.anchors\.0\.precision"),
        (r"\[\[families\]\]", "speed = 3\n[[families]]", "speed: Extra inputs"),
        (r"start = \[", "start = ", "not a TOML file"),
    ],
)
def test_a_wrong_estimator_is_ek732_and_names_the_field(
    pattern: str, replacement: str, message: str, tmp_path: Path
) -> None:
    text = (shipped("engines") / "tensorrt" / "estimator.toml").read_text(encoding="utf-8")
    changed, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1
    path = tmp_path / "mine.toml"
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(TargetError, match=rf"EK732 .*mine\.toml: {message}"):
        load_estimator(path)
    with pytest.raises(TargetError, match=r"EK732 .*nowhere\.toml: the file cannot be read"):
        load_estimator(tmp_path / "nowhere.toml")
