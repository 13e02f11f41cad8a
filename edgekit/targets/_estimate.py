"""What a model may take on a device: a roofline, so an estimate and never a measurement.

A layer takes as long as the slower of its memory traffic and its arithmetic, plus what starting its kernel costs
(Williams et al. 2009, the roofline model). A card gives the peaks; which share of them is reached is fitted to times
that others have published, or to those of a user's own device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from edgekit.errors import TargetError
from edgekit.targets._card import Card, numbers
from edgekit.targets._plan import EnginePrecision

_BYTES: dict[EnginePrecision, int] = {"fp32": 4, "fp16": 2, "int8": 1}
# From here on GPUs have tensor cores, which give FP16 half the rate of INT8; those before do FP32 at half that of FP16.
FIRST_TENSOR_CORES = (7, 0)
_OPERATIONS_PER_MAC = 2
Bound = Literal["memory", "compute", "launch"]


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """What one layer reads, writes and computes for one image.

    Attributes:
        name: Name of the layer.
        macs: Multiply-adds.
        inputs: Numbers that it reads.
        outputs: Numbers that it writes.
        weights: Numbers of its weights.
    """

    name: str
    macs: int
    inputs: int
    outputs: int
    weights: int


@dataclasses.dataclass(frozen=True)
class Peaks:
    """What a device reaches at best.

    Attributes:
        bytes_per_s: Memory bandwidth.
        operations_per_s: Rate of multiplications and additions, counted apart, in one precision.
        bytes_per_number: Size of a number in that precision.
        tensor_cores: The device has tensor cores.
    """

    bytes_per_s: float
    operations_per_s: float
    bytes_per_number: int
    tensor_cores: bool


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """What is reached of the peaks.

    Attributes:
        bandwidth_share: Of the memory bandwidth.
        compute_share: Of the arithmetic rate.
        launch_us: Time that a layer costs whatever it does, in microseconds.
    """

    bandwidth_share: float
    compute_share: float
    launch_us: float


@dataclasses.dataclass(frozen=True)
class LayerTime:
    """The estimated time of one layer in milliseconds, and what most of it is spent on."""

    name: str
    ms: float
    bound: Bound


def peaks_of(card: Card, precision: EnginePrecision) -> Peaks:
    """Return the peaks of a card in one precision.

    Raises:
        TargetError: EK731 when the card does not state what is needed, or TensorRT has no such precision there.
    """
    facts = card.facts
    if not card.is_gpu or facts.bandwidth_gb_s is None or facts.compute_capability is None:
        raise _unknown(card, "its memory bandwidth and compute capability")
    supported = {"fp32": True, "fp16": facts.fp16.value, "int8": facts.int8.value}[precision]
    if not supported:
        raise TargetError(
            "EK731",
            f"TensorRT has no {precision.upper()} on it",
            where=card.name,
            hint="take another --precision",
        )
    tensor_cores = numbers(facts.compute_capability.value) >= FIRST_TENSOR_CORES
    rate = _tera_operations(card, precision, tensor_cores)
    if rate is None:
        raise _unknown(card, f"a peak rate from which that of {precision.upper()} follows")
    return Peaks(facts.bandwidth_gb_s.value * 1e9, rate * 1e12, _BYTES[precision], tensor_cores)


def _tera_operations(card: Card, precision: EnginePrecision, tensor_cores: bool) -> float | None:
    half, integer = card.facts.peak_fp16_tflops, card.facts.peak_int8_tops
    sparse = card.facts.peak_int8_is_sparse
    dense = None if integer is None else integer.value / (2 if sparse is not None and sparse.value else 1)
    if precision == "int8":
        return dense
    if precision == "fp16":
        return half.value if half is not None else None if dense is None else dense / 2
    return None if tensor_cores or half is None else half.value / 2


def _unknown(card: Card, what: str) -> TargetError:
    return TargetError(
        "EK731",
        f"the card does not state {what}",
        where=card.name,
        hint="take another target or --precision, or add the fact with its source to a card of your own",
    )


def estimate(costs: Sequence[LayerCost], peaks: Peaks, coefficients: Coefficients) -> tuple[LayerTime, ...]:
    """Return the estimated time of each layer, in their order."""
    return tuple(_layer_time(cost, peaks, coefficients) for cost in costs)


def total_ms(times: Sequence[LayerTime]) -> float:
    """Return the sum of the layers' times, as if one ran after the other, in milliseconds."""
    return sum(time.ms for time in times)


def _layer_time(cost: LayerCost, peaks: Peaks, coefficients: Coefficients) -> LayerTime:
    traffic = (cost.inputs + cost.outputs + cost.weights) * peaks.bytes_per_number
    parts: dict[Bound, float] = {
        "memory": 1e3 * traffic / (peaks.bytes_per_s * coefficients.bandwidth_share),
        "compute": 1e3 * _OPERATIONS_PER_MAC * cost.macs / (peaks.operations_per_s * coefficients.compute_share),
        "launch": coefficients.launch_us / 1e3,
    }
    largest = max(parts, key=lambda part: parts[part])
    return LayerTime(cost.name, max(parts["memory"], parts["compute"]) + parts["launch"], largest)
