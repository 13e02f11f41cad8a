"""Bias correction, and reconstruction of rounding and bias: one layer after the other, inputs already quantized."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx_ir as ir
import torch

from edgekit.quantize._graph import given, integer, integers, name_of, node_name, only_reader
from edgekit.quantize._layers import bias_of, clip_limit, is_depthwise, weight_axis, weight_of
from edgekit.quantize._parameters import from_rows, rows_of, within_pairs
from edgekit.quantize._plan import Plan, layer_parameters
from edgekit.quantize.ladder._network import compute, dequantized_weight, padding_of
from edgekit.quantize.ladder._second_order import round_second_order
from edgekit.quantize.ladder._walk import Layer
from edgekit.spec import QuantizationParameters, Range

# Above this many inputs a channel of its own statistics for every output channel would cost too much.
OWN_STATISTICS = 64
ROWS_PER_INPUT = 24
FEWEST_ROWS = 8192
# What a value counts that the activation behind it will clip: its error hardly shows.
CLIPPED_WEIGHT = 0.02
RIDGE = 1e-2
# Errors that agree over an image, or over a part of it, add up on their way to the logits; those that change from
# position to position average out there. So the means of what a layer reads count as often as this.
MEANS_WEIGHT = 30.0
# Parts of an image along each side: about as many as the last feature map has positions.
PARTS = 7


def correct_bias(layer: Layer) -> Plan:
    """Return the plan with the layer's bias moved by the mean error of what the activation lets through."""
    node, plan = layer.node, layer.plan
    if not _can_have_bias(node):
        return plan
    weight = _planned_weight(node, plan)
    bias = _bias(node, plan)
    limits = limits_behind(node)
    error = torch.zeros(len(bias), dtype=torch.float64)
    count = torch.zeros(len(bias), dtype=torch.float64)
    for source, target in layer.chunks():
        result = compute(node, [source, None, None], weight, torch.tensor(bias))
        importance = _importance(target, limits)
        axes = [axis for axis in range(target.ndim) if axis != 1]
        error += ((target - result) * importance).sum(axes, dtype=torch.float64)
        count += importance.sum(axes, dtype=torch.float64)
    return _with_bias(plan, node, bias + (error / count.clamp(min=1e-9)).numpy())


