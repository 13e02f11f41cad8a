"""Numbers and names as the tables of the terminal show them."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.text import Text

from edgekit.results import SQNR_LIMIT_DB
from edgekit.spec import Interval

NOT_MEASURED: Final = "-"
_MEGABYTE: Final = 1_000_000


def print_line(console: Console, line: str) -> None:
    """Print one line as it is."""
    console.print(plain(line), overflow="fold")


def plain(text: str) -> Text:
    """Return text as it is: no markup, and no control characters, which a report from elsewhere may hold."""
    return Text(printable(text))


def printable(text: str) -> str:
    """Return text with a question mark for each control character, which could command a terminal or break XML."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def interval_text(interval: Interval, style: str, unit: str) -> str:
    """Return an estimate and, in brackets, its interval."""
    value, low, high = (format(number, style) for number in (interval.value, interval.low, interval.high))
    return f"{value}{unit} [{low}, {high}]"


def decibels(sqnr: Interval) -> str:
    """Return a signal to noise ratio; at its bound the two sides are identical."""
    return "identical logits" if sqnr.value >= SQNR_LIMIT_DB else interval_text(sqnr, ".1f", " dB")


def megabytes(size: int | None) -> str:
    """Return a size in units of a million bytes."""
    return NOT_MEASURED if size is None else f"{size / _MEGABYTE:.2f} MB"


def milliseconds(value: float) -> str:
    """Return a time with three digits that mean something."""
    return f"{value:.2f} ms" if value >= 1 else f"{value:.3f} ms"
