"""What runs in int8 and at which scales, the graph that says so, and what a finished file really runs."""

from __future__ import annotations

from edgekit.quantize._dynamic import quantize_dynamic
from edgekit.quantize._placement import RuntimeOperator, float_compute, placement, runtime_operators
from edgekit.quantize._plan import Plan, plan, tensors_to_calibrate
from edgekit.quantize._static import quantize_static

__all__ = [
    "Plan",
    "RuntimeOperator",
    "float_compute",
    "placement",
    "plan",
    "quantize_dynamic",
    "quantize_static",
    "runtime_operators",
    "tensors_to_calibrate",
]
