"""One faulty graph for each lint rule, the same graph without the fault, and files that other tools made."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from small_nets import Array, graph, images, mobilenet, observed

from edgekit.quantize import plan, quantize_dynamic, quantize_static, tensors_to_calibrate

FOLDER = Path(__file__).resolve().parent
EXACT = np.inf

RNG = np.random.default_rng(3)
WEIGHT = RNG.integers(-60, 60, (4, 3, 3, 3)).astype(np.int8)
STEPS = np.array([0.01, 0.02, 0.015, 0.03], np.float32)
CONSTANTS: dict[str, Any] = {
    "xs": np.float32(0.02), "xz": np.uint8(128), "z0": np.uint8(0), "s0": np.int8(0),
    "w": WEIGHT, "ws": STEPS, "wz": np.zeros(4, np.int8),
    "b": np.array([100, -200, 300, 50], np.int32), "bs": np.float32(0.02) * STEPS, "bz": np.zeros(4, np.int32),
    "cs": np.float32(0.05), "cz": np.uint8(128), "ds": np.float32(0.03),
}  # fmt: skip

INPUT = "xq = QuantizeLinear (x, xs, xz) xd = DequantizeLinear (xq, xs, xz)"
WEIGHTS = "wd = DequantizeLinear <axis = 0> (w, ws, wz)"
CONV = f"""{INPUT} {WEIGHTS} bd = DequantizeLinear <axis = 0> (b, bs, bz)
    c = Conv <pads = [1, 1, 1, 1]> (xd, wd, bd)"""
OUTPUT = "cq = QuantizeLinear (c, cs, cz) y = DequantizeLinear (cq, cs, cz)"
SYMMETRIC: dict[str, Any] = {"xz": np.int8(0), "cz": np.int8(0), "fb": np.array([1, -1, 0.5, 0], np.float32)}


@dataclasses.dataclass(frozen=True)
class Case:
    """A fault and the same without it.

    Attributes:
        target: Where it is a fault.
        faulty: The graph.
        clean: A graph without the fault.
        sqnr: What the fix leaves of the results, in dB; EXACT: all; None: there is no fix.
    """

    target: str
    faulty: onnx.ModelProto
    clean: onnx.ModelProto
    sqnr: float | None


def net(body: str, channels: int = 4, **constants: Any) -> onnx.ModelProto:
    """A graph of 8x8 images with three channels, from its nodes."""
    text = f"agraph (float[n,3,8,8] x) => (float[n,{channels},8,8] y) {{ {body} }}"
    return graph(text, **{**CONSTANTS, **constants})


CLEAN = net(f"{CONV} {OUTPUT}")
CLEAN_TENSORRT = net(
    f"{INPUT} {WEIGHTS} c = Conv <pads = [1, 1, 1, 1]> (xd, wd, fb) {OUTPUT}",
    **SYMMETRIC,
)


def cases() -> Iterator[tuple[str, Case]]:
    """Every rule's id with its cases; a rule may have several."""
    yield from placement_cases()
    yield from parameter_cases()


