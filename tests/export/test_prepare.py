"""The graph passes on ONNX files that users bring: every form that exporters write becomes the one clean form."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import onnxsim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from edgekit.errors import ExportError, ModelError
from edgekit.export import prepare, to_onnx, with_opset
from edgekit.spec import Note

ModelMaker = Callable[..., nn.Module]
Exporter = Callable[[str], tuple[onnx.ModelProto, tuple[Note, ...]]]


def model_of(body: str, *, opset: int = 17, batch: str = "n", size: int = 9, classes: int = 4) -> onnx.ModelProto:
    """A model with this body; `w`, `b` are the weights of a 3x3 convolution and `scale` … `var` of a normalisation."""
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : {opset}]>
        net (float[{batch}, 3, {size}, {size}] pixels) => (float[{batch}, {classes}] logits) {{ {body} }}""")
    rng = np.random.default_rng(5)
    tensors = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        "w2": rng.normal(size=(4, 4, 1, 1)),
        "b": rng.normal(size=4),
        "scale": rng.normal(size=4),
        "shift": rng.normal(size=4),
        "mean": rng.normal(size=4),
        "var": rng.uniform(0.1, 2, size=4),
        "zero": np.zeros(()),
        "three": np.array(3.0),
        "six": np.array(6.0),
    }
    used = {value for node in model.graph.node for value in node.input}
    for name, values in tensors.items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return model


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def assert_same(first: onnx.ModelProto, second: onnx.ModelProto, *, batch: int = 3, size: int = 9) -> None:
    images = np.random.default_rng(1).normal(size=(batch, 3, size, size)).astype(np.float32)
    sessions = [
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for model in (first, second)
    ]
    expected, actual = (session.run(None, {"pixels": images})[0] for session in sessions)
    np.testing.assert_allclose(actual, expected, atol=1e-4 * float(np.abs(expected).max()))


TAIL = "p = GlobalAveragePool (f)\n logits = Flatten (p)"
STATISTICS = "scale, shift, mean, var"
CORNER = "corner = Constant <value_ints: ints = [0, 0, 0, 0, 0, 0, 1, 1]> ()"
CONV = "Conv <kernel_shape: ints = [3, 3], strides: ints = [2, 2]"


@pytest.mark.parametrize(
    ("body", "clean"),
    [
        (f"c = {CONV}> (pixels, w)\n f = BatchNormalization (c, {STATISTICS})\n {TAIL}", ["Conv"]),
        (f"c = {CONV}> (pixels, w, b)\n f = BatchNormalization <epsilon = 0.01> (c, {STATISTICS})\n {TAIL}", ["Conv"]),
        (f"i = Identity (pixels)\n c = {CONV}> (i, w)\n f = Identity (c)\n {TAIL}", ["Conv"]),
        (f"c = {CONV}> (pixels, w)\n f, mask = Dropout (c)\n {TAIL}", ["Conv"]),
        (f"{CORNER}\n x = Pad (pixels, corner)\n f = {CONV}> (x, w)\n {TAIL}", ["Conv"]),
        (f'f = {CONV}, auto_pad = "SAME_UPPER"> (pixels, w)\n {TAIL}', ["Conv"]),
        (f'f = {CONV}, auto_pad = "SAME_LOWER"> (pixels, w)\n {TAIL}', ["Conv"]),
        (
            (
                f"c = {CONV}> (pixels, w)\n t = Add (c, three)\n k = Clip (t, zero, six)\n"
                f"m = Mul (c, k)\n f = Div (m, six)\n {TAIL}"
            ),
            ["Conv", "HardSwish"],
        ),
        (
            f"c = {CONV}> (pixels, w)\n h = HardSigmoid <alpha = 0.16666667, beta = 0.5> (c)\n f = Mul (h, c)\n {TAIL}",
            ["Conv", "HardSwish"],
        ),
        (
            f"f = {CONV}> (pixels, w)\n m = ReduceMean <axes: ints = [2, 3], keepdims = 0> (f)\n logits = Identity (m)",
            ["Conv"],
        ),
        (
            (
                f"f = {CONV}> (pixels, w)\n m = ReduceMean <axes: ints = [-1, -2]> (f)\n"
                "s = Constant <value_ints: ints = [-1, 4]> ()\n logits = Reshape (m, s)"
            ),
            ["Conv"],
        ),
        (
            (
                f"f = {CONV}> (pixels, w)\n m = GlobalAveragePool (f)\n"
                "a = Constant <value_ints: ints = [2, 3]> ()\n logits = Squeeze (m, a)"
            ),
            ["Conv"],
        ),
        (f"dead = Relu (pixels)\n f = {CONV}> (pixels, w)\n {TAIL}", ["Conv"]),
    ],
)
def test_every_form_becomes_the_one_clean_form_and_computes_the_same(body: str, clean: list[str]) -> None:
    model = model_of(body)
    before = model.SerializeToString()
    cleaned, notes = prepare(model)
    assert operators(cleaned) == [*clean, "GlobalAveragePool", "Flatten"]
    assert_same(model, cleaned)
    assert model.SerializeToString() == before
    assert [value.name for value in (*cleaned.graph.input, *cleaned.graph.output)] == ["pixels", "logits"]
    assert all(note.source == "export" and note.text for note in notes)


