"""When a ratio of two times is more than what the machine measures between a model and itself."""

from __future__ import annotations

import math
from typing import Final

from edgekit.results import NoiseFloor
from edgekit.spec import Interval

SMALLEST_FLOOR: Final = 0.01
"""No ratio within 1 % of one is called a difference. Where the memory of a session lies alone can make a program
faster or slower, and a run opens each model once: it sees too few of those places to average them out."""


def noise_floor_of(ratio: Interval) -> NoiseFloor:
    """Return which ratios are noise, from the ratio of the medians of an A/A run and its 95 % interval.

    The floor lies around 1 and reaches as far, on a logarithmic scale, as the farther end of that interval: what
    this run measured where nothing was, and its uncertainty on top. It is at least `SMALLEST_FLOOR`. How often two
    equal models fall outside is simulated in tests/validate/test_noise.py and told in docs/bench.md.

    Source: T. Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009, on
    what the place in memory does to a time.
    """
    reach = max(abs(math.log(ratio.low)), abs(math.log(ratio.high)), math.log1p(SMALLEST_FLOOR))
    return NoiseFloor(ratio, math.exp(-reach), math.exp(reach))


def is_different(speedup: Interval, noise: NoiseFloor) -> bool:
    """Tell whether a ratio of medians is more than noise.

    It must lie outside the noise floor, which speaks for the machine, and its own interval must leave 1 out, which
    speaks for the pair: one of the two may vary more than the model that the floor was measured with.
    """
    outside_floor = not noise.low <= speedup.value <= noise.high
    return outside_floor and not speedup.low <= 1.0 <= speedup.high