def placement_cases() -> Iterator[tuple[str, Case]]:
    relu = net(f"{CONV} r = Relu (c) rq = QuantizeLinear (r, ds, z0) y = DequantizeLinear (rq, ds, z0)")
    between = "cq = QuantizeLinear (c, cs, cz) cd = DequantizeLinear (cq, cs, cz) r = Relu (cd)"
    twice = net(f"{CONV} {between} rq = QuantizeLinear (r, ds, z0) y = DequantizeLinear (rq, ds, z0)")
    yield "EKL101", Case("cpu", twice, relu, 20)
    once = net(f"{CONV} {between} y = HardSigmoid (r)")
    yield "EKL101", Case("tensorrt", once, CLEAN_TENSORRT, EXACT)

    around = "cq = QuantizeLinear (c, cs, cz) cd = DequantizeLinear (cq, cs, cz)"
    back = "iq = QuantizeLinear (i, ds, z0) y = DequantizeLinear (iq, ds, z0)"
    island = net(f"{CONV} {around} h = HardSigmoid (cd) i = Mul (cd, h) {back}")
    yield "EKL102", Case("cpu", island, net(f"{CONV} {around} h = HardSigmoid (cd) y = Mul (cd, h)"), None)

    yield "EKL103", Case("cpu", net(f"{CONV} y = Identity (c)"), CLEAN, None)

    two = """aq = QuantizeLinear (c, cs, cz) ad = DequantizeLinear (aq, cs, cz)
        eq = QuantizeLinear (c, cs, cz) ed = DequantizeLinear (eq, cs, cz)
        s = Add (ad, ed) sq = QuantizeLinear (s, cs, cz) y = DequantizeLinear (sq, cs, cz)"""
    one = two.replace("eq = QuantizeLinear (c, cs, cz) ed = DequantizeLinear (eq, cs, cz)", "").replace("ed", "ad")
    yield "EKL104", Case("cpu", net(f"{CONV} {two}"), net(f"{CONV} {one}"), EXACT)

    for scale, loss in (("cs", EXACT), ("ds", 20)):
        again = f"{around} dq = QuantizeLinear (cd, {scale}, cz) y = DequantizeLinear (dq, {scale}, cz)"
        yield "EKL105", Case("cpu", net(f"{CONV} {again}"), CLEAN, loss)

    body = """xq = QuantizeLinear (x, xs, s0) xd = DequantizeLinear (xq, xs, s0)
        wd = DequantizeLinear <axis = 0> (w, ws, wz)
        c = Conv <pads = [1, 1, 1, 1]> (xd, wd)"""
    three = {"w": WEIGHT[:3], "ws": STEPS[:3], "wz": np.zeros(3, np.int8)}
    both = f"{body} cq = QuantizeLinear (c, cs, s0) cd = DequantizeLinear (cq, cs, s0) y = Add (xd, cd)"
    residual = net(both, channels=3, **three)
    yield "EKL106", Case("tensorrt", residual, net(f"{body} y = Add (xd, c)", channels=3, **three), 20)

    concat = """r = Relu (c) l = Neg (c)
        rq = QuantizeLinear (r, {0}, z0) rd = DequantizeLinear (rq, {0}, z0)
        lq = QuantizeLinear (l, {1}, z0) ld = DequantizeLinear (lq, {1}, z0)
        k = Concat <axis = 1> (rd, ld) kq = QuantizeLinear (k, cs, z0) y = DequantizeLinear (kq, cs, z0)"""
    different = net(f"{CONV} {concat.format('cs', 'ds')}", channels=8)
    yield "EKL107", Case("cpu", different, net(f"{CONV} {concat.format('cs', 'cs')}", channels=8), 20)

    yield "EKL108", Case("tensorrt", quantize_dynamic(mobilenet())[0], CLEAN_TENSORRT, None)

    body = """q, s, z = DynamicQuantizeLinear (x) i = ConvInteger <pads = [1, 1, 1, 1]> (q, w, z, s0)
        f = Cast <to = 1> (i) y = Mul (f, s)"""
    yield "EKL110", Case("cpu", net(body), CLEAN, None)

    yield "EKL109", Case("cpu", classifier("f = Flatten (xd)"), classifier(), EXACT)


def classifier(move: str = "", bias: str = "bd", **more: Any) -> onnx.ModelProto:
    """A linear layer on the whole image; without `move` its input is quantized behind the Flatten."""
    behind = "g = Flatten (x) gq = QuantizeLinear (g, xs, xz) f = DequantizeLinear (gq, xs, xz)"
    body = f"""{f"{INPUT} {move}" if move else behind}
        wd = DequantizeLinear <axis = 0> (w, ws, wz) bd = DequantizeLinear <axis = 0> (b, bs, bz)
        y = Gemm <transB = 1> (f, wd, {bias})"""
    weight = np.random.default_rng(4).integers(-60, 60, (4, 192)).astype(np.int8)
    text = f"agraph (float[n,3,8,8] x) => (float[n,4] y) {{ {body} }}"
    return graph(text, **{**CONSTANTS, "w": weight, **more})