@pytest.mark.parametrize(
    ("middle", "operator"),
    [
        (f'm = Pad <mode = "reflect"> (pixels, widths)\n f = {CONV}> (m, w)', "Pad"),
        (f"m = Pad (pixels, widths, three)\n f = {CONV}> (m, w)", "Pad"),
        (f"c = {CONV}> (pixels, w)\n m = ReduceMean <axes: ints = [1]> (c)\n f = Add (c, m)", "ReduceMean"),
        (f"c = {CONV}> (pixels, w)\n m = HardSigmoid <alpha = 0.2, beta = 0.5> (c)\n f = Mul (c, m)", "HardSigmoid"),
        (f"c = {CONV}> (pixels, w)\n r = Relu (c)\n f = BatchNormalization (r, scale, shift, mean, var)", "Relu"),
    ],
)
def test_what_only_looks_like_a_known_form_stays(middle: str, operator: str) -> None:
    model = model_of(f"widths = Constant <value_ints: ints = [0, 0, 1, 1, 0, 0, 1, 1]> ()\n {middle}\n {TAIL}")
    cleaned, _ = prepare(model)
    assert operator in operators(cleaned)
    assert_same(model, cleaned)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    channels=st.integers(1, 6),
    groups=st.booleans(),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    bias=st.booleans(),
    eps=st.sampled_from([1e-5, 1e-3]),
)
def test_any_padded_and_normalised_convolution_becomes_one_convolution(
    seed: int, channels: int, groups: bool, pads: tuple[int, int, int, int], bias: bool, eps: float
) -> None:
    rng = np.random.default_rng(seed)
    outputs = 3 * channels
    padding = [0, 0, *pads[:2], 0, 0, *pads[2:]]
    weights = {
        "weight": rng.normal(size=(outputs, 1 if groups else 3, 3, 3)),
        "bias": rng.normal(size=outputs),
        "gamma": rng.normal(size=outputs),
        "beta": rng.normal(size=outputs),
        "mean": rng.normal(size=outputs),
        "var": rng.uniform(1e-3, 10, size=outputs),
    }
    nodes = [
        onnx.helper.make_node("Pad", ["pixels", "widths"], ["padded"], "pad"),
        onnx.helper.make_node(
            "Conv",
            ["padded", "weight", *(["bias"] if bias else [])],
            ["c"],
            "stem",
            group=3 if groups else 1,
            kernel_shape=[3, 3],
        ),
        onnx.helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["f"], "norm", epsilon=eps),
        onnx.helper.make_node("GlobalAveragePool", ["f"], ["p"], "pool"),
        onnx.helper.make_node("Flatten", ["p"], ["logits"], "flatten"),
    ]
    tensors = [
        numpy_helper.from_array(value.astype(np.float32), key)
        for key, value in weights.items()
        if bias or key != "bias"
    ]
    tensors.append(numpy_helper.from_array(np.array(padding, np.int64), "widths"))
    shapes: dict[str, list[str | int | None]] = {"pixels": ["n", 3, 9, 9], "logits": ["n", outputs]}
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = onnx.helper.make_graph(nodes, "net", values[:1], values[1:], tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    cleaned, _ = prepare(model)
    assert [(node.op_type, node.name) for node in cleaned.graph.node] == [
        ("Conv", "stem"),
        ("GlobalAveragePool", "pool"),
        ("Flatten", "flatten"),
    ]
    assert_same(model, cleaned)


def test_a_fixed_batch_is_noted() -> None:
    _, notes = prepare(model_of(f"f = {CONV}> (pixels, w)\n {TAIL}", batch="1"))
    assert any("batch axis is fixed to 1" in note.text for note in notes)


def test_nodes_that_share_a_name_get_names_of_their_own() -> None:
    model = model_of(f"c = {CONV}> (pixels, w)\n f = Relu (c)\n {TAIL}")
    for node in model.graph.node:
        node.name = "node"
    cleaned, _ = prepare(model)
    assert [node.name for node in cleaned.graph.node] == ["node", "node_1", "node_2", "node_3"]


def test_a_model_that_is_clean_already_is_left_as_it_is(architecture: str, exported: Exporter) -> None:
    model, _ = exported(architecture)
    onnx.helper.set_model_props(model, {"kept": "yes"})
    cleaned, notes = prepare(model)
    assert notes == ()
    assert cleaned.graph.node == model.graph.node
    assert cleaned.metadata_props == model.metadata_props


@pytest.mark.parametrize("damage", ["absent", "raises", "changes the model"])
def test_the_clean_up_goes_on_without_onnxsim(
    damage: str, monkeypatch: pytest.MonkeyPatch, make_model: ModelMaker
) -> None:
    module = make_model("mobilenet_v1", "tf_same", 65)
    expected, _ = to_onnx(module, input_size=65)

    def changing(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        gemm = next(node for node in changed.graph.node if node.op_type == "Gemm")
        bias = next(tensor for tensor in changed.graph.initializer if tensor.name == gemm.input[2])
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(1), bias.name))
        return changed, True

    def raising(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
        raise RuntimeError(f"cannot simplify {model.graph.name}")

    if damage == "absent":
        monkeypatch.setitem(sys.modules, "onnxsim", None)
    else:
        monkeypatch.setattr(onnxsim, "simplify", raising if damage == "raises" else changing)
    model, notes = to_onnx(module, input_size=65)
    assert model.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
    assert sum("went on without it" in note.text for note in notes) == 1


@pytest.mark.parametrize("opset", range(13, 22))
def test_every_opset_can_be_reached_and_left_again(opset: int, exported: Exporter) -> None:
    model, _ = exported("mobilenet_v3_small")
    converted, _ = with_opset(model, opset)
    assert [(entry.domain, entry.version) for entry in converted.opset_import] == [("", opset)]
    back, _ = with_opset(converted, 17)
    names = [node.name for node in model.graph.node if node.op_type == "Conv"]
    assert [node.name for node in back.graph.node if node.op_type == "Conv"] == names


@pytest.mark.parametrize("opset", [9, 11])
def test_models_older_than_any_opset_that_edgekit_writes_are_raised(opset: int) -> None:
    pad = "pads: ints = [0, 0, 0, 0, 0, 0, 1, 1]"
    if opset < 11:
        body = f"p0 = Pad <{pad}> (pixels)\n c = {CONV}> (p0, w)\n f = Clip <min = 0.0, max = 6.0> (c)\n {TAIL}"
    else:
        body = f"c = {CONV}> (pixels, w)\n f = Clip (c, zero, six)\n {TAIL}"
    model = model_of(body, opset=opset)
    cleaned, notes = prepare(model)
    assert operators(cleaned) == ["Conv", "Clip", "GlobalAveragePool", "Flatten"]
    assert f"converted from opset {opset} to 13" in [note.text for note in notes]
    assert_same(model, cleaned)


def test_ek401_and_ek402_of_a_conversion_name_what_is_wrong() -> None:
    model = model_of(f"c = {CONV}> (pixels, w)\n f = Mish (c)\n {TAIL}", opset=18)
    model.graph.node[1].name = "stem/Mish"
    with pytest.raises(ExportError) as caught:
        with_opset(model, 12)
    assert caught.value.code == "EK401"
    with pytest.raises(ExportError) as caught:
        with_opset(model, 17)
    assert (caught.value.code, caught.value.where) == ("EK402", "node stem/Mish")
    assert "came with 18" in caught.value.what


def test_ek402_names_a_node_whose_form_an_older_opset_does_not_have() -> None:
    rows = (
        "s = Constant <value_ints: ints = [-1, 2, 32]> ()\n r = Reshape <allowzero = 1> (f, s)\n logits = Flatten (r)"
    )
    model = model_of(f"f = {CONV}> (pixels, w)\n {rows}", opset=14, classes=64)
    model.graph.node[2].name = "rows/Reshape"
    with pytest.raises(ExportError, match="allowzero") as caught:
        with_opset(model, 13)
    assert (caught.value.code, caught.value.where) == ("EK402", "node rows/Reshape")


def test_an_attribute_that_only_says_the_default_does_not_prevent_an_older_opset() -> None:
    rows = (
        "s = Constant <value_ints: ints = [-1, 2, 32]> ()\n r = Reshape <allowzero = 0> (f, s)\n logits = Flatten (r)"
    )
    model = model_of(f"f = {CONV}> (pixels, w)\n {rows}", opset=14, classes=64)
    converted, _ = with_opset(model, 13)
    assert_same(model, converted)


def test_ek108_a_model_that_onnxruntime_cannot_run() -> None:
    rows = "s = Constant <value_ints: ints = [7, 4]> ()\n logits = Reshape (f, s)"
    with pytest.raises(ModelError) as caught:
        prepare(model_of(f"c = {CONV}> (pixels, w)\n f = GlobalAveragePool (c)\n {rows}"))
    assert caught.value.code == "EK108"
