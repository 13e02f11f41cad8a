"""The causes of a loss that a diagnosis knows: one file each, in the order in which they are asked."""

from __future__ import annotations

from typing import Final

from edgekit.validate.findings.causes import (
    bias_shift,
    clipped_range,
    dead_channel,
    hard_swish_tail,
    outlier_channel,
    per_tensor_weights,
    preprocessing_mismatch,
    squeeze_excite_product,
    wide_range,
)
from edgekit.validate.findings.causes._rule import Rule

# A layer's output, and its weight, are told by the first that applies: special causes come before general ones.
RULES: Final[tuple[Rule, ...]] = (
    preprocessing_mismatch.RULE,
    squeeze_excite_product.RULE,
    hard_swish_tail.RULE,
    clipped_range.RULE,
    wide_range.RULE,
    outlier_channel.RULE,
    per_tensor_weights.DEPTHWISE,
    per_tensor_weights.OTHER,
    dead_channel.RULE,
    bias_shift.RULE,
)

__all__ = ["RULES", "Rule"]
