"""Quantization-aware training: the last rung, which trains through the rounding of a plan."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
import torch.nn.functional as F

from edgekit.errors import QuantizationError
from edgekit.quantize._graph import given, name_of, node_name
from edgekit.quantize._layers import WEIGHTED, bias_of, is_depthwise, origin, weight_axis
from edgekit.quantize._parameters import from_rows, rows_of, within_pairs
from edgekit.quantize._plan import Plan, canonical
from edgekit.quantize.ladder._aware_state import Awareness, AwareState
from edgekit.quantize.ladder._measure import answers, distance
from edgekit.quantize.ladder._network import LIMITS, Network, dequantized_weight, rounded
from edgekit.spec import QuantizationParameters, Rung

Batch = tuple[torch.Tensor, torch.Tensor | None]
# Shares of a scale and of a mean bias that one step moves: far below what a weight may, since they move whole tensors.
SCALE_RATE = 0.001
BIAS_RATE = 0.05


def train_aware(
    model: onnx.ModelProto,
    plan: Plan,
    batches: Iterable[Batch],
    check: torch.Tensor,
    how: Awareness,
    *,
    state: Path | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> tuple[Plan, Rung]:
    """Train weights and biases while both and all activations are rounded as the plan rounds them.

    Normalisations are folded and frozen: what is trained is what the file holds. Gradients pass rounding unchanged and
    stop where a value is clipped (Jacob et al. 2018, arXiv 1712.05877, section 3). The float model teaches.

    Args:
        model: FP32 model that the plan is for.
        plan: Where training starts.
        batches: Preprocessed training images float32 (N, 3, H, W), with labels int64 (N,) where these have a share.
        check: Images that are not trained on, float32 (N, 3, H, W): the result is kept only if it answers nearer to
            the float model there.
        how: How to train.
        state: File that training goes on from after an interruption, to the same result; None keeps none.
        advance: Called after each step.

    Returns:
        The better one of the two plans, and what training came to.

    Raises:
        QuantizationError: EK507 when the loss is no longer finite.
    """
    started = time.monotonic()
    keep_float = {layer.node: layer.reason for layer in plan.layers if layer.node not in plan.integer_nodes}
    graph, layers = canonical(model, plan.flavour, keep_float)
    network = Network(graph)
    # Tensors between which values are only moved hold the same integers, so they keep one scale.
    scales = {name_of(value): name_of(origin(value, layers.quantized)) for value in layers.quantized}
    rounding = Trained(network, plan, scales if how.learned_scales else {})
    tensors = list(rounding.tensors(how.learning_rate))
    optimizer = torch.optim.Adam([{"params": [tensor], "lr": rate} for tensor, rate in tensors])
    progress = AwareState(state, how, [tensor for tensor, _ in tensors], optimizer)
    done = progress.restore()
    for step, (images, labels) in enumerate(batches):
        if step == how.steps:
            break
        if step < done:
            advance(1)
            continue
        for group, (_, rate) in zip(optimizer.param_groups, tensors, strict=True):
            group["lr"] = rate * (1 + math.cos(math.pi * step / how.steps)) / 2
        loss = _loss(network, rounding, images, labels, how.label_weight)
        if not math.isfinite(loss.item()):
            raise QuantizationError(
                "EK507", f"the loss became {loss.item()} in step {step + 1}", hint="take a lower --qat-learning-rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.save(step + 1)
        advance(1)
    made = rounding.plan()
    with torch.no_grad():
        reference = answers(network, check)
        before, after = (distance(reference, answers(network, check, candidate)) for candidate in (plan, made))
    kept = after.kl < before.kl
    what = f"{len(made.weights)} layers trained through the rounding for {how.steps} steps"
    return made if kept else plan, Rung("qat", after.kl, after.agreement, kept, time.monotonic() - started, what)


def _loss(
    network: Network, rounding: Trained, images: torch.Tensor, labels: torch.Tensor | None, label_weight: float
) -> torch.Tensor:
    with torch.no_grad():
        taught = F.log_softmax(network.run(images).flatten(1), 1)
    logits = network.run(images, rounding).flatten(1)
    loss = F.kl_div(F.log_softmax(logits, 1), taught, reduction="batchmean", log_target=True)
    if labels is None or label_weight == 0.0:
        return loss
    return (1 - label_weight) * loss + label_weight * F.cross_entropy(logits, labels)


class Trained:
    """The rounding of a plan whose weights, biases and, where asked for, scales are being trained.

    Args:
        network: The graph that the plan is for.
        plan: Where training starts.
        scales: For each activation whose scale is trained, the one whose scale it has.
    """

    def __init__(self, network: Network, plan: Plan, scales: Mapping[str, str]) -> None:
        self._plan = plan
        self._origin = scales
        self._nodes = [
            node for node in network.nodes if node.op_type in WEIGHTED and node_name(node) in plan.integer_nodes
        ]
        self._weights: dict[str, torch.Tensor] = {}
        self._biases: dict[str, torch.Tensor] = {}
        for node in self._nodes:
            name = name_of(given(node.inputs[1]))
            start = dequantized_weight(plan.integers[name], plan.weights[name], weight_axis(node))
            self._weights.setdefault(name, torch.from_numpy(start).requires_grad_())
            bias = plan.biases.get(node_name(node), bias_of(node))
            if bias is not None:
                self._biases[node_name(node)] = torch.tensor(bias, dtype=torch.float32).requires_grad_()
        self._scales = {
            name: torch.tensor(plan.activations[name].scale[0]).requires_grad_()
            for name in sorted(set(scales.values()))
        }

    def tensors(self, rate: float) -> Iterator[tuple[torch.Tensor, float]]:
        """Yield what is trained, each with a learning rate in its own units."""
        for name, weight in self._weights.items():
            yield weight, rate * float(np.mean(self._plan.weights[name].scale))
        for bias in self._biases.values():
            # A bias sums the errors of many products, so its own size is a better unit than its very fine grid.
            yield bias, rate * BIAS_RATE * max(float(bias.detach().abs().mean()), 1e-3)
        for name, scale in self._scales.items():
            yield scale, SCALE_RATE * self._plan.activations[name].scale[0]

    def activation(self, value: ir.Value, tensor: torch.Tensor) -> torch.Tensor:
        """Return an activation as its quantizer leaves it."""
        parameters = self._plan.activations.get(name_of(value))
        origin_name = self._origin.get(name_of(value))
        if parameters is None or origin_name is None:
            return rounded(tensor, parameters)
        low, high = (limit - parameters.zero_point[0] for limit in LIMITS[parameters.dtype])
        scale = self._scales[origin_name]
        steps = (tensor / scale).clamp(low, high)
        return (steps + (steps.round() - steps).detach()) * scale

    def layer(self, node: ir.Node) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the rounded weight and the bias of a trained layer."""
        if node.op_type not in WEIGHTED or node_name(node) not in self._plan.integer_nodes:
            return None, None
        name = name_of(given(node.inputs[1]))
        scale = torch.tensor(self._plan.weights[name].scale)
        largest = self._plan.flavour.largest_weight
        weight = torch.fake_quantize_per_channel_affine(
            self._weights[name], scale, torch.zeros(len(scale), dtype=torch.int32), weight_axis(node), -largest, largest
        )
        return weight, self._biases.get(node_name(node))

    def plan(self) -> Plan:
        """Return the plan with what was learned."""
        integers = dict(self._plan.integers)
        for node in self._nodes:
            name, axis = name_of(given(node.inputs[1])), weight_axis(node)
            array = self._weights[name].detach().numpy()
            scale = np.asarray(self._plan.weights[name].scale)[:, np.newaxis]
            largest = self._plan.flavour.largest_weight
            rows = np.clip(np.rint(rows_of(array, axis) / scale), -largest, largest).astype(np.int8)
            guard = self._plan.flavour.guards_pairs and not is_depthwise(node)
            integers[name] = from_rows(within_pairs(rows) if guard else rows, array.shape, axis)
        biases = {name: bias.detach().numpy() for name, bias in self._biases.items()}
        activations = dict(self._plan.activations)
        for name, origin_name in self._origin.items():
            was = activations[name]
            learned = float(np.float32(max(self._scales[origin_name].item(), was.scale[0] / 8)))
            activations[name] = QuantizationParameters((learned,), was.zero_point, was.dtype)
        return dataclasses.replace(
            self._plan, integers=integers, biases={**self._plan.biases, **biases}, activations=activations
        )
