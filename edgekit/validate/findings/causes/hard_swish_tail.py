"""Hard-swish falls to -0.375 between -3 and 0, and the integers of its output lose that part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate._layers import decibels
from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import Rule, is_rounded, span

_ENOUGH_DB = 6.0
_FEWEST = 0.02


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a hard-swish whose negative values are cut off, or all rounded to one or two integers."""
    quantizer = observation.quantizer
    if quantizer is None or not _is_hard_swish(observation, observations):
        return None
    negative = observation.expected < 0
    share = float(negative.mean())
    if share < _FEWEST:
        return None
    error = quantizer.rounded(observation.expected.astype(np.float64)) - observation.expected
    signal = float(np.square(observation.expected[negative], dtype=np.float64).sum())
    ratio = decibels(signal, float(np.square(error[negative]).sum()))
    if ratio >= _ENOUGH_DB:
        return None
    integers, values = span(observation)
    steps = -float(observation.expected.min()) / float(np.median(quantizer.step))
    left = "are cut off" if float(quantizer.low.max()) >= 0 else f"share {steps:.1f} steps"
    return (
        f"{100 * share:.0f} % of its values are below 0 and {left} (SQNR {ratio:.1f} dB): its integers reach from "
        f"{integers} and its values from {values}"
    )


def _is_hard_swish(observation: Observation, observations: Sequence[Observation]) -> bool:
    """Whether a layer is x · HardSigmoid(x), as one operator or in parts, divided by a constant or not."""
    layer = observation.layer
    known = [place for place in layer.sources if place >= 0]
    if layer.op_type == "HardSwish":
        return True
    if layer.op_type in {"Mul", "Div"} and len(known) == 1:
        return _is_hard_swish(observations[known[0]], observations)
    if layer.op_type != "Mul" or len(known) != 2:
        return False
    return any(known[1 - index] in observations[known[index]].layer.sources for index in (0, 1))


RULE = Rule(
    "hard-swish-tail",
    "output",
    "hard-swish activations",
    "let the accuracy ladder choose their ranges and leave in float what int8 spoils: edgekit export --quantize static "
    "--effort balanced --mixed",
    is_rounded,
    check,
)
