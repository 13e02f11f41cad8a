"""Lint of quantized ONNX files, whoever made them: known faults, each with a reason and, where possible, a fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import onnx
import onnx_ir as ir

from edgekit.errors import UsageError
from edgekit.quantize._graph import drop_unused_constants
from edgekit.quantize.lint import (
    activation_per_channel,
    asymmetric,
    bias_scale,
    concat_scales,
    conversion_before_activation,
    depthwise_per_tensor,
    double_conversion,
    dynamic_convolution,
    float_bias,
    float_island,
    float_layer,
    int16_saturation,
    int32_bias,
    lost_by_moving,
    missing_zero_point,
    operator_format,
    repeated_quantize,
    residual,
    signed_activation,
    weights_per_tensor,
    zero_scale,
)
from edgekit.quantize.lint._rule import TARGETS, Finding, Rule, Severity
from edgekit.quantize.lint._view import View
from edgekit.spec import Note

# In the order of their ids, in which they also mend: each relies on those before.
RULES: Final[tuple[Rule, ...]] = (
    conversion_before_activation.RULE,
    float_island.RULE,
    float_layer.RULE,
    repeated_quantize.RULE,
    double_conversion.RULE,
    residual.RULE,
    concat_scales.RULE,
    operator_format.RULE,
    lost_by_moving.RULE,
    dynamic_convolution.RULE,
    zero_scale.RULE,
    missing_zero_point.RULE,
    activation_per_channel.RULE,
    signed_activation.RULE,
    asymmetric.RULE,
    depthwise_per_tensor.RULE,
    weights_per_tensor.RULE,
    bias_scale.RULE,
    int32_bias.RULE,
    float_bias.RULE,
    int16_saturation.RULE,
)

# A fix can uncover a fault that another mends; no chain of these is longer.
_ROUNDS: Final = 4


def lint(model: onnx.ModelProto, target: str = "cpu") -> tuple[Finding, ...]:
    """Return what is wrong with a quantized model that is to run on `target`, by rule and then in graph order.

    Args:
        model: A Q/DQ, operator-format, dynamically quantized or float model; of the last nothing is wrong.
        target: One of `TARGETS`.

    Raises:
        UsageError: EK002 when the target is another.
    """
    if target not in TARGETS:
        hint = f"take one of {', '.join(TARGETS)}"
        raise UsageError("EK002", f"{target!r} is not a target of lint", where="--target", hint=hint)
    view = View(model)
    return tuple(finding for rule in RULES for finding in rule.findings(view, target))


def fix(model: onnx.ModelProto, findings: Iterable[Finding]) -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Mend what can be mended without the float model or images.

    Args:
        model: The model that `lint` saw; it stays as it is.
        findings: What to mend; findings without a fix are passed over.

    Returns:
        The mended model, and what was changed, one note a rule, with what that changes in the model's results.
    """
    view = View(model)
    places: dict[str, list[str]] = {}
    for finding in findings:
        if finding.fixable:
            places.setdefault(finding.rule, []).append(finding.node)
    notes = []
    for rule in RULES:
        mended = _mend(view, rule, places.get(rule.id, ()))
        if mended:
            text = f"{rule.title}: mended at {', '.join(mended)}. What it changes in results: {rule.changes}"
            notes.append(Note(rule.id, text))
    drop_unused_constants(view.graph)
    view.graph.sort()
    mended_model = ir.to_proto(view.model)
    onnx.checker.check_model(mended_model)
    return mended_model, tuple(notes)


def mend(model: onnx.ModelProto, target: str = "cpu") -> tuple[onnx.ModelProto, tuple[Note, ...]]:
    """Mend everything that has a fix, also what only a fix brings to light.

    Raises:
        UsageError: EK002 when the target is not one of `TARGETS`.
    """
    notes: tuple[Note, ...] = ()
    for _ in range(_ROUNDS):
        findings = [finding for finding in lint(model, target) if finding.fixable]
        if not findings:
            break
        model, more = fix(model, findings)
        notes += more
    return model, notes


def summary(findings: Sequence[Finding]) -> dict[str, int]:
    """Return how many findings there are of each severity, in falling order of severity."""
    counts = Counter(finding.severity for finding in findings)
    return {severity.value: counts[severity] for severity in Severity}


def _mend(view: View, rule: Rule, names: Sequence[str]) -> list[str]:
    if rule.fix is None:
        return []
    nodes = [(name, view.node(name)) for name in names]
    return [name for name, node in nodes if node is not None and rule.fix(view, node)]


__all__ = ["RULES", "TARGETS", "Finding", "Rule", "Severity", "fix", "lint", "mend", "summary"]
