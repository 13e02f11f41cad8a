"""Pass, fail or inconclusive, as pure functions of what was measured.

`max_drop` and `min_agreement` are judged by one-sided tests at 5 %, one for each side of the limit: a candidate passes
when the images rule out that it is beyond the limit (non-inferiority), and fails when they rule out that it is within.
Both follow from the 90 % interval: all of it on one side of the limit decides, otherwise nothing is shown. Time is
judged by its 95 % interval, widened to what the machine measures between a model and itself.

Source: D. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the
equivalence of average bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from edgekit.errors import ComparisonError
from edgekit.results import Check, Comparison, GateResult, NoiseFloor, Outcome
from edgekit.spec import Interval
from edgekit.validate._statistics import paired_difference_points, proportion_percent
from edgekit.validate.gate._evidence import Evidence, evidence_of
from edgekit.validate.gate._limits import Limits

# Of the interval; half of the rest on each side is the 5 % of each test.
_CONFIDENCE: Final = 0.90
_ROUNDING: Final = 1e-9  # percent are computed in floating point: exactly the limit must pass
_MOST_TIMES_MORE: Final = 1000
_SEARCH_STEPS: Final = 10
_SAME_MODEL: Final = "no difference: both are the same model"


def judge(comparison: Comparison, limits: Limits) -> GateResult:
    """Decide whether a candidate keeps to limits.

    Raises:
        ComparisonError: EK635 when a limit asks for what was not measured: accuracy without labels, time without
            timing.
    """
    checks = judge_evidence(evidence_of(comparison), limits)
    return GateResult(
        baseline=comparison.baseline.name,
        candidate=comparison.candidate.name,
        outcome=worst(check.outcome for check in checks),
        checks=checks,
        images=f"{comparison.drift.n:,} images of {comparison.images}",
        notes=comparison.notes,
    )


def judge_evidence(evidence: Evidence, limits: Limits) -> tuple[Check, ...]:
    """Judge each limit that there is, in the order of the fields of `Limits`; raises as `judge`."""
    return tuple(_JUDGES[name](evidence, limits) for name in limits.names)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the verdict of several checks: a failure first, then what is open."""
    found = set(outcomes)
    if "fail" in found:
        return "fail"
    return "inconclusive" if "inconclusive" in found else "pass"


def _max_drop(evidence: Evidence, limits: Limits) -> Check:
    gained, lost, limit = evidence.gained, evidence.lost, limits.max_drop
    assert limit is not None
    if gained is None or lost is None:
        raise _not_measured("max_drop", "the images have no labels", "give labelled images, or --min-agreement alone")

    def drop(times: float) -> Interval:
        delta = paired_difference_points(gained * times, lost * times, evidence.images * times, confidence=_CONFIDENCE)
        return Interval(0.0 - delta.value, 0.0 - delta.high, 0.0 - delta.low)

    points = f"{limit:g} point" if limit == 1 else f"{limit:g} points"
    return _counted(
        "max_drop", limit, "points", drop, evidence, limits, at_most=True,
        allowed=f"a drop of at most {points}", beyond=f"a drop of more than {points}",
    )  # fmt: skip


def _min_agreement(evidence: Evidence, limits: Limits) -> Check:
    limit = limits.min_agreement
    assert limit is not None

    def agreement(times: float) -> Interval:
        return proportion_percent(
            round(evidence.agreeing * times), round(evidence.images * times), confidence=_CONFIDENCE
        )

    return _counted(
        "min_agreement", limit, "percent", agreement, evidence, limits, at_most=False,
        allowed=f"agreement of {limit:g} % or more", beyond=f"agreement below {limit:g} %",
    )  # fmt: skip


def _counted(
    name: str,
    limit: float,
    unit: str,
    interval: Callable[[float], Interval],
    evidence: Evidence,
    limits: Limits,
    *,
    at_most: bool,
    allowed: str,
    beyond: str,
) -> Check:
    """Judge what was counted on images; `interval` is of so many times the images with the same shares."""
    found = interval(1)
    if evidence.identical or limits.these_images:
        found = _exactly(found.value)
    outcome = _side(found, limit, at_most)
    if evidence.identical:
        reason = _SAME_MODEL
    elif limits.these_images:
        reason = f"counted on these {evidence.images:,} images, which are all that was asked about"
    elif outcome == "inconclusive":
        reason = f"{evidence.images:,} images leave it open; {_more_images(interval, limit, at_most, evidence.images)}"
    else:
        reason = f"{beyond if outcome == 'pass' else allowed} is ruled out"
    return Check(name, outcome, limit, unit, found.value, float(found.low), float(found.high), reason)


