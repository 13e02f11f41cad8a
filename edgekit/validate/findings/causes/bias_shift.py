"""Channels are off by a constant: rounding errors of weights do not average out, or the bias itself is wrong.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import Rule, has_wrong_weight

_MOST_OF_IT = 0.5
_FEW_DB = 25.0


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a layer most of whose error is one constant a channel."""
    shift = observation.channel_shift
    share = float(np.square(shift).mean()) / observation.noise if observation.noise > 0 else 0.0
    if share < _MOST_OF_IT or observation.own_sqnr_db > _FEW_DB:
        return None
    deviation = observation.expected.std(axis=0, dtype=np.float64)
    usual = float(np.sqrt(np.square(deviation).mean()))
    worst = int(np.abs(shift).argmax())
    typical = float(np.sqrt(np.square(shift).mean()))
    return (
        f"{100 * share:.0f} % of its own error is one constant a channel, {typical / usual:.2g} standard deviations on "
        f"average; channel {worst} is off by {shift[worst]:.3g}; SQNR of the layer alone "
        f"{observation.own_sqnr_db:.1f} dB"
    )


RULE = Rule(
    "bias-shift",
    "weight",
    "layers with shifted channels",
    "let the accuracy ladder correct biases: edgekit export --quantize static --effort balanced",
    has_wrong_weight,
    check,
)
