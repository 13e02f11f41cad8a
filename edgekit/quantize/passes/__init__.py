"""Graph passes: each changes a graph in place, leaves what it computes as it was, and says what it did.

A pass is a function `(graph) -> notes`; its docstring says what it needs and what it ensures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import onnx_ir as ir

from edgekit.quantize.passes._fix_constants import fix_constants
from edgekit.quantize.passes._fold_padding import fold_padding
from edgekit.quantize.passes._merge_bias import merge_bias
from edgekit.quantize.passes._pool_means import pool_means
from edgekit.spec import Note

Pass: TypeAlias = Callable[[ir.Graph], tuple[Note, ...]]

# In this order: what is constant must be settled before the others look for constants.
CANONICAL: tuple[Pass, ...] = (fix_constants, fold_padding, merge_bias, pool_means)


def canonicalise(graph: ir.Graph) -> tuple[Note, ...]:
    """Bring the ways of writing one thing into the form that has an int8 kernel."""
    return tuple(note for apply in CANONICAL for note in apply(graph))


__all__ = ["CANONICAL", "Pass", "canonicalise", "fix_constants", "fold_padding", "merge_bias", "pool_means"]
