"""Estimates of the time per frame on a target, and fitting them to times that were measured."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from edgekit.engine import bundle_of, read_answer
from edgekit.errors import TargetError, UsageError
from edgekit.export import load_onnx
from edgekit.files import write_bytes
from edgekit.models import LayerProfile, Profile, build, profile
from edgekit.spec import ModelSpec
from edgekit.targets import (
    Anchor,
    Coefficients,
    EnginePrecision,
    Estimator,
    Family,
    LayerCost,
    LayerTime,
    Observation,
    estimate,
    estimator_text,
    fit,
    layer_costs,
    load_card,
    load_estimator,
    peaks_of,
    total_ms,
)

# As papers write it: width / input size.
_PUBLISHED = re.compile(r"(\w+) ([\d.]+)/(\d+)")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a model may take on a target. Nothing of it was measured.

    Attributes:
        target: Name of the card.
        precision: What is assumed to compute.
        layers: Time of each layer.
        total_ms: Their sum.
        coefficients: Shares of the device's peaks that are assumed.
        factor: By what the anchors of its family were missed when they were left out; infinite with too few to say.
        anchors: The times that the coefficients were fitted to.
    """

    target: str
    precision: EnginePrecision
    layers: tuple[LayerTime, ...]
    total_ms: float
    coefficients: Coefficients
    factor: float
    anchors: tuple[Anchor, ...]


def estimate_for(
    cost: Profile, target: str, precision: EnginePrecision | None = None, estimator: Path | None = None
) -> Estimate:
    """Estimate the time per frame of a profiled model on a target.

    Args:
        cost: The profile.
        target: Name or path of a card.
        precision: What computes; None takes FP16 where TensorRT has it.
        estimator: A file that `fit_results` wrote; None takes the one that ships.

    Raises:
        UsageError: EK002 when there is no such target.
        TargetError: EK701 when its card is wrong, EK731 when it does not state what is needed, EK732 for the estimator.
    """
    card = load_card(target)
    chosen: EnginePrecision = precision or ("fp16" if card.facts.fp16.value else "fp32")
    peaks = peaks_of(card, chosen)
    family = load_estimator(estimator).family(peaks.tensor_cores)
    layers = estimate(costs_of(cost), peaks, family.coefficients)
    return Estimate(card.name, chosen, layers, total_ms(layers), family.coefficients, family.factor, family.anchors)


def costs_of(cost: Profile) -> tuple[LayerCost, ...]:
    """Return what the layers of a profile read, write and compute."""
    # Strided convolutions, in MobileNets the stem and depthwise ones, read what the layer before them writes.
    before = [3 * cost.input_size**2, *(math.prod(layer.output_shape) for layer in cost.layers)]
    return tuple(_cost(layer, read) for layer, read in zip(cost.layers, before, strict=False))


