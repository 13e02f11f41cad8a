"""The processor's integer kernel computes something else than the file says.

x86 without VNNI adds two products of uint8 and int8 in 16 bits, which saturate.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings.causes._rule import Rule

_ENOUGH_DB = 30.0


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find a layer that loses more by its kernel than by rounding."""
    if observation.kernel_sqnr_db > min(observation.own_sqnr_db, _ENOUGH_DB):
        return None
    return (
        f"on this processor its integer kernel differs from what the file says: "
        f"SQNR {observation.kernel_sqnr_db:.1f} dB, with {observation.own_sqnr_db:.1f} dB for rounding"
    )


def _has_kernel(observation: Observation) -> bool:
    return observation.layer.weight is not None and observation.layer.kernel is not None


RULE = Rule(
    "integer-kernel",
    "kernel",
    "layers that the integer kernel gets wrong",
    "make the file for this processor: edgekit export --quantize static, on it, keeps neighbouring weights small; "
    "edgekit inspect --target cpu-avx2 --fix FILE mends what is there (rule EKL211)",
    _has_kernel,
    check,
)
