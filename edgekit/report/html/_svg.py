"""What the charts of the page are drawn with: axes, marks and words, in SVG that takes its colours from the page."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import svg
from markupsafe import Markup

WIDTH: Final = 400
HEIGHT: Final = 250
LEFT: Final = 50
RIGHT: Final = WIDTH - 16
TOP: Final = 26
BOTTOM: Final = HEIGHT - 42


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart of the page, and in words what it shows."""

    picture: Markup
    caption: str


@dataclasses.dataclass(frozen=True)
class Scale:
    """An axis: values from `low` to `high` lie between `start` and `end` of the picture; beyond, at its ends."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value in the picture."""
        low, high, clipped = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, clipped = math.log(low), math.log(high), math.log(clipped)
        return round(self.start + (clipped - low) / (high - low) * (self.end - self.start), 2)

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values along the axis: equal steps, or on a long logarithmic axis 1, 2 and 5 of each decade."""
        if self.logarithmic and self.high / self.low > most:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
            return [value for value in values if self.low <= value <= self.high]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        step *= next(factor for factor in (1, 2, 5, 10) if (self.high - self.low) / (step * factor) <= most)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * count for count in range(first, last + 1)]


def figure(elements: list[svg.Element], *, identifier: str, title: str, description: str) -> Markup:
    """Return a picture with a name and a description for who cannot see it; `identifier` is unique in the page."""
    names = {"aria-labelledby": f"{identifier}-title", "aria-describedby": f"{identifier}-description"}
    head: list[svg.Element] = [
        svg.Title(id=names["aria-labelledby"], text=svg.escape(title)),
        svg.Desc(id=names["aria-describedby"], text=svg.escape(description)),
    ]
    box = svg.ViewBoxSpec(0, 0, WIDTH, HEIGHT)
    picture = svg.SVG(viewBox=box, xmlns=None, extra={"role": "img", **names}, elements=[*head, *elements])
    return Markup(picture.as_str())


def drawing(elements: list[svg.Element], width: float, height: float) -> Markup:
    """Return a picture that adds nothing to the numbers beside it, stretched to the width that it is given."""
    box = svg.ViewBoxSpec(0, 0, width, height)
    hidden = {"aria-hidden": "true", "preserveAspectRatio": "none"}
    return Markup(svg.SVG(viewBox=box, xmlns=None, extra=hidden, elements=elements).as_str())


def label(x: float, y: float, text: str, *kinds: str) -> svg.Text:
    """Return a word or two at a place; `kinds` are classes of the style sheet (`end`, `strong`)."""
    return svg.Text(x=round(x, 2), y=round(y, 2), text=svg.escape(text), class_=list(kinds) or None)


def line(x1: float, y1: float, x2: float, y2: float, *kinds: str) -> svg.Line:
    """Return a straight line."""
    return svg.Line(x1=x1, y1=y1, x2=x2, y2=y2, class_=list(kinds))


def across(scale: Scale, title: str) -> list[svg.Element]:
    """Return a horizontal axis at the bottom, with guides and its title below."""
    marks: list[svg.Element] = []
    for value in scale.ticks():
        marks += [
            line(scale(value), TOP, scale(value), BOTTOM, "guide"),
            label(scale(value), BOTTOM + 16, f"{value:g}", "middle"),
        ]
    base = line(scale.start, BOTTOM, scale.end, BOTTOM, "axis")
    return [*marks, base, label((scale.start + scale.end) / 2, BOTTOM + 34, title, "middle")]


def upward(scale: Scale, title: str) -> list[svg.Element]:
    """Return a vertical axis at the left, with guides and its title on top."""
    marks: list[svg.Element] = []
    for value in scale.ticks():
        marks += [
            line(LEFT, scale(value), RIGHT, scale(value), "guide"),
            label(LEFT - 6, scale(value) + 4, f"{value:g}", "end"),
        ]
    return [*marks, label(4, 12, title)]
