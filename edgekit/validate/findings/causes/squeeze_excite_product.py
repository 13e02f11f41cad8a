"""The product of a squeeze-and-excitation block, or the gate in it, is rounded too coarsely.

The gate is one number a channel: its error scales the whole channel.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import MUCH_DB, Rule, is_rounded, span

_FEW_DB = 15.0


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a gate or a product with much more error than need be, or with hardly a signal left."""
    rounding = observation.rounding
    part = _part(observation, observations)
    if rounding is None or part is None:
        return None
    if rounding.excess_db < MUCH_DB and observation.own_sqnr_db > _FEW_DB:
        return None
    integers, values = span(observation)
    return (
        f"it is the {part} of a squeeze-and-excitation block: its integers reach from {integers} and its values from "
        f"{values}, SQNR {observation.own_sqnr_db:.1f} dB, {rounding.excess_db:.0f} dB more error than with the best "
        "8-bit range"
    )


def _part(observation: Observation, observations: Sequence[Observation]) -> str | None:
    for product in observations:
        if product.layer.op_type != "Mul" or product.pixels == 1:
            continue
        gates = [observations[place] for place in product.layer.sources if place >= 0]
        gates = [gate for gate in gates if gate.pixels == 1]
        if gates and product is observation:
            return "product"
        if any(gate is observation for gate in gates):
            return "gate"
    return None


RULE = Rule(
    "squeeze-excite-product",
    "output",
    "squeeze-and-excitation gates and products",
    "let the accuracy ladder leave the block in float where int8 spoils it: edgekit export --quantize static --effort "
    "balanced --mixed",
    is_rounded,
    check,
)
