"""Which values each tensor takes on real images: collected in one pass, in fixed size, read as ranges."""

from __future__ import annotations

from edgekit.calibrate._collect import collect
from edgekit.calibrate._ranges import minmax_range, percentile_range, ranges
from edgekit.calibrate._summary import Summary, merge, summarise

__all__ = ["Summary", "collect", "merge", "minmax_range", "percentile_range", "ranges", "summarise"]
