"""Lowering keeps what a model computes, and leaves nothing that the target's parser lacks."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.engine import lower
from edgekit.errors import TargetError
from edgekit.models import Overrides
from edgekit.pipeline.sources import open_source
from edgekit.targets import BuildPlan, Wishes, facts_of, load_card, opset_for, plan

IMAGE = np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype(np.float32)


def planned(name: str, target: str, jetpack: str | None = None) -> tuple[onnx.ModelProto, BuildPlan]:
    card, wishes = load_card(target), Wishes("none", jetpack=jetpack)
    model = open_source(name, Overrides(input_size=64, num_classes=10), opset_for(card, wishes)).model
    return model, plan(facts_of(model), card, wishes)


def run(model: onnx.ModelProto) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"input": IMAGE})
    return np.asarray(output, np.float32)


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small"])
@pytest.mark.parametrize(
    ("target", "jetpack", "opset"),
    [("jetson-nano", None, 13), ("jetson-agx-xavier", "5.1", 17), ("jetson-orin-nano", "6.2", 17)],
)
def test_a_weakly_typed_target_gets_the_same_function_for_one_frame(
    name: str, target: str, jetpack: str | None, opset: int
) -> None:
    model, chosen = planned(name, target, jetpack)
    lowered, notes = lower(model, chosen)
    assert [entry.version for entry in lowered.opset_import] == [opset]
    assert [dim.dim_value for dim in lowered.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 64]
    assert [dim.dim_value for dim in lowered.graph.output[0].type.tensor_type.shape.dim] == [1, 10]
    assert "the batch is 1" in [note.text for note in notes]
    release = next(s.release for s in load_card(target).stacks if s.tensorrt == chosen.tensorrt)
    assert not operators(lowered) & set(release.missing_operators)
    np.testing.assert_allclose(run(lowered), run(model), rtol=1e-4, atol=1e-4)


def test_hard_swish_becomes_add_clip_and_mul() -> None:
    model, chosen = planned("mobilenet_v3_small", "jetson-agx-xavier")
    count = sum(node.op_type == "HardSwish" for node in model.graph.node)
    assert count == 19
    lowered, notes = lower(model, chosen)
    types = [node.op_type for node in lowered.graph.node if node.name.startswith("features.0.2/")]
    assert types == ["Add", "Clip", "Mul", "Mul"]
    assert "wrote 19 HardSwish as x · clip(x + 3) / 6" in [note.text for note in notes]


def test_a_strongly_typed_target_gets_fp16_in_the_file() -> None:
    model, chosen = planned("mobilenet_v1", "jetson-agx-orin")
    lowered, _ = lower(model, chosen)
    assert {tensor.data_type for tensor in lowered.graph.initializer} == {TensorProto.FLOAT16}
    for value in (lowered.graph.input[0], lowered.graph.output[0]):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert lowered.ByteSize() < 0.55 * model.ByteSize()
    np.testing.assert_allclose(run(lowered), run(model), rtol=0.05, atol=0.05)


def test_lowering_never_changes_the_model_it_is_given() -> None:
    for target in ("jetson-agx-xavier", "jetson-agx-orin"):
        model, chosen = planned("mobilenet_v3_small", target)
        before = model.SerializeToString(deterministic=True)
        lower(model, chosen)
        assert model.SerializeToString(deterministic=True) == before


def test_an_opset_that_is_too_new_is_ek702() -> None:
    model, chosen = planned("mobilenet_v1", "jetson-agx-xavier")
    with pytest.raises(TargetError, match=r"EK702 jetson-agx-xavier: .*opset 17.* reads 13; .*--opset 13"):
        lower(model, dataclasses.replace(chosen, opset=13))


def slicing(end: int, axis: int = 1) -> onnx.ModelProto:
    """A graph that slices its input and reshapes it, with INT64 constants."""
    constants = {"starts": [0], "ends": [end], "axes": [axis], "shape": [1, -1]}
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["input", "starts", "ends", "axes"], ["part"], "slice"),
            helper.make_node("Reshape", ["part", "shape"], ["output"], "reshape"),
        ],
        "slicing",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 3 * 64 * 64])],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_the_end_of_a_slice_fits_into_int32_and_means_the_same() -> None:
    model = slicing(np.iinfo(np.int64).max)
    chosen = plan(facts_of(model), load_card("jetson-nano"), Wishes())
    lowered, notes = lower(model, chosen)
    ends = next(numpy_helper.to_array(tensor) for tensor in lowered.graph.initializer if tensor.name == "ends")
    assert ends.tolist() == [np.iinfo(np.int32).max]
    assert "1 ends of Slice fit into INT32 now" in [note.text for note in notes]
    assert np.array_equal(run(lowered), run(model))


def test_any_other_constant_beyond_int32_is_ek702() -> None:
    model = slicing(3)
    shape = next(tensor for tensor in model.graph.initializer if tensor.name == "shape")
    shape.CopyFrom(numpy_helper.from_array(np.array([1, 1 << 40], np.int64), "shape"))
    chosen = plan(facts_of(model), load_card("jetson-nano"), Wishes())
    with pytest.raises(TargetError, match=r"EK702 shape: .*does not fit into INT32"):
        lower(model, chosen)
