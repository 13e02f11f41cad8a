"""The front as a drawing: every candidate a dot, those on the front joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import svg

from edgekit.pipeline.sweep._candidate import Measurement
from edgekit.pipeline.sweep._settings import Objective

if TYPE_CHECKING:
    from edgekit.pipeline.sweep._search import SweepOutcome

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 48, 60
_STYLE = """
svg { background: #fff; font: 13px system-ui, sans-serif; }
text { fill: #1b1f24; } .quiet { fill: #57606a; } .grid { stroke: #d0d7de; }
.other { fill: #8c959f; } .front { fill: #0550ae; } .step { stroke: #0550ae; fill: none; stroke-width: 2; }
.baseline { fill: none; stroke: #1b1f24; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #e6edf3; } .quiet { fill: #9198a1; } .grid { stroke: #30363d; }
  .other { fill: #6e7681; } .front { fill: #58a6ff; } .step { stroke: #58a6ff; } .baseline { stroke: #e6edf3; }
}
"""
_TITLES: dict[Objective, str] = {
    "accuracy": "top-1, %",
    "agreement": "same answer as the baseline, %",
    "time": "time per frame over the baseline's",
    "bytes": "size of the ONNX file, MB",
    "macs": "multiply-adds of an image, millions",
}
_SCALES: dict[Objective, float] = {"bytes": 1e-6, "macs": 1e-6}

Point = tuple[float, float]


def plot(outcome: SweepOutcome) -> str:
    """Return the drawing of a sweep with two objectives as an SVG file, which follows a dark or light viewer."""
    gain, cost = outcome.settings.sweep.objectives
    measured = [trial for trial in outcome.trials if trial.state == "measured"]
    on_front = {trial.number for trial in outcome.front}

    def point(measured: Measurement) -> Point:
        return measured.value(cost) * _SCALES.get(cost, 1.0), measured.value(gain)

    dots = [(trial, point(trial.measurement)) for trial in measured]
    baseline = point(outcome.baseline)
    frame = _Frame([*(place for _, place in dots), baseline])
    drawn: list[svg.Element] = [
        svg.Title(text=f"{_TITLES[gain]} against {_TITLES[cost]}"),
        svg.Desc(text=_description(outcome)),
        svg.Style(text=_STYLE),
        *frame.axes(_TITLES[cost], _TITLES[gain]),
        _steps(frame, sorted(place for trial, place in dots if trial.number in on_front)),
        *(_dot(frame, place, "other", 3) for trial, place in dots if trial.number not in on_front),
        *(_dot(frame, place, "front", 5) for trial, place in dots if trial.number in on_front),
        *(_number(frame, place, trial.number) for trial, place in dots if trial.number in on_front),
        _dot(frame, baseline, "baseline", 6),
    ]
    size = svg.ViewBoxSpec(0, 0, _WIDTH, _HEIGHT)
    return str(svg.SVG(viewBox=size, width=_WIDTH, height=_HEIGHT, extra={"role": "img"}, elements=drawn)) + "\n"


def _description(outcome: SweepOutcome) -> str:
    tried, best = len(outcome.trials), len(outcome.front)
    return f"{tried} candidates, {best} of them on the front (joined, with their numbers); the ring is the baseline."


class _Frame:
    """From values to places on the drawing.

    Args:
        points: All that must fit in.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self._x = ticks(*_ends([x for x, _ in points]))
        self._y = ticks(*_ends([y for _, y in points]))

    def place(self, point: Point) -> Point:
        """Return where a point lies, in units of the drawing."""
        x = (point[0] - self._x[0]) / (self._x[-1] - self._x[0])
        y = (point[1] - self._y[0]) / (self._y[-1] - self._y[0])
        across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + x * across, 1), round(_HEIGHT - _BOTTOM - y * down, 1)

    def axes(self, across: str, up: str) -> list[svg.Element]:
        """Return the grid, its numbers and the titles of both axes."""
        drawn: list[svg.Element] = []
        for value in self._x:
            x, _ = self.place((value, self._y[0]))
            drawn.append(svg.Line(x1=x, x2=x, y1=_TOP, y2=_HEIGHT - _BOTTOM, class_=["grid"]))
            drawn.append(
                svg.Text(x=x, y=_HEIGHT - _BOTTOM + 20, text=f"{value:g}", text_anchor="middle", class_=["quiet"])
            )
        for value in self._y:
            _, y = self.place((self._x[0], value))
            drawn.append(svg.Line(x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_=["grid"]))
            drawn.append(svg.Text(x=_LEFT - 8, y=y + 4, text=f"{value:g}", text_anchor="end", class_=["quiet"]))
        drawn.append(svg.Text(x=_WIDTH - _RIGHT, y=_HEIGHT - 14, text=across, text_anchor="end"))
        drawn.append(svg.Text(x=14, y=26, text=up))
        return drawn


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers at equal distances, of which the first and the last hold `low` and `high`."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= span / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _steps(frame: _Frame, points: Sequence[Point]) -> svg.Element:
    """Join points from the cheapest on: between two of them, the cheaper is the best that there is."""
    corners: list[Point] = []
    for point in points:
        if corners:
            corners.append((point[0], corners[-1][1]))
        corners.append(point)
    return svg.Polyline(points=[svg.Point(*frame.place(corner)) for corner in corners], class_=["step"])


def _dot(frame: _Frame, point: Point, kind: str, radius: int) -> svg.Element:
    x, y = frame.place(point)
    return svg.Circle(cx=x, cy=y, r=radius, class_=[kind])


def _number(frame: _Frame, point: Point, number: int) -> svg.Element:
    x, y = frame.place(point)
    return svg.Text(x=x + 8, y=y + 16, text=str(number))
