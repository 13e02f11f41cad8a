"""The charts of the page: accuracy against size and time, and how the time spreads and goes on."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import svg

from edgekit.report._text import milliseconds
from edgekit.report.html._svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Chart,
    Scale,
    across,
    figure,
    label,
    line,
    upward,
)
from edgekit.results import Comparison, LatencySamples
from edgekit.spec import Interval

_MEGABYTE: Final = 1_000_000
_FEWEST_BINS: Final = 24
_MOST_BINS: Final = 120
# Frames beyond this percentile would squeeze all others into a corner.
_SHOWN_PERCENTILE: Final = 99.5
_MOST_DOTS: Final = 1000
_SIDES: Final = ("baseline", "candidate")

Frames: TypeAlias = npt.NDArray[np.float64]


def accuracy_against_size(comparison: Comparison) -> Chart:
    """Draw what both reach over the size of their files."""
    sizes = [side.size_bytes / _MEGABYTE for side in (comparison.baseline, comparison.candidate)]
    return _trade_off(comparison, "size", "size of the file", "MB", (sizes[0], sizes[1]), None)


def accuracy_against_time(comparison: Comparison) -> Chart | None:
    """Draw what both reach over the median time of a frame; None where it was not timed."""
    latency = comparison.latency
    if latency is None:
        return None
    baseline, candidate = latency.baseline_ms.p50, latency.candidate_ms.p50
    interval = Interval(candidate, baseline / latency.speedup.high, baseline / latency.speedup.low)
    return _trade_off(comparison, "time", "median time of a frame", "ms", (baseline, candidate), interval)


def _trade_off(
    comparison: Comparison,
    name: str,
    axis: str,
    unit: str,
    costs: tuple[float, float],
    cost_interval: Interval | None,
) -> Chart:
    what, baseline, candidate = _quality(comparison)
    margin = max(1.0, 0.35 * (max(baseline, candidate.high) - candidate.low))
    top = min(max(candidate.high, baseline) + margin, 101.0)
    y = Scale(min(candidate.low, baseline) - margin, top, BOTTOM, TOP)
    x = Scale(0.0, 1.12 * max(*costs, cost_interval.high if cost_interval else 0.0), LEFT, RIGHT)
    first, second = (x(costs[0]), y(baseline)), (x(costs[1]), y(candidate.value))
    elements: list[svg.Element] = [
        *across(x, f"{axis}, {unit}"),
        *upward(y, f"{what}, %"),
        line(*first, *second, "path"),
        line(second[0], y(candidate.low), second[0], y(candidate.high), "interval"),
    ]
    if cost_interval:
        elements.append(line(x(cost_interval.low), second[1], x(cost_interval.high), second[1], "interval"))
    elements += [
        svg.Rect(x=first[0] - 5, y=first[1] - 5, width=10, height=10, class_=["baseline"]),
        svg.Circle(cx=second[0], cy=second[1], r=6, class_=["candidate"]),
        _beside(*first, "baseline", above=baseline >= candidate.value),
        _beside(*second, "candidate", above=candidate.value > baseline),
    ]
    title = f"Accuracy against {name}"
    caption = (
        f"Baseline: {baseline:.2f} % at {costs[0]:#.3g} {unit}. "
        f"Candidate: {candidate.value:.2f} % at {costs[1]:#.3g} {unit}; the bars are 95 % intervals. "
        "Up and to the left is better. The vertical axis does not start at 0."
    )
    picture = figure(elements, identifier=f"chart-{name}", title=title, description=caption)
    return Chart(picture, caption)


def _quality(comparison: Comparison) -> tuple[str, float, Interval]:
    """Return what the vertical axis is, where the baseline stands, and the candidate with its interval."""
    baseline, delta = comparison.baseline.accuracy.top1, comparison.drift.top1_delta_pp
    if baseline is None or delta is None:
        return "agreement with the baseline", 100.0, comparison.drift.agreement
    return "top-1", baseline, Interval(baseline + delta.value, baseline + delta.low, baseline + delta.high)


def _beside(x: float, y: float, text: str, *, above: bool) -> svg.Text:
    """Return the name of a point, towards the side where there is room."""
    left = x > (LEFT + RIGHT) / 2
    return label(x - 10 if left else x + 10, y - 9 if above else y + 19, text, "strong", *(["end"] if left else []))


def latency_distribution(samples: LatencySamples) -> Chart:
    """Draw how the times of the frames spread, both sides on one logarithmic axis."""
    sides, low, high = _frames(samples)
    edges = np.geomspace(low, high, _bins(sides, low, high) + 1)
    shares = [np.histogram(side, edges)[0] / side.size * 100 for side in sides]
    x = Scale(low, high, LEFT, RIGHT, logarithmic=True)
    y = Scale(0.0, 1.08 * max(float(share.max()) for share in shares), BOTTOM, TOP)
    elements = [
        *across(x, "time of a frame, ms (logarithmic)"),
        *upward(y, "share of the frames, %"),
        *(_steps(share, edges, x, y, name) for share, name in zip(shares, _SIDES, strict=True)),
    ]
    medians = [float(np.median(side)) for side in sides]
    for median, name in zip(medians, _SIDES, strict=True):
        elements.append(line(x(median), TOP, x(median), BOTTOM, "median", name))
    caption = (
        f"{sides[0].size:,} frames of the baseline and {sides[1].size:,} of the candidate. Dashed: the medians, "
        f"{milliseconds(medians[0])} and {milliseconds(medians[1])}.{_beyond(sides, high)}"
    )
    title = "How the time of a frame spreads"
    picture = figure(elements, identifier="chart-spread", title=title, description=caption)
    return Chart(picture, caption)


def latency_in_order(samples: LatencySamples) -> Chart:
    """Draw the time of each frame in the order they were timed: a machine that changes meanwhile shows here."""
    sides, _, high = _frames(samples)
    x = Scale(0.0, float(max(side.size for side in sides)), LEFT, RIGHT)
    y = Scale(0.0, high, BOTTOM, TOP)
    elements = [
        *across(x, "frame, in the order of timing"),
        *upward(y, "time of a frame, ms"),
        *(_dots(side, x, y, name) for side, name in zip(sides, _SIDES, strict=True)),
    ]
    most = max(side.size for side in sides)
    every = "Every frame" if most <= _MOST_DOTS else f"{_MOST_DOTS:,} of {most:,} frames, evenly spread,"
    caption = f"{every} as it was timed. Level bands are a steady machine.{_beyond(sides, high)}"
    title = "The time of a frame, one after the other"
    picture = figure(elements, identifier="chart-order", title=title, description=caption)
    return Chart(picture, caption)


def _frames(samples: LatencySamples) -> tuple[list[Frames], float, float]:
    """Return the times of both sides, and the interval of them that is shown."""
    sides = [np.asarray(samples.baseline_ms), np.asarray(samples.candidate_ms)]
    low = min(float(side.min()) for side in sides)
    high = max(float(np.percentile(side, _SHOWN_PERCENTILE)) for side in sides)
    return sides, 0.98 * low, 1.02 * high


def _beyond(sides: list[Frames], high: float) -> str:
    beyond = sum(int((side > high).sum()) for side in sides)
    return f" {beyond:,} slower frames lie beyond the edge." if beyond else ""


def _bins(sides: list[Frames], low: float, high: float) -> int:
    """Return how many bins suit the narrower side (Freedman and Diaconis 1981), within what can be drawn."""
    widths = [np.diff(np.histogram_bin_edges(np.log(side), "fd"))[0] for side in sides]
    return int(np.clip(np.log(high / low) / max(min(widths), 1e-9), _FEWEST_BINS, _MOST_BINS))


def _dots(side: Frames, x: Scale, y: Scale, name: str) -> svg.Path:
    """Return a dot a frame: strokes of no length with round ends, since a circle each would be ten times the bytes."""
    places = np.unique(np.linspace(0, side.size - 1, min(side.size, _MOST_DOTS)).astype(int))
    path: list[svg.PathData] = []
    for place in places:
        path += [svg.M(x(float(place)), y(float(side[place]))), svg.h(0)]
    return svg.Path(d=path, class_=["dots", name])


def _steps(share: Frames, edges: Frames, x: Scale, y: Scale, name: str) -> svg.Path:
    path: list[svg.PathData] = [svg.M(x(float(edges[0])), y(0.0))]
    for value, edge in zip(share, edges[1:], strict=True):
        path += [svg.V(y(float(value))), svg.H(x(float(edge)))]
    return svg.Path(d=[*path, svg.V(y(0.0)), svg.Z()], class_=["area", name])
