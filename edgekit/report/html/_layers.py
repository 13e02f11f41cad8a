"""The error of each layer: bars beside their numbers."""

from __future__ import annotations

import dataclasses
from typing import Final

import svg
from markupsafe import Markup

from edgekit.report._text import NOT_MEASURED
from edgekit.report.html._shown import Shown
from edgekit.report.html._svg import Scale, drawing
from edgekit.results import SQNR_LIMIT_DB, Diagnosis, LayerError

_MOST_LAYERS: Final = 30
_WIDTH: Final = 200
_HEIGHT: Final = 16
_THICKNESS: Final = 7


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer with its bars; `found` when a finding is about it."""

    name: str
    operator: str
    bars: Markup
    own: str
    whole: str
    restored: str
    found: bool


def layer_rows(diagnosis: Diagnosis) -> Shown[LayerRow]:
    """Return the layers that add most error themselves, in the order they run."""
    layers = diagnosis.layers
    worst = sorted(range(len(layers)), key=lambda place: layers[place].own_sqnr_db)[:_MOST_LAYERS]
    chosen = [layers[place] for place in sorted(worst)]
    ratios = [ratio for layer in chosen for ratio in (layer.sqnr_db, layer.own_sqnr_db) if ratio < SQNR_LIMIT_DB]
    scale = Scale(min([0.0, *ratios]), max([10.0, *ratios]), 0.0, _WIDTH)
    named = {finding.layer for finding in diagnosis.findings}
    return Shown([_row(layer, scale, layer.layer in named) for layer in chosen], len(layers) - len(chosen))


def _row(layer: LayerError, scale: Scale, found: bool) -> LayerRow:
    bars = drawing([_bar(scale, layer.own_sqnr_db, 0, "own"), _bar(scale, layer.sqnr_db, 8, "whole")], _WIDTH, _HEIGHT)
    return LayerRow(
        name=layer.layer,
        operator=layer.op_type,
        bars=bars,
        own=_decibels(layer.own_sqnr_db),
        whole=_decibels(layer.sqnr_db),
        restored=NOT_MEASURED if layer.restored_kl is None else f"{layer.restored_kl:#.2g}",
        found=found,
    )


def _bar(scale: Scale, ratio: float, top: float, name: str) -> svg.Rect:
    start, end = sorted((scale(0.0), scale(ratio)))
    return svg.Rect(x=start, y=top, width=round(end - start, 2), height=_THICKNESS, class_=[name])


def _decibels(ratio: float) -> str:
    return "identical" if ratio >= SQNR_LIMIT_DB else f"{ratio:.1f}"
