"""One scale for all output channels of a weight: small filters become a few integers, or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import Rule, has_wrong_weight

# Of 127: a filter with no larger integer has lost two bits of seven and more.
_FEW = 31


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a weight with one scale where that leaves few integers to some filters."""
    weight = observation.layer.weight
    assert weight is not None
    largest = weight.largest_integers
    few = largest <= _FEW
    if weight.step.size > 1 or largest.size == 1 or not few.any():
        return None
    step, number = float(weight.step[0]), int(few.sum())
    return (
        f"one weight scale, {step:.3g}, serves {largest.size} filters: {number} of them reach no "
        f"integer above {_FEW} of 127, the smallest none above {int(largest.min())} (median {np.median(largest):.0f}); "
        f"SQNR of the layer alone {observation.own_sqnr_db:.1f} dB"
    )


def _depthwise(observation: Observation) -> bool:
    weight = observation.layer.weight
    return has_wrong_weight(observation) and weight is not None and weight.depthwise


def _other(observation: Observation) -> bool:
    weight = observation.layer.weight
    return has_wrong_weight(observation) and weight is not None and not weight.depthwise


_FIX = "give every output channel a scale of its own: edgekit export --quantize static (rule {} of edgekit inspect)"

DEPTHWISE = Rule(
    "per-tensor-weights",
    "weight",
    "depthwise convolutions with per-tensor weights",
    _FIX.format("EKL206"),
    _depthwise,
    check,
)
OTHER = Rule(
    "per-tensor-weights",
    "weight",
    "convolutions and linear layers with per-tensor weights",
    _FIX.format("EKL207"),
    _other,
    check,
)
