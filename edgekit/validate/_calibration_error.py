"""How far a model's confidence is from how often it is right."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 15


def expected_calibration_error(confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error in percent, over 15 bins of equal width, each without its lower end.

    Args:
        confidence: (N,) softmax of the answer, 0 to 1; at least one.
        right: (N,) the answer is the label.

    Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    bins = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(np.int64) - 1, 0, BINS - 1)
    # |sum of right - sum of confidence| of a bin is its count times the gap of the means.
    gaps = np.bincount(bins, right.astype(np.float64) - confidence, BINS)
    return 100.0 * float(np.abs(gaps).sum()) / len(confidence)
