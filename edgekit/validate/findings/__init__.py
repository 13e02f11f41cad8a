"""Where the loss of a candidate comes from: errors layer by layer, causes, and what fixes them."""

from __future__ import annotations

from edgekit.validate.findings._diagnose import PASSES, diagnose

__all__ = ["PASSES", "diagnose"]
