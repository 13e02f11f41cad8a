"""The time of a choice of channels: from layers timed on this machine, or from a device's roofline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import nnls

from edgekit.pruning._allocate import Cost
from edgekit.pruning._structure import LayerShape, Structure
from edgekit.targets import Coefficients, LayerCost, Peaks, estimate, total_ms
from edgekit.turns import frame_seconds

# Shares of (input, output) channels at which a layer is timed; between them its time is a fit.
_POINTS = ((1.0, 1.0), (0.75, 0.75), (1.0, 0.5), (0.5, 1.0), (0.5, 0.5), (0.25, 0.25))
# Shares of all channels at which whole models are timed.
_WHOLE = (1.0, 0.75, 0.5, 0.25)
# Makes the FP32 ONNX of the model with so many channels in each group.
Whole = Callable[[Sequence[int]], onnx.ModelProto]


@dataclasses.dataclass(frozen=True)
class LayerClock:
    """How the time of one layer follows from its channels, in seconds.

    Attributes:
        fixed: Whatever its channels.
        per_mac: A multiply-add.
        per_input: A number read.
        per_output: A number written.
    """

    fixed: float
    per_mac: float
    per_input: float
    per_output: float

    def seconds(self, layer: LayerShape, channels: Sequence[int]) -> float:
        """Return the time of a layer when group i has `channels[i]` channels."""
        return float(np.dot(_terms(layer, channels), dataclasses.astuple(self)))


def measured(
    parts: Structure,
    threads: int = 0,
    *,
    whole: Whole | None = None,
    advance: Callable[[int], None] = lambda layers: None,
) -> Cost:
    """Time every layer in onnxruntime, in FP32 with a batch of one, and return what a choice of channels takes.

    Layers of the same shape are timed once. The forms of a layer are timed in turns, so that what else runs on the
    machine hits all of them alike.

    Args:
        parts: Structure of the model.
        threads: Threads of onnxruntime; 0 takes all cores.
        whole: Makes whole models of some widths, which are timed too, and the layers' times scaled to agree with
            them. Without it the time of narrow models is overestimated: alone, a layer also pays for a call of its
            own, and for copying what it reads and writes into the layout of the kernels.
        advance: Called after each layer.
    """
    known: dict[LayerShape, LayerClock] = {}
    clocks = []
    for layer in parts.layers:
        inputs, outputs = layer.sides(parts.channels)
        # What decides the time of a layer, without its name and place.
        key = dataclasses.replace(layer, name="", inputs=inputs, outputs=outputs, per_output=0)
        if key not in known:
            known[key] = _clock(layer, parts.channels, threads)
        clocks.append(known[key])
        advance(1)
    if whole is not None:
        choices = [[_share(count, share) for count in parts.channels] for share in _WHOLE]
        clocks = corrected(clocks, parts.layers, choices, _seconds([whole(choice) for choice in choices], threads))

    return functools.partial(_together, clocks, parts.layers)


def _together(clocks: Sequence[LayerClock], layers: Sequence[LayerShape], channels: Sequence[int]) -> float:
    return sum(clock.seconds(layer, channels) for clock, layer in zip(clocks, layers, strict=True))


def corrected(
    clocks: Sequence[LayerClock],
    layers: Sequence[LayerShape],
    choices: Sequence[Sequence[int]],
    seconds: Sequence[float],
) -> list[LayerClock]:
    """Scale what is fixed in all clocks, and what grows with channels, so that their sums are nearest to whole models.

    Args:
        clocks: The clock of each layer.
        layers: The layers.
        choices: Channels of each group, of each whole model.
        seconds: What each whole model takes.
    """
    fixed = sum(clock.fixed for clock in clocks)
    terms = np.asarray([[fixed, _together(clocks, layers, choice) - fixed] for choice in choices])
    of_fixed, of_growing = _fit(terms, seconds)
    scales = (of_fixed, of_growing, of_growing, of_growing)
    return [LayerClock(*map(float, np.multiply(dataclasses.astuple(clock), scales))) for clock in clocks]


def _seconds(models: Sequence[onnx.ModelProto], threads: int) -> list[float]:
    shapes = [[dim.dim_value or 1 for dim in model.graph.input[0].type.tensor_type.shape.dim] for model in models]
    return frame_seconds(models, [np.full(shape, 0.5, np.float32) for shape in shapes], threads=threads)


def estimated(parts: Structure, peaks: Peaks, coefficients: Coefficients) -> Cost:
    """Return what a choice of channels may take on a device, by its roofline: an estimate, in seconds."""

    def seconds(channels: Sequence[int]) -> float:
        costs = []
        for layer in parts.layers:
            _, macs, read, written = _terms(layer, channels)
            costs.append(LayerCost(layer.name, int(macs), int(read), int(written), layer.weights(channels)))
        return total_ms(estimate(costs, peaks, coefficients)) / 1000

    return seconds


def _terms(layer: LayerShape, channels: Sequence[int]) -> npt.NDArray[np.float64]:
    inputs, outputs = layer.sides(channels)
    read = inputs * layer.positions * layer.stride**2
    return np.asarray([1, layer.weights(channels) * layer.positions, read, outputs * layer.positions], np.float64)


def _clock(layer: LayerShape, channels: Sequence[int], threads: int) -> LayerClock:
    """Time a layer at several widths and fit its clock (no coefficient is below 0)."""
    choices = []
    for share_in, share_out in _POINTS:
        choice = list(channels)
        if layer.outputs is not None:
            choice[layer.outputs] = _share(choice[layer.outputs], share_out)
        if layer.inputs is not None and not layer.depthwise:
            choice[layer.inputs] = _share(choice[layer.inputs], share_in)
        choices.append(choice)
    seconds = _seconds([_alone(layer, choice) for choice in choices], threads)
    return LayerClock(*_fit(np.stack([_terms(layer, choice) for choice in choices]), seconds))


def _fit(terms: npt.NDArray[np.float64], seconds: Sequence[float]) -> list[float]:
    """Return what one of each term takes, none below 0, by relative errors: a narrow form counts as much as a wide."""
    weights, _ = nnls(terms / np.asarray(seconds)[:, np.newaxis], np.ones(len(seconds)))
    return [float(weight) for weight in weights]


def _share(channels: int, share: float) -> int:
    """Return about that share of the channels: a multiple of 8, as pruning leaves them; others take slower kernels."""
    return min(channels, max(8, round(channels * share / 8) * 8))


def _alone(layer: LayerShape, channels: Sequence[int]) -> onnx.ModelProto:
    """Return a model that is this layer and an activation."""
    inputs, outputs = layer.sides(channels)
    kernel, side = round(layer.kernel**0.5), round(layer.positions**0.5) * layer.stride
    group = outputs if layer.depthwise else 1
    weight = np.full((outputs, inputs // group if layer.depthwise else inputs, kernel, kernel), 0.01, np.float32)
    end = kernel - 1 - kernel // 2
    nodes = [
        helper.make_node(
            "Conv", ["input", "weight", "bias"], ["sum"], group=group, kernel_shape=[kernel, kernel],
            strides=[layer.stride] * 2, pads=[kernel // 2, kernel // 2, end, end],
        ),
        helper.make_node("Relu", ["sum"], ["output"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, inputs, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
