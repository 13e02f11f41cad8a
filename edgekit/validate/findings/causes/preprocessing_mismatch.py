"""The candidate was made for images that are prepared in another way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx

from edgekit.results import Finding
from edgekit.spec import PREPROCESSING_KEY, Preprocessing
from edgekit.validate.findings._layer_error import Observation
from edgekit.validate.findings._layers import INPUT
from edgekit.validate.findings.causes._rule import MUCH_DB, Rule, is_rounded, span

_FIX = (
    "quantize with the preprocessing that the model was trained with: edgekit export --quantize static --mean M,M,M "
    "--std S,S,S --resize R --calibration PATH"
)
# What an input quantized from and to about these values was calibrated on.
_KNOWN = (
    (0.0, 255.0, "pixels from 0 to 255 that nothing was done to"),
    (-128.0, 127.0, "pixels from 0 to 255 with 128 subtracted"),
    (0.0, 1.0, "pixels scaled to 0..1 and not normalised"),
    (-1.0, 1.0, "pixels scaled to -1..1 (a mean and deviation of 0.5)"),
)
_NEAR = 0.05


def check(observation: Observation, observations: Sequence[Observation]) -> str | None:
    """Find an input whose integers are for other values than those of the images."""
    rounding = observation.rounding
    if rounding is None or rounding.excess_db < MUCH_DB:
        return None
    integers, values = span(observation)
    return (
        f"the input is quantized from {integers}{_guess(observation)}, and the images reach from {values}: "
        f"{rounding.excess_db:.0f} dB more error than with the best 8-bit range"
    )


def _guess(observation: Observation) -> str:
    assert observation.quantizer is not None
    low, high = float(observation.quantizer.low.min()), float(observation.quantizer.high.max())
    for first, last, what in _KNOWN:
        if max(abs(low - first), abs(high - last)) <= _NEAR * (last - first):
            return f", as for {what}"
    return ""


def _is_input(observation: Observation) -> bool:
    return observation.layer.op_type == INPUT and is_rounded(observation)


def differing_metadata(baseline: onnx.ModelProto, candidate: onnx.ModelProto) -> Finding | None:
    """Return what the metadata of two edgekit files say differently about their preprocessing, None where nothing.

    Raises:
        ModelError: EK107 when a file's preprocessing is not readable.
    """
    first, second = (_stated(model) for model in (baseline, candidate))
    if first is None or second is None or first == second:
        return None
    pairs = [
        (field.name, getattr(first, field.name), getattr(second, field.name)) for field in dataclasses.fields(first)
    ]
    differences = "; ".join(f"{name} {mine} and {its}" for name, mine, its in pairs if mine != its)
    evidence = f"the files state different preprocessing, baseline and candidate: {differences}"
    return Finding("preprocessing-mismatch", "", evidence, _FIX, None)


def _stated(model: onnx.ModelProto) -> Preprocessing | None:
    text = next((entry.value for entry in model.metadata_props if entry.key == PREPROCESSING_KEY), None)
    return None if text is None else Preprocessing.from_json(text)


RULE = Rule("preprocessing-mismatch", "output", "inputs", _FIX, _is_input, check)
