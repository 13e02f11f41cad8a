"""What a regression gate decided. Nothing here runs."""

from __future__ import annotations

import dataclasses
from typing import Literal

Outcome = Literal["pass", "fail", "inconclusive"]


@dataclasses.dataclass(frozen=True)
class Check:
    """One limit of a gate, and what was measured against it.

    Attributes:
        name: Stable name: `max_drop`, `min_agreement`, `max_size`, `min_speedup`, `max_p99_ratio`.
        outcome: Pass, fail, or too little evidence for either.
        limit: The limit, in the unit of the measurement.
        unit: `points`, `percent`, `bytes` or `ratio`.
        measured: The measurement.
        low: Lower end of its interval; the measurement itself where it has none.
        high: Upper end.
        reason: Why, in one sentence.
    """

    name: str
    outcome: Outcome
    limit: float
    unit: str
    measured: float
    low: float
    high: float
    reason: str


@dataclasses.dataclass(frozen=True)
class GateResult:
    """The verdict of a gate: the worst outcome of its checks, a failure first."""

    baseline: str
    candidate: str
    outcome: Outcome
    checks: tuple[Check, ...]
    images: str
    notes: tuple[str, ...]