def _more_images(interval: Callable[[float], Interval], limit: float, at_most: bool, images: int) -> str:
    """Say how many images would decide, if the further ones are like those there are."""

    def decides(logarithm: float) -> bool:
        return _side(interval(math.exp(logarithm)), limit, at_most) != "inconclusive"

    low, high = 0.0, math.log(_MOST_TIMES_MORE)
    if not decides(high):
        return "what was measured lies so near the limit that no number of images is likely to decide"
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    needed = images * math.exp(high)
    two_digits = 10.0 ** (math.floor(math.log10(needed)) - 1)
    return f"about {math.ceil(needed / two_digits) * two_digits:,.0f} like them would decide"


def _max_size(evidence: Evidence, limits: Limits) -> Check:
    size = limits.max_size
    assert size is not None
    measured = float(evidence.candidate_bytes)
    reason = f"the baseline has {evidence.baseline_bytes:,} bytes"
    if size.unit == "ratio":
        measured /= evidence.baseline_bytes
        reason = f"{evidence.candidate_bytes:,} bytes beside {evidence.baseline_bytes:,}"
    outcome = _side(_exactly(measured), size.value, at_most=True)
    return Check("max_size", outcome, size.value, size.unit, measured, measured, measured, reason)


def _min_speedup(evidence: Evidence, limits: Limits) -> Check:
    assert limits.min_speedup is not None
    return _timed("min_speedup", limits.min_speedup, evidence.speedup, evidence, evidence.noise, at_most=False)


def _max_p99_ratio(evidence: Evidence, limits: Limits) -> Check:
    assert limits.max_p99_ratio is not None
    # The noise floor is one of medians; the interval of a 99th percentile is wider than it by itself.
    return _timed("max_p99_ratio", limits.max_p99_ratio, evidence.p99_ratio, evidence, None, at_most=True)


def _timed(
    name: str, limit: float, ratio: Interval | None, evidence: Evidence, noise: NoiseFloor | None, *, at_most: bool
) -> Check:
    if ratio is None:
        raise _not_measured(name, "time was not measured", "give the baseline's model too, so that both are timed")
    found = ratio if noise is None or evidence.identical else _widened(ratio, noise)
    outcome = _side(found, limit, at_most)
    if evidence.identical:
        reason = _SAME_MODEL
    elif noise is not None and noise.low <= ratio.value <= noise.high:
        floor = f"{noise.low:.3g}x to {noise.high:.3g}x between a model and itself"
        reason = f"no difference measured: this machine measures {floor}"
        # Who asks for no more than the same speed gets it, as far as this machine can tell.
        outcome = "pass" if _side(_exactly(1.0), limit, at_most) == "pass" else outcome
    elif outcome == "inconclusive":
        reason = "the interval holds the limit; time on a quieter machine, or more frames"
    else:
        reason = "the whole interval is within the limit" if outcome == "pass" else "the whole interval is beyond it"
    return Check(name, outcome, limit, "ratio", found.value, found.low, found.high, reason)


def _widened(ratio: Interval, noise: NoiseFloor) -> Interval:
    return Interval(ratio.value, min(ratio.low, ratio.value * noise.low), max(ratio.high, ratio.value * noise.high))


def _exactly(value: float) -> Interval:
    return Interval(value, value, value)


def _side(found: Interval, limit: float, at_most: bool) -> Outcome:
    """Tell on which side of a limit the whole of an interval is."""
    # Turned round, "at least" is "at most".
    low, high, limit = (found.low, found.high, limit) if at_most else (-found.high, -found.low, -limit)
    if high <= limit + _ROUNDING:
        return "pass"
    return "fail" if low > limit + _ROUNDING else "inconclusive"


def _not_measured(name: str, why: str, hint: str) -> ComparisonError:
    return ComparisonError("EK635", f"the limit cannot be judged: {why}", where=name, hint=hint)


_JUDGES: Final = {
    "max_drop": _max_drop,
    "min_agreement": _min_agreement,
    "max_size": _max_size,
    "min_speedup": _min_speedup,
    "max_p99_ratio": _max_p99_ratio,
}
