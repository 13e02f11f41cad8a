"""Graph passes: one file each, all of one shape. Their order is in `edgekit.export._prepare`.

A pass is a module with `name` and `apply(model) -> (model, notes)`. Its docstring says what it needs and what
it changes. It never changes the model it is given, and keeps what the model computes.
"""

from edgekit.export.passes._pass import Pass

__all__ = ["Pass"]
