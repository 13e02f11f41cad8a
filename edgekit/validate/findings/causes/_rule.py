"""The one shape of a cause: which layers it can be the cause in, and what speaks for it there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from edgekit.results import Cause
from edgekit.validate.findings._layer_error import Observation

# Ten times the error energy: steps three times as wide as they need be. Ranges that percentiles or another set of
# images gave stay below it.
MUCH_DB = 10.0


@dataclasses.dataclass(frozen=True)
class Rule:
    """One cause.

    Attributes:
        cause: Its id.
        concerns: What of a layer is at fault. Of the rules of one kind, a layer is told by the first that applies.
        several: What the layers are called when there are more than one.
        fix: What to do about it.
        needs: Tells whether a layer has what the rule is about.
        check: Returns what speaks for the cause in such a layer, with numbers; None when nothing does. It also gets
            all layers by their places, to look at those that this one reads.
    """

    cause: Cause
    concerns: Literal["output", "weight", "kernel"]
    several: str
    fix: str
    needs: Callable[[Observation], bool]
    check: Callable[[Observation, Sequence[Observation]], str | None]


def is_rounded(observation: Observation) -> bool:
    """Tell whether a layer's output is quantized, and most of the layer's own error comes from that."""
    return observation.rounding_dominates


def has_wrong_weight(observation: Observation) -> bool:
    """Tell whether a layer's weight is quantized, and most of its own error comes from there or from its bias."""
    return observation.layer.weight is not None and not observation.rounding_dominates


def span(observation: Observation) -> tuple[str, str]:
    """Return in words what the integers of a layer's output reach, and what its values do."""
    assert observation.quantizer is not None
    low, high = float(observation.quantizer.low.min()), float(observation.quantizer.high.max())
    values = observation.expected
    return f"{low:.3g} to {high:.3g}", f"{float(values.min()):.3g} to {float(values.max()):.3g}"