def parameter_cases() -> Iterator[tuple[str, Case]]:
    dead: Array = STEPS.copy()
    dead[2] = 0
    yield "EKL201", Case("cpu", net(f"{CONV} {OUTPUT}", ws=dead, bs=np.float32(0.02) * dead), CLEAN, EXACT)

    without = f"{INPUT} wd = DequantizeLinear <axis = 0> (w, ws) c = Conv <pads = [1, 1, 1, 1]> (xd, wd, fb) {OUTPUT}"
    yield "EKL202", Case("tensorrt", net(without, **SYMMETRIC), CLEAN_TENSORRT, EXACT)

    per_channel: dict[str, Any] = {"xs": np.array([0.02, 0.01, 0.015], np.float32), "xz": np.full(3, 128, np.uint8)}
    float_bias = CONV.replace("bd = DequantizeLinear <axis = 0> (b, bs, bz)", "").replace("bd)", "fb)")
    faulty = net(f"{float_bias} {OUTPUT}", **per_channel, fb=SYMMETRIC["fb"])
    yield "EKL203", Case("cpu", faulty, CLEAN, 20)

    signed: dict[str, Any] = {"xz": np.int8(0), "cz": np.int8(3)}
    yield "EKL204", Case("cpu", net(f"{CONV} {OUTPUT}", **signed), CLEAN, EXACT)
    rectified = """r = Relu (c) rq = QuantizeLinear (r, cs, s0) rd = DequantizeLinear (rq, cs, s0)
        vd = DequantizeLinear <axis = 0> (v, ws, wz) ad = DequantizeLinear <axis = 0> (b, as, bz)
        y = Conv (rd, vd, ad)"""
    second: dict[str, Any] = {"v": WEIGHT[:, [0, 1, 2, 0], :1, :1], "as": np.float32(0.05) * STEPS}
    yield "EKL204", Case("cpu", net(f"{CONV} {rectified}", **second), CLEAN, 30)

    yield "EKL205", Case("tensorrt", net(f"{CONV} {OUTPUT}"), CLEAN_TENSORRT, 30)
    unsigned = {"w": (WEIGHT.astype(int) + 128).astype(np.uint8), "wz": np.full(4, 128, np.uint8)}
    body = f"{INPUT} {WEIGHTS} c = Conv <pads = [1, 1, 1, 1]> (xd, wd, fb) {OUTPUT}"
    yield "EKL205", Case("tensorrt", net(body, **{**SYMMETRIC, **unsigned}), CLEAN_TENSORRT, 30)

    kept = f"""{INPUT} wq = QuantizeLinear {{axis}} (wf, ws, wz) wd = DequantizeLinear {{axis}} (wq, ws, wz)
        {{conv}} {OUTPUT}"""
    one: dict[str, Any] = {"ws": np.float32(0.02), "wz": np.int8(0)}
    rounded = kept.format(axis="", conv="c = Conv <pads = [1, 1, 1, 1]> (xd, wd)")
    clean = kept.format(axis="<axis = 0>", conv="c = Conv <pads = [1, 1, 1, 1]> (xd, wd)")
    floats = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    yield "EKL207", Case("cpu", net(rounded, wf=floats, **one), net(clean, wf=floats), 20)
    grouped: dict[str, Any] = {"wf": floats[:3, :1], "ws": STEPS[:3], "wz": np.zeros(3, np.int8)}
    rounded, clean = (text.replace("<pads", "<group = 3, pads") for text in (rounded, clean))
    yield "EKL206", Case("cpu", net(rounded, 3, **{**grouped, **one}), net(clean, 3, **grouped), 20)

    yield "EKL208", Case("cpu", net(f"{CONV} {OUTPUT}", bs=np.float32(0.2) * STEPS), CLEAN, EXACT)

    symmetric = {**SYMMETRIC, "bs": np.float32(0.02) * STEPS}
    yield "EKL209", Case("tensorrt", net(f"{CONV} {OUTPUT}", **symmetric), CLEAN_TENSORRT, EXACT)

    yield "EKL210", Case("cpu", classifier(bias="fb", fb=SYMMETRIC["fb"]), classifier(), 60)

    shared = CONV.replace("bd)", "be)").replace("c = Conv", "be = Identity (bd) c = Conv")
    yield "EKL210", Case("cpu", net(f"{shared} {OUTPUT}"), CLEAN, EXACT)

    large = np.full((4, 3, 3, 3), 100, np.int8)
    yield "EKL211", Case("cpu-avx2", net(f"{CONV} {OUTPUT}", w=large), CLEAN, EXACT)


def images_of(model: onnx.ModelProto) -> Array:
    """Images of the size that a graph of this file takes."""
    return images(2, size=model.graph.input[0].type.tensor_type.shape.dim[2].dim_value)


def reference(model: onnx.ModelProto, batch: Array) -> Array:
    """What the graph says, node by node: onnxruntime without any optimization."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: batch})
    result: Array = output
    return result


def own(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model quantized by edgekit."""
    return quantize_static(model, plan(model, observed(model, tensors_to_calibrate(model), images(4))))[0]


def by_onnxruntime(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    """The model quantized by onnxruntime, with its defaults apart from `options`."""
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization import quantize_static as quantize

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter([{model.graph.input[0].name: image[None]} for image in images(4)])

        def get_next(self) -> dict[str, Array] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "model.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model, source)
        logging.disable(logging.WARNING)  # It advises to preprocess the model, on the root logger.
        try:
            quantize(source, made, Reader(), **options)
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(made)


def for_tensorrt(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model quantized by onnxruntime with the settings that TensorRT wants."""
    extra = {
        "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
        "AddQDQPairToWeight": True, "DedicatedQDQPair": True,
    }  # fmt: skip
    return by_onnxruntime(model, per_channel=True, extra_options=extra)


def nncf_file() -> Path:
    """The file that NNCF made; see README.md."""
    return FOLDER / "nncf_mobilenet.onnx"


CASES = list(cases())
