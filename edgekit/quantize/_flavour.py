"""What a target wants of a quantized graph, apart from its ranges and its rounding."""

from __future__ import annotations

import dataclasses
import functools
from types import MappingProxyType

import numpy as np
import onnx


@dataclasses.dataclass(frozen=True)
class Flavour:
    """One way of writing the same integers.

    Attributes:
        name: `cpu`, `cpu-avx2`, `openvino`, `tensorrt` or `tensorrt8`.
        symmetric: Activations are int8 with zero point 0; otherwise uint8 with a zero point of their own.
        absorbs: A Relu or Clip vanishes into the scale of what it wrote; TensorRT fuses it itself.
        guards_pairs: No two weights that are multiplied side by side sum to more than 128: `pmaddubsw`, which
            processors without VNNI multiply with, adds two products in 16 bits and saturates beyond that.
        float_bias: Biases stay float32; otherwise they are int32.
        float_weights: Weights stay float32 before their own Q and DQ; otherwise they are stored as int8 before DQ.
        weight_bits: Weights take no more than so many bits; always stored as int8.
    """

    name: str
    symmetric: bool = False
    absorbs: bool = True
    guards_pairs: bool = False
    float_bias: bool = False
    float_weights: bool = False
    weight_bits: int = 8

    @property
    def largest_weight(self) -> int:
        """Largest integer of a weight; the smallest is its negative."""
        return (1 << (self.weight_bits - 1)) - 1


CPU = Flavour("cpu")
FLAVOURS = MappingProxyType({
    flavour.name: flavour
    for flavour in (
        CPU,
        Flavour("cpu-avx2", guards_pairs=True),
        Flavour("openvino"),
        Flavour("tensorrt", symmetric=True, absorbs=False, float_bias=True),
        Flavour("tensorrt8", symmetric=True, absorbs=False, float_bias=True, float_weights=True),
    )
})  # fmt: skip


def flavour_for(target: str) -> Flavour:
    """Return the flavour of a target; `cpu` means this machine, with whatever its processor gets wrong."""
    if target == "cpu" and saturates_here():
        return FLAVOURS["cpu-avx2"]
    return FLAVOURS[target]


@functools.cache
def saturates_here() -> bool:
    """Tell whether onnxruntime's uint8 x int8 kernels overflow on this processor, by running one.

    Measured, not looked up: it is so on x86 with AVX2 or AVX-512 but without VNNI, and a later onnxruntime may
    choose another kernel.
    """
    import onnxruntime

    columns = 64
    weight = onnx.numpy_helper.from_array(np.full((columns, columns), 127, np.int8), "weight")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMulInteger", ["input", "weight"], ["output"])],
        "saturation",
        [onnx.helper.make_tensor_value_info("input", onnx.TensorProto.UINT8, [1, columns])],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.INT32, [1, columns])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"input": np.full((1, columns), 255, np.uint8)})
    return bool((output != 255 * 127 * columns).any())