def _cost(layer: LayerProfile, before: int) -> LayerCost:
    written, positions = math.prod(layer.output_shape), math.prod(layer.output_shape[1:])
    read = before if layer.kind in ("standard", "depthwise") else layer.macs // written * positions
    return LayerCost(layer.name, layer.macs, read, written, layer.macs // positions)


@dataclasses.dataclass(frozen=True)
class _Known:
    """An anchor and how it enters a fit."""

    anchor: Anchor
    observation: Observation


def refitted(estimator: Estimator) -> Estimator:
    """Return an estimator fitted anew to its own anchors, which name published models.

    Raises:
        TargetError: EK731 when a card does not state what is needed.
    """
    families = [[_published(anchor) for anchor in family.anchors] for family in estimator.families]
    start = Coefficients(*estimator.start)
    return Estimator(start=estimator.start, families=tuple(_fitted(known, start) for known in families))


def fit_results(results: Sequence[Path], output: Path, estimator: Path | None = None) -> Estimator:
    """Fit an estimator to answers of devices, and write it.

    The coefficients that it starts from are those of the given one: one answer moves them, several take over.

    Args:
        results: `result.json` of devices, each in the folder of its bundle.
        output: File to write.
        estimator: What to start from; None takes the one that ships.

    Raises:
        TargetError: EK720 to EK722 when an answer or its bundle cannot be read, EK732 for the estimator, EK733 when an
            answer has no times or its target no card that ships, EK731 when the card does not state what is needed.
        UsageError: EK003 when the file cannot be written.
    """
    base = load_estimator(estimator)
    known = [_answered(path) for path in results]
    families = []
    for tensor_cores in (False, True):
        own = [item for item in known if item.observation.peaks.tensor_cores == tensor_cores]
        before = base.family(tensor_cores)
        families.append(_fitted(own, before.coefficients) if own else before)
    result = Estimator(start=base.start, families=tuple(families))
    heading = f"Fitted by edgekit profile --fit to {len(known)} answers of devices. What it gives are estimates."
    write_bytes(output, estimator_text(result, heading).encode())
    return result


def _fitted(known: Sequence[_Known], start: Coefficients) -> Family:
    """Fit the coefficients of one family, and again without each anchor, to see by what it is missed."""
    coefficients = _rounded(fit([item.observation for item in known], start))
    anchors = []
    for item in known:
        others = _rounded(fit([other.observation for other in known if other is not item], start))
        update = {"estimated_ms": _ms(item.observation, coefficients), "left_out_ms": _ms(item.observation, others)}
        anchors.append(item.anchor.model_copy(update=update))
    tensor_cores = known[0].observation.peaks.tensor_cores
    return Family(tensor_cores=tensor_cores, anchors=tuple(anchors), **dataclasses.asdict(coefficients))


def _rounded(coefficients: Coefficients) -> Coefficients:
    """Keep what a few times can tell, so that any machine writes the same file."""
    return Coefficients(*(float(f"{value:.3g}") for value in dataclasses.astuple(coefficients)))


def _ms(observation: Observation, coefficients: Coefficients) -> float:
    return round(total_ms(estimate(observation.costs, observation.peaks, coefficients)), 2)


def _published(anchor: Anchor) -> _Known:
    match = _PUBLISHED.fullmatch(anchor.model)
    if match is None:
        raise ValueError(f"{anchor.model!r} is not of the form `mobilenet_v1 0.5/160`")
    architecture, width, size = match.groups()
    costs = _published_costs(architecture, float(width), int(size))
    peaks = peaks_of(load_card(anchor.target), anchor.precision)
    return _Known(anchor, Observation(costs, peaks, anchor.measured_ms))


@functools.cache
def _published_costs(architecture: str, width: float, size: int) -> tuple[LayerCost, ...]:
    return costs_of(profile(build(ModelSpec(architecture, width=width, input_size=size)), size))


def _answered(path: Path) -> _Known:
    answer = read_answer(path)
    bundle = bundle_of(answer, (path.parent,), where=str(path))
    if not answer.runs:
        raise _unusable(path, "the device timed nothing", "run the bundle again with timing runs")
    plan = bundle.plan
    try:
        card = load_card(plan.target)
        costs = layer_costs(load_onnx(bundle.folder / "model.onnx"))
    except UsageError as error:
        raise _unusable(path, f"its bundle is for {plan.target}, of which no card ships", error.hint) from error
    except ValueError as error:
        raise _unusable(path, str(error), "make the bundle of a model with known shapes") from error
    peaks = peaks_of(card, plan.precision)
    measured = statistics.median(time.computeMs for run in answer.runs for time in run.times)
    device = answer.device.model or plan.target
    anchor = Anchor(
        target=plan.target, model=f"bundle {bundle.sha256[:12]}", precision=plan.precision, measured_ms=measured,
        estimated_ms=measured, left_out_ms=measured, source=f"{path.name} of {device}", confidence="measured",
    )  # fmt: skip
    return _Known(anchor, Observation(costs, peaks, measured))


def _unusable(path: Path, what: str, hint: str) -> TargetError:
    return TargetError("EK733", what, where=str(path), hint=hint)
