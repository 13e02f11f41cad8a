"""EKL208: an int32 bias in other steps than its layer counts in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize.lint._edit import expected_bias_scale, fits_int32, quantize_bias
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import View, bias_conversion, label, real, scale

# float32 products of float32 scales agree far better than this; a bias that is off by less does no harm.
_TOLERANCE = 1e-3


def check(view: View, target: str) -> Iterator[Fault]:
    """Find layers whose bias scale is not input scale times weight scale."""
    for layer in view.layers():
        wrong = _wrong(layer)
        if wrong is not None and wrong.any():
            bias = bias_conversion(layer)
            values, expected = None if bias is None else real(bias), expected_bias_scale(layer)
            fixable = values is not None and expected is not None and fits_int32(values, expected)
            what = f"{int(wrong.sum())} of {wrong.size} bias scales of {label(layer)} are not input times weight scale"
            yield Fault(label(layer), what, fixable=fixable)


def fix(view: View, layer: ir.Node) -> bool:
    """Store the bias that the graph stands for in the steps that the kernel counts in."""
    wrong = _wrong(layer)
    return wrong is not None and bool(wrong.any()) and quantize_bias(view, layer)


def _wrong(layer: ir.Node) -> np.ndarray | None:
    bias, expected = bias_conversion(layer), expected_bias_scale(layer)
    steps, values = (None, None) if bias is None else (scale(bias), real(bias))
    if steps is None or values is None or expected is None or steps.size not in {1, values.size}:
        return None
    wrong: np.ndarray = (np.abs(steps - expected) > _TOLERANCE * np.abs(expected)) & (values != 0)
    return wrong


RULE = Rule(
    "EKL208",
    "bias in other steps than its layer's",
    Severity.ERROR,
    CPU,
    "an int8 kernel adds the integers of the bias as they are, in steps of input scale times weight scale, whatever "
    "scale the file gives: it computes something else than the file says",
    "store the bias in steps of input scale times weight scale",
    check,
    fix,
    "the bias is rounded anew, by at most half a step; what onnxruntime runs becomes what the file says",
)
