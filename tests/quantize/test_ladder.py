"""The accuracy ladder: each rung does what it says, and none is kept that does not help."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import graph, images, mobilenet, observed, run, sqnr, weights

from edgekit.quantize import FLAVOURS, Climbed, Plan, climb, flavour_for, plan, quantize_static, tensors_to_calibrate
from edgekit.quantize._graph import editable
from edgekit.quantize._plan import canonical
from edgekit.quantize.ladder import _precision as precision
from edgekit.quantize.ladder import _reconstruct as reconstruct
from edgekit.quantize.ladder._equalize import equalize
from edgekit.quantize.ladder._measure import distance, observe
from edgekit.quantize.ladder._network import Network, Planned
from edgekit.quantize.ladder._second_order import round_second_order
from edgekit.quantize.ladder._walk import Walk
from edgekit.quantize.passes import canonicalise
from edgekit.spec import Effort

BATCH = images(40)
CPU = flavour_for("cpu")


def climbed(
    model: onnx.ModelProto,
    batch: npt.NDArray[np.float32] = BATCH,
    *,
    effort: Effort = "balanced",
    max_drop: float | None = None,
    mixed: bool = False,
    flavour: str = "cpu",
) -> Climbed:
    chosen = flavour_for(flavour)
    ranges = {"minmax": observed(model, tensors_to_calibrate(model, chosen), batch)}
    return climb(model, ranges, batch, chosen, effort=effort, max_drop=max_drop, mixed=mixed)


# --- the simulation that the ladder climbs on ---


@pytest.mark.parametrize(("act", "squeeze"), [("relu6", False), ("relu", True), ("hardswish", True)])
def test_the_network_computes_what_onnxruntime_does(act: str, squeeze: bool) -> None:
    model = mobilenet(act, squeeze=squeeze)
    result = Network(canonical(model)[0]).run(torch.from_numpy(BATCH)).numpy()
    assert np.allclose(result, run(model, BATCH), atol=1e-4)


@pytest.mark.parametrize("flavour", ["cpu", "tensorrt"])
def test_the_network_rounds_as_onnxruntime_does(flavour: str) -> None:
    model, chosen = mobilenet(), flavour_for(flavour)
    decided = plan(model, observed(model, tensors_to_calibrate(model, chosen), BATCH), chosen)
    simulated = Network(canonical(model, chosen)[0]).run(torch.from_numpy(BATCH), Planned(decided)).numpy()
    real = run(quantize_static(model, decided)[0], BATCH)
    # Both round the same numbers; ties that float arithmetic decides otherwise are few.
    assert sqnr(real, simulated) > 35


def test_an_operator_outside_the_family_runs_as_onnx_defines_it() -> None:
    model = graph(
        """agraph (float[n,3,8,8] input) => (float[n,4,8,8] output) {
            a = Conv (input, w)
            output = Softsign (a)
        }""",
        w=weights(4, 3, 1, 1),
    )
    batch = images(4, size=8)
    result = Network(canonical(model)[0]).run(torch.from_numpy(batch)).numpy()
    assert np.allclose(result, run(model, batch), atol=1e-5)


# --- rungs ---


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_rounding_by_second_order_is_nearer_than_rounding_each_weight(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(400, 12, generator=generator, dtype=torch.float64) @ torch.rand(
        12, 12, generator=generator, dtype=torch.float64
    )
    rows = torch.randn(1, 16, 12, generator=generator, dtype=torch.float64)
    scales = rows.abs().amax(2) / 7
    integers = round_second_order(rows, (inputs.T @ inputs / len(inputs))[None], scales, 127)
    nearest = (rows / scales[..., None]).round()

    def error(chosen: torch.Tensor) -> float:
        return float(((inputs @ (chosen * scales[..., None] - rows)[0].T) ** 2).sum())

    assert error(integers) < error(nearest)


def test_without_correlation_second_order_is_rounding_to_nearest() -> None:
    rows = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scales = rows.abs().amax(2) / 127
    integers = round_second_order(rows, torch.eye(7, dtype=torch.float64).expand(2, 7, 7), scales, 127)
    assert torch.equal(integers, (rows / scales[..., None]).round())


def test_errors_that_agree_over_an_image_are_kept_smaller_than_those_that_average_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = graph(
        "agraph (float[n,96,8,8] input) => (float[n,32,8,8] output) { output = Conv (input, w) }",
        w=weights(32, 96, 1, 1),
    )
    random = np.random.default_rng(0)
    batch = (random.random((20, 96, 8, 8)) + random.random((20, 96, 1, 1))).astype(np.float32)
    four_bits = dataclasses.replace(CPU, weight_bits=4)
    start = plan(model, observed(model, tensors_to_calibrate(model, four_bits), batch), four_bits)
    network = Network(canonical(model, four_bits)[0])
    reference = run(model, batch)

    def errors() -> tuple[float, float]:
        made = Walk(network, torch.from_numpy(batch)).run(start, reconstruct.Reconstruct())
        error = run(quantize_static(model, made)[0], batch) - reference
        return float(np.square(error).mean()), float(np.square(error.mean(axis=(2, 3))).mean())

    everywhere, of_means = errors()
    monkeypatch.setattr(reconstruct, "MEANS_WEIGHT", 0.0)
    everywhere_alike, of_means_alike = errors()
    assert of_means < 0.7 * of_means_alike
    assert everywhere < 1.4 * everywhere_alike


@pytest.mark.parametrize("act", ["relu", "relu6"])
def test_equalization_leaves_the_function_as_it_is(act: str) -> None:
    copy = editable(mobilenet(act))
    canonicalise(copy.graph)
    network = Network(copy.graph)
    values = {value.name or "" for node in copy.graph for value in node.outputs}
    magnitudes = observe(network, torch.from_numpy(BATCH), values).magnitudes
    (note,) = equalize(copy.graph, magnitudes)
    assert "channels were scaled" in note.text
    result = ir.to_proto(copy)
    onnx.checker.check_model(result, full_check=True)
    assert np.allclose(run(result, BATCH), run(mobilenet(act), BATCH), atol=1e-4)


def test_equalization_does_not_touch_what_it_may_not() -> None:
    copy = editable(mobilenet("hardswish"))
    canonicalise(copy.graph)
    observed_magnitudes = {value.name or "": np.ones(64, np.float32) for node in copy.graph for value in node.outputs}
    (note,) = equalize(copy.graph, observed_magnitudes)
    assert note.text.startswith("no channel"), "hard-swish does not commute with scaling"


def test_a_channel_at_the_limit_of_relu6_is_not_scaled() -> None:
    model = graph(
        """agraph (float[n,2,4,4] input) => (float[n,2,4,4] output) {
            a = Conv (input, w)
            low = Constant <value = float {0.0}> ()
            high = Constant <value = float {6.0}> ()
            b = Clip (a, low, high)
            output = Conv <group = 2> (b, v)
        }""",
        w=weights(2, 2, 1, 1),
        v=weights(2, 1, 1, 1),
    )
    copy = editable(model)
    canonicalise(copy.graph)
    equalize(copy.graph, {"b": np.array([6.0, 1.0], np.float32)})
    scaled = {name: value.const_value for name, value in copy.graph.initializers.items()}
    before = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    after = scaled["w"]
    assert after is not None
    ratio = after.numpy() / before["w"]
    assert np.allclose(ratio[0], 1)
    assert np.allclose(ratio[1], 6 / 1.2)


# --- the whole climb ---


@pytest.mark.parametrize("flavour", ["cpu", "tensorrt"])
def test_climbing_brings_the_answers_nearer_on_images_it_has_not_seen(flavour: str) -> None:
    model = mobilenet()
    fresh = np.ascontiguousarray(images(200)[100:])
    reference = run(model, fresh)

    def error(effort: Effort) -> float:
        result = climbed(model, effort=effort, flavour=flavour)
        return sqnr(reference, run(quantize_static(result.model, result.plan)[0], fresh))

    assert error("balanced") > error("fast")


def test_only_rungs_that_help_are_kept_and_each_says_what_it_did() -> None:
    result = climbed(mobilenet())
    names = [rung.name for rung in result.rungs]
    assert names == ["round", "ranges", "equalize", "bias", "precision", "reconstruct"]
    best = result.rungs[0].kl
    for rung in result.rungs[1:]:
        assert rung.what
        assert rung.kept == (rung.kl < best)
        best = min(best, rung.kl)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, second = (climbed(mobilenet("relu")) for _ in range(2))
    one, other = (quantize_static(result.model, result.plan)[0] for result in (first, second))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_it_stops_when_the_goal_is_met() -> None:
    result = climbed(mobilenet(), max_drop=100.0)
    assert [rung.name for rung in result.rungs] == ["round"]


def test_fast_does_not_climb() -> None:
    result = climbed(mobilenet(), effort="fast")
    assert (result.rungs, result.notes) == ((), ())


@pytest.mark.parametrize("count", [1, 9])
def test_too_few_images_are_said_and_the_plan_is_the_plain_one(count: int) -> None:
    model = mobilenet()
    result = climbed(model, BATCH[:count])
    assert "too few to climb" in result.notes[0].text
    plain = plan(model, observed(model, tensors_to_calibrate(model), BATCH[:count]), CPU)
    assert result.plan.weights == plain.weights


def test_images_all_alike_end_in_a_model_that_runs() -> None:
    batch = np.repeat(BATCH[:1], 12, axis=0)
    result = climbed(mobilenet(), batch)
    assert np.isfinite(run(quantize_static(result.model, result.plan)[0], batch)).all()


def test_dead_channels_stay_dead_and_finite() -> None:
    model = mobilenet()
    first = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    array = onnx.numpy_helper.to_array(first).copy()
    array[:5] = 0
    first.CopyFrom(onnx.numpy_helper.from_array(array, first.name))
    result = climbed(model)
    assert all(np.isfinite(parameters.scale).all() for parameters in result.plan.weights.values())
    assert sqnr(run(model, BATCH), run(quantize_static(result.model, result.plan)[0], BATCH)) > 20


# --- the choice of precision ---


def test_candidates_are_float_beginnings_fewest_layers_first() -> None:
    graph, layers = canonical(mobilenet())
    weighted = [node.name for node in graph if node.op_type in ("Conv", "Gemm")]
    found = precision.candidates(graph, layers, timed=True)
    untimed = precision.candidates(graph, layers, timed=False)
    assert found
    for nodes in (*found, *untimed):
        assert list(nodes) == weighted[: len(nodes)]
    assert [len(nodes) for nodes in found] == sorted({len(nodes) for nodes in found})
    assert {len(nodes) for nodes in untimed} <= {len(nodes) for nodes in found}
    assert len(found[-1]) < len(weighted)


@pytest.mark.parametrize("count", range(1, 5))
def test_no_float_convolution_stands_between_quantized_ones(count: int) -> None:
    """onnxruntime would round its weights to int8 per tensor, unasked."""
    model = mobilenet("relu6")
    kept = precision.candidates(*canonical(model), timed=False)[min(count, 4) - 1]
    ranges = observed(model, tensors_to_calibrate(model), images(8))
    written, _ = quantize_static(model, plan(model, ranges, keep_float=kept))
    made_by = {name: node for node in written.graph.node for name in node.output}
    readers = [(node.op_type, name) for node in written.graph.node for name in node.input]
    for node in written.graph.node:
        if node.op_type != "Conv" or node.input[1] in made_by:
            continue
        source = made_by.get(node.input[0])
        between = source is not None and source.op_type == "DequantizeLinear"
        assert not (between and ("QuantizeLinear", node.output[0]) in readers), node.name


def plan_of(model: onnx.ModelProto) -> Plan:
    return plan(model, observed(model, tensors_to_calibrate(model), BATCH))


@pytest.mark.parametrize(
    ("times", "fast"),
    [
        ([1.0, 1.0, 1.2], [0, 1]),
        ([1.09, 1.0, 1.04], [0, 1, 2]),  # int8 everywhere is within noise
        ([1.2, 1.0, 1.06], [1]),
    ],
)
def test_what_is_about_as_fast_as_the_fastest(times: list[float], fast: list[int]) -> None:
    assert precision.fast_ones(times) == fast


def test_the_fewest_float_layers_that_are_about_as_near_as_the_nearest() -> None:
    assert precision.nearest([0.5, 0.11, 0.1]) == 1
    assert precision.nearest([0.1, 0.1, 0.1]) == 0


def test_layers_that_are_kept_in_float_compute_in_float() -> None:
    model = mobilenet()
    name = next(layer.node for layer in plan_of(model).layers if layer.op_type == "Conv")
    ranges = observed(model, tensors_to_calibrate(model), BATCH)
    decided = plan(model, ranges, CPU, {name: "a test wants it"})
    (row,) = (layer for layer in decided.layers if layer.node == name)
    assert (row.precision, row.reason) == ("float32", "a test wants it")
    assert "input" not in decided.activations
    assert sqnr(run(model, BATCH), run(quantize_static(model, decided)[0], BATCH)) > 25


def test_distance_is_zero_for_equal_answers_and_counts_changed_ones() -> None:
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert dataclasses.astuple(distance(logits, logits)) == (0.0, 100.0)
    assert distance(logits, logits.flip(1)).agreement == 0.0
    assert FLAVOURS["tensorrt"].symmetric


def test_a_model_with_a_fixed_batch_climbs_as_well() -> None:
    model = mobilenet()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    ranges = {"minmax": observed(mobilenet(), tensors_to_calibrate(model, CPU), BATCH)}
    result = climb(model, ranges, BATCH, CPU, mixed=True)
    assert len(result.rungs) == 6
    assert run(quantize_static(result.model, result.plan)[0], BATCH[:1]).shape == (1, 10)
