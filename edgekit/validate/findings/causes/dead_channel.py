"""Channels that tell images apart in FP32 always give the same value in the candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import Rule, has_wrong_weight

# In steps of the output: below that, rounding alone makes a channel constant.
_STEPS = 2.0
_LEFT = 0.01


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find channels whose deviation is gone."""
    expected = observation.expected.std(axis=0, dtype=np.float64)
    own = observation.own.std(axis=0, dtype=np.float64)
    step = 0.0 if observation.quantizer is None else observation.quantizer.step
    dead = (expected > _STEPS * np.asarray(step)) & (own <= _LEFT * expected) & (expected > 0)
    if not dead.any():
        return None
    energy = 100 * float(np.square(expected[dead]).sum() / np.square(expected).sum())
    places = ", ".join(str(place) for place in np.flatnonzero(dead)[:5])
    more = ", …" if dead.sum() > 5 else ""
    return (
        f"{int(dead.sum())} of {dead.size} channels ({places}{more}) give the same value everywhere, where FP32 has "
        f"{energy:.2g} % of the layer's variance"
    )


RULE = Rule(
    "dead-channel",
    "weight",
    "layers with dead channels",
    "quantize the FP32 model again: edgekit export --quantize static; edgekit inspect --fix mends a scale of zero "
    "(EKL201), but not what was rounded away",
    has_wrong_weight,
    check,
)
