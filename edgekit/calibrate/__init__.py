"""Which values each tensor takes on real images: collected in one pass, in fixed size, read as ranges."""

from __future__ import annotations

from edgekit.calibrate._cache import hash_graph, hash_images, load, save
from edgekit.calibrate._collect import collect
from edgekit.calibrate._count import summarise
from edgekit.calibrate._entropy import entropy_range
from edgekit.calibrate._minmax import DEFAULT_PERCENTILE, minmax_range, percentile_range
from edgekit.calibrate._mse import mse_range
from edgekit.calibrate._ranges import ranges
from edgekit.calibrate._summary import Summary, merge
from edgekit.calibrate._tensorrt import TENSORRT_VERSION_LINE, tensorrt_cache_text

__all__ = [
    "DEFAULT_PERCENTILE",
    "TENSORRT_VERSION_LINE",
    "Summary",
    "collect",
    "entropy_range",
    "hash_graph",
    "hash_images",
    "load",
    "merge",
    "minmax_range",
    "mse_range",
    "percentile_range",
    "ranges",
    "save",
    "summarise",
    "tensorrt_cache_text",
]
