"""Pruning: fewer channels, and what the rest computes brought back to what it was."""

from edgekit.pruning._allocate import Cost
from edgekit.pruning._importance import Importance
from edgekit.pruning._latency import estimated as estimated_latency
from edgekit.pruning._latency import measured as measured_latency
from edgekit.pruning._masks import Masked, prune_two_of_four, prune_unstructured, recover_masked
from edgekit.pruning._repair import Repair
from edgekit.pruning._sensitivity import Sensitivity
from edgekit.pruning._structure import Structure
from edgekit.pruning._structure import remove as remove_channels
from edgekit.pruning._structured import CostKind, Pruned, Structured, Widths, prune_channels

__all__ = [
    "Cost",
    "CostKind",
    "Importance",
    "Masked",
    "Pruned",
    "Repair",
    "Sensitivity",
    "Structure",
    "Structured",
    "Widths",
    "estimated_latency",
    "measured_latency",
    "prune_channels",
    "prune_two_of_four",
    "prune_unstructured",
    "recover_masked",
    "remove_channels",
]
