"""What runs in int8 and at which scales, the graph that says so, and what a finished file really runs."""

from __future__ import annotations

from edgekit.quantize._dynamic import quantize_dynamic
from edgekit.quantize._flavour import CPU, FLAVOURS, Flavour, flavour_for, saturates_here
from edgekit.quantize._placement import RuntimeOperator, float_compute, placement, runtime_operators
from edgekit.quantize._plan import Plan, plan, tensors_to_calibrate
from edgekit.quantize._runtime import LayerRun, comparable_tensors, layers_as_run
from edgekit.quantize._static import quantize_static
from edgekit.quantize.ladder import Awareness, Climbed, climb, train_aware

__all__ = [
    "CPU",
    "FLAVOURS",
    "Awareness",
    "Climbed",
    "Flavour",
    "LayerRun",
    "Plan",
    "RuntimeOperator",
    "climb",
    "comparable_tensors",
    "flavour_for",
    "float_compute",
    "layers_as_run",
    "placement",
    "plan",
    "quantize_dynamic",
    "quantize_static",
    "runtime_operators",
    "saturates_here",
    "tensors_to_calibrate",
    "train_aware",
]
