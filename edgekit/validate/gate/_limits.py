"""What a gate allows."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Final, Literal

from edgekit.errors import UsageError

_RATIO: Final = re.compile(r"(\d+(?:\.\d+)?)x")
_BYTES: Final = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class SizeLimit:
    """Largest size of the candidate's file: in bytes, or as a ratio to the size of the baseline's."""

    value: float
    unit: Literal["bytes", "ratio"]

    @classmethod
    def of(cls, text: str, *, where: str) -> SizeLimit:
        """Read `1500000` as bytes and `0.3x` as a ratio; raises UsageError EK001 for anything else."""
        ratio = _RATIO.fullmatch(text)
        if not ratio and not _BYTES.fullmatch(text):
            raise UsageError(
                "EK001",
                f"{text!r} is no size",
                where=where,
                hint="write bytes as 1500000, or a ratio to the baseline's size as 0.3x",
            )
        return cls(float(ratio[1]), "ratio") if ratio else cls(float(text), "bytes")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a gate; None where there is no such limit.

    Attributes:
        max_drop: Largest loss of top-1 accuracy, in percentage points.
        min_agreement: Smallest share of the images that both answer alike, in percent.
        max_size: Largest size of the candidate's file.
        min_speedup: Smallest ratio of the baseline's median time over the candidate's.
        max_p99_ratio: Largest ratio of the candidate's 99th percentile of time over the baseline's.
        these_images: `max_drop` and `min_agreement` ask about the images evaluated and no others, so that what was
            counted decides and nothing is left to chance. Otherwise they ask about images like these.

    Raises:
        UsageError: EK001 when a limit is not a number that can be one.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    max_size: SizeLimit | None = None
    min_speedup: float | None = None
    max_p99_ratio: float | None = None
    these_images: bool = False

    def __post_init__(self) -> None:
        _check("--max-drop", self.max_drop, -100.0, 100.0, "points from -100 to 100, e.g. 1")
        _check("--min-agreement", self.min_agreement, 0.0, 100.0, "percent from 0 to 100, e.g. 98")
        _check("--max-size", None if self.max_size is None else self.max_size.value, 1e-9, math.inf, "a size above 0")
        _check("--min-speedup", self.min_speedup, 1e-9, math.inf, "a ratio above 0, e.g. 1.5")
        _check("--max-p99-ratio", self.max_p99_ratio, 1e-9, math.inf, "a ratio above 0, e.g. 1.1")

    @property
    def timed(self) -> bool:
        """Whether any limit is about time."""
        return self.min_speedup is not None or self.max_p99_ratio is not None

    @property
    def names(self) -> tuple[str, ...]:
        """The limits that there are."""
        return tuple(
            field.name
            for field in dataclasses.fields(self)
            if field.name != "these_images" and getattr(self, field.name) is not None
        )


def _check(option: str, value: float | None, least: float, most: float, hint: str) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        raise UsageError("EK001", f"{value} is not a limit", where=option, hint=f"give {hint}")


DEFAULT_LIMITS: Final = Limits(max_drop=1.0)
"""What a gate asks of those who set no limit: one point, which is what the usual 99 % of FP32 comes to."""
