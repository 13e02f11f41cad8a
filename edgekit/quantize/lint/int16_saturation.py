"""EKL211: weights that overflow 16 bits where a processor adds products in pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgekit.quantize._graph import integer
from edgekit.quantize.lint._edit import shift_to
from edgekit.quantize.lint._rule import CPU, Fault, Rule, Severity
from edgekit.quantize.lint._view import (
    View,
    dequantizer,
    integer_type,
    is_depthwise,
    label,
    pair,
    producer,
    stored,
    weight_conversion,
)

# 255 * 128 = 32640 still fits into int16; 255 * 129 = 32895 does not.
_LARGEST_PAIR = 128


def check(view: View, target: str) -> Iterator[Fault]:
    """Find layers with neighbouring weights that can overflow together."""
    for layer in view.layers():
        pairs = _overflowing_pairs(layer)
        if pairs:
            severity = Severity.WARNING if target == "cpu-avx2" else None
            count = "1 pair" if pairs == 1 else f"{pairs} pairs"
            what = f"{count} of neighbouring weights of {label(layer)} add up to more than {_LARGEST_PAIR}"
            yield Fault(label(layer), what, fixable=target == "cpu-avx2", severity=severity)


def fix(view: View, layer: ir.Node) -> bool:
    """Store the same weights as uint8, which takes kernels that widen before they add."""
    weight = weight_conversion(layer)
    if weight is None or not _overflowing_pairs(layer):
        return False
    quantize = producer(weight.inputs[0], "QuantizeLinear")
    if quantize is not None and pair(quantize) != (quantize, weight):
        return False
    shift_to(view, (weight,) if quantize is None else (quantize, weight), np.uint8)
    return True


def _overflowing_pairs(layer: ir.Node) -> int:
    weight = weight_conversion(layer)
    integers = None if weight is None else stored(weight)
    if weight is None or integers is None or integers.dtype != np.int8 or is_depthwise(layer):
        return 0
    source = dequantizer(layer.inputs[0])
    if source is not None and integer_type(source) not in {np.dtype(np.uint8), np.dtype(np.int8)}:
        return 0
    rows = _rows(layer, integers.astype(np.int64))
    if rows is None:
        return 0
    even = rows.shape[1] // 2 * 2
    sums = rows[:, 0:even:2] + rows[:, 1:even:2]
    return int(np.count_nonzero(np.abs(sums) > _LARGEST_PAIR))


def _rows(layer: ir.Node, integers: np.ndarray) -> np.ndarray | None:
    """The weights in the order in which one output sums its products, a row an output channel."""
    if layer.op_type == "Conv":
        # Images are laid out channels last, so channels vary fastest.
        return np.moveaxis(integers, 1, -1).reshape(integers.shape[0], -1)
    if integers.ndim != 2 or layer.op_type == "ConvTranspose":
        return None
    return integers if layer.op_type == "Gemm" and integer(layer, "transB", 0) else integers.T


RULE = Rule(
    "EKL211",
    "weights that can overflow int16 on AVX2",
    Severity.INFO,
    CPU,
    "x86 processors without VNNI add two products of uint8 and int8 in 16 bits, which saturate: for bright inputs the "
    "layer's output is wrong there, and right on other machines",
    "keep neighbouring weights small (7 bits, `reduce_range`), or set onnxruntime's session option "
    "`session.x64quantprecision` to 1; with --target cpu-avx2, --fix stores these weights as uint8, which is exact and "
    "somewhat slower",
    check,
    fix,
    "nothing in the file; on such a processor results become exact",
)