class Reconstruct:
    """Rounds each layer's weights by second-order statistics of its inputs, then corrects its bias.

    Args:
        seed: Of the positions that are looked at.
        thoroughness: Multiplies the number of positions.
    """

    def __init__(self, seed: int = 0, thoroughness: float = 1.0) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._thoroughness = thoroughness

    def __call__(self, layer: Layer) -> Plan:
        """Return the plan with the layer's integers, weight scales and bias chosen anew."""
        node, plan = layer.node, layer.plan
        weight = weight_of(node)
        source = plan.activations[name_of(given(node.inputs[0]))]
        axis = weight_axis(node)
        groups = integer(node, "group", 1)
        rows = torch.from_numpy(rows_of(weight, axis).astype(np.float64))
        rows = rows.reshape(groups, -1, rows.shape[1])
        inputs, targets = self._samples(layer, groups, rows.shape[2])
        own = rows.shape[2] <= OWN_STATISTICS and node.op_type == "Conv"
        if own:
            rows, moments = _fitted(rows, inputs, targets, limits_behind(node))
        else:
            centred = inputs - inputs.mean(1, keepdim=True)
            moments = (centred.transpose(1, 2) @ centred / inputs.shape[1]).double()
            if _is_pointwise(node):
                moments += MEANS_WEIGHT * _moments_of_means(layer)
        fitted = from_rows(rows.reshape(weight.shape[axis], -1).numpy(), weight.shape, axis).astype(np.float32)
        largest = plan.flavour.largest_weight
        parameters, _ = layer_parameters(node, fitted, _bias_or_none(node, plan), source, plan.flavour)
        scales = torch.tensor(parameters.scale, dtype=torch.float64).reshape(groups, -1)
        if own:
            channels = rows.shape[0] * rows.shape[1]
            chosen = round_second_order(rows.reshape(channels, 1, -1), moments, scales.reshape(channels, 1), largest)
        else:
            chosen = round_second_order(rows, moments, scales, largest)
        integer_rows = chosen.reshape(weight.shape[axis], -1).numpy().astype(np.int8)
        if plan.flavour.guards_pairs and not is_depthwise(node):
            integer_rows = within_pairs(integer_rows)
        name = name_of(given(node.inputs[1]))
        plan = dataclasses.replace(
            plan,
            weights={**plan.weights, name: parameters},
            integers={**plan.integers, name: from_rows(integer_rows, weight.shape, axis)},
        )
        layer.plan = plan
        return correct_bias(layer)

    def _samples(self, layer: Layer, groups: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (inputs (G, n, K), targets (G, n, R)) at positions drawn evenly over all images, float32."""
        wanted = int(max(FEWEST_ROWS, ROWS_PER_INPUT * columns) * self._thoroughness)
        inputs, targets = [], []
        remaining = layer.walk_chunks
        for source, target in layer.chunks():
            share = math.ceil(wanted / remaining)
            read, written = _patches(layer.node, source, target, groups, share, self._generator)
            inputs.append(read)
            targets.append(written)
        return torch.cat(inputs, 1), torch.cat(targets, 1)


def _is_pointwise(node: ir.Node) -> bool:
    return node.op_type == "Conv" and integer(node, "group", 1) == 1 and weight_of(node).shape[2:] == (1, 1)


def _moments_of_means(layer: Layer) -> torch.Tensor:
    """Return the second moments (K, K) of what a pointwise convolution reads, averaged over images and their parts."""
    images, parts = [], []
    for source in layer.sources():
        images.append(source.mean((2, 3)))
        parts.append(torch.nn.functional.adaptive_avg_pool2d(source, PARTS).permute(0, 2, 3, 1).flatten(0, 2))
    of_images, of_parts = (torch.cov(torch.cat(means).T, correction=0).double() for means in (images, parts))
    return of_images + of_parts


def _fitted(
    rows: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor, limits: Range
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights refitted to the rounded inputs, and the moments (channels, K, K) that matter to each channel.

    Every channel looks at the positions where its own activation lets the value through. The refit is ridge
    regression towards the weights as they are.
    """
    groups, channels = rows.shape[:2]
    inputs, targets = inputs.double(), targets.double()
    if channels == 1:  # depthwise: one group a channel, all at once
        steps, moments = _ridge(rows[:, 0], inputs, targets[:, :, 0], limits)
        return rows + steps[:, None], moments
    results = [
        _ridge(rows[group, channel, None], inputs[group, None], targets[group, :, channel][None], limits)
        for group in range(groups)
        for channel in range(channels)
    ]
    steps, moments = (torch.cat(parts) for parts in zip(*results, strict=True))
    return rows + steps.reshape(rows.shape), moments


def _ridge(
    rows: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor, limits: Range
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the step (B, K) from each row to the refitted one, and the weighted moments (B, K, K) of its inputs."""
    importance = _importance(targets, limits)
    importance = importance / importance.sum(1, keepdim=True)
    weighted = inputs * importance[:, :, None]
    mean = weighted.sum(1)
    moments = weighted.transpose(1, 2) @ inputs - mean[:, :, None] * mean[:, None, :]
    residual = targets - (inputs @ rows[:, :, None])[:, :, 0]
    average = (importance * residual).sum(1, keepdim=True)
    cross = (weighted.transpose(1, 2) @ residual[:, :, None])[:, :, 0] - mean * average
    ridge = RIDGE * moments.diagonal(dim1=1, dim2=2).mean(1) + 1e-9
    damped = moments + ridge[:, None, None] * torch.eye(rows.shape[1], dtype=moments.dtype)
    return torch.linalg.solve(damped, cross[:, :, None])[:, :, 0], moments


def _patches(
    node: ir.Node, source: torch.Tensor, target: torch.Tensor, groups: int, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a layer reads and should write at up to `count` random positions of a chunk."""
    if node.op_type != "Conv":
        return source.reshape(1, -1, source.shape[-1]), target.reshape(1, -1, target.shape[-1])
    height, width = weight_of(node).shape[2:]
    strides, dilations = integers(node, "strides", (1, 1)), integers(node, "dilations", (1, 1))
    top, left, bottom, right = padding_of(node)
    padded = torch.nn.functional.pad(source, (left, right, top, bottom)).permute(0, 2, 3, 1)
    images, _, rows, columns = target.shape
    total = images * rows * columns
    chosen = torch.randperm(total, generator=generator)[:count] if total > count else torch.arange(total)
    image, row, column = chosen // (rows * columns), chosen // columns % rows, chosen % columns
    taps = [
        padded[image, row * strides[0] + y * dilations[0], column * strides[1] + x * dilations[1]]
        for y in range(height)
        for x in range(width)
    ]
    # (positions, taps, channels) -> (groups, positions, taps * channels of the group): the order of `rows_of`.
    read = torch.stack(taps, 1).reshape(len(chosen), len(taps), groups, -1).permute(2, 0, 1, 3)
    written = target[image, :, row, column].reshape(len(chosen), groups, -1).permute(1, 0, 2)
    return read.reshape(groups, len(chosen), -1), written


def limits_behind(node: ir.Node) -> Range:
    """Return the values that the Relu or Clip behind a layer lets through; all, where there is none."""
    reader = only_reader(node.outputs[0])
    if reader is None:
        return Range(-math.inf, math.inf)
    if reader.op_type == "Relu":
        return Range(0.0, math.inf)
    if reader.op_type == "Clip":
        low, high = (clip_limit(reader, index) for index in (1, 2))
        return Range(-math.inf if low is None else low, math.inf if high is None else high)
    return Range(-3.0, math.inf) if reader.op_type == "HardSwish" else Range(-math.inf, math.inf)


def _importance(target: torch.Tensor, limits: Range) -> torch.Tensor:
    if math.isinf(limits.low) and math.isinf(limits.high):
        return torch.ones_like(target)
    # A little beyond the limits an error can still carry a value over them.
    margin = 0.05 * (limits.high if math.isfinite(limits.high) else 6.0)
    inside = (target > limits.low - margin) & (target < limits.high + margin)
    return torch.where(inside, 1.0, CLIPPED_WEIGHT).to(target.dtype)


def _can_have_bias(node: ir.Node) -> bool:
    return node.op_type in {"Conv", "Gemm"}


def _bias_or_none(node: ir.Node, plan: Plan) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    own = plan.biases.get(node_name(node))
    return bias_of(node) if own is None else own


def _bias(node: ir.Node, plan: Plan) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    bias = _bias_or_none(node, plan)
    return np.zeros(weight_of(node).shape[weight_axis(node)], np.float32) if bias is None else bias


def _with_bias(plan: Plan, node: ir.Node, bias: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Plan:
    return dataclasses.replace(plan, biases={**plan.biases, node_name(node): bias.astype(np.float32)})


def _planned_weight(node: ir.Node, plan: Plan) -> torch.Tensor:
    name = name_of(given(node.inputs[1]))
    parameters: QuantizationParameters = plan.weights[name]
    return torch.from_numpy(dequantized_weight(plan.integers[name], parameters, weight_axis(node)))
