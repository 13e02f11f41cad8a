"""Pass or fail, as a pure function of the drift."""

from __future__ import annotations

import math

from edgekit.errors import UsageError
from edgekit.results import NO_LIMIT, Drift, Verdict

_ROUNDING = 1e-9  # percent are computed in floating point: a drop of exactly the limit must pass


def verdict(drift: Drift, *, max_drop: float | None) -> Verdict:
    """Decide whether a candidate lost more than allowed.

    The estimate decides, not the end of its interval, so that the same two files give the same verdict
    whoever reads the numbers; the interval is part of the reason.

    Args:
        drift: What was measured.
        max_drop: Largest loss of top-1 accuracy allowed, in percentage points; without labels, the largest
            loss of agreement below 100 %. None allows any.

    Raises:
        UsageError: EK001 when `max_drop` is not a finite number.
    """
    if max_drop is not None and not math.isfinite(max_drop):
        raise UsageError("EK001", f"{max_drop} is not a limit", where="--max-drop", hint="give points, e.g. 0.5")
    if drift.top1_delta_pp is not None:
        change = drift.top1_delta_pp
        what, drop = "top-1 accuracy", -change.value
        low, high = -change.high, -change.low
    else:
        what, drop = "agreement (there are no labels)", 100.0 - drift.agreement.value
        low, high = 100.0 - drift.agreement.high, 100.0 - drift.agreement.low
    moved = f"fell by {drop:.2f}" if drop > 0 else f"rose by {-drop:.2f}" if drop < 0 else "did not change"
    points = f"{moved}{' points' if drop else ''} (95 % interval of the loss {low:.2f} to {high:.2f})"
    if max_drop is None:
        return Verdict(passed=True, reason=f"{what} {points}; {NO_LIMIT}")
    passed = drop <= max_drop + _ROUNDING
    relation = "within" if passed else "more than"
    return Verdict(passed=passed, reason=f"{what} {points}, {relation} the {max_drop:g} points allowed")
