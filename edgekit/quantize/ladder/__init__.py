"""The accuracy ladder: rungs from cheap to dear, each kept only if it helps on images that it has not seen."""

from __future__ import annotations

from edgekit.quantize.ladder._aware import train_aware
from edgekit.quantize.ladder._aware_state import Awareness
from edgekit.quantize.ladder._climb import Climbed, climb

__all__ = ["Awareness", "Climbed", "climb", "train_aware"]
