"""Simplify with onnxsim, or go on without it.

Needs nothing. onnxsim folds constants and fuses patterns that the other passes do not know. It is known to
damage some graphs and to be missing on some machines, so its result is taken only if it computes the same.
"""

from __future__ import annotations

import contextlib
import io
import warnings

from onnx import ModelProto

from edgekit.export._graph import opset_of
from edgekit.export._notes import note
from edgekit.export._session import computes_the_same
from edgekit.spec import Note

name = "simplify"


def apply(model: ModelProto) -> tuple[ModelProto, tuple[Note, ...]]:
    """Return onnxsim's version of the model, or the model itself and a note that says why."""
    try:
        import onnxsim
    except ImportError as error:
        return model, (note(f"onnxsim is not usable here ({error}): went on without it"),)
    silence = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
        ):
            warnings.simplefilter("ignore")
            simplified, _ = onnxsim.simplify(model)
    except Exception as error:  # a compiled library that raises what it likes; the model is fine without it
        return model, (note(f"onnxsim failed ({str(error).splitlines()[0]}): went on without it"),)
    if opset_of(simplified) != opset_of(model) or not computes_the_same(model, simplified):
        return model, (note("onnxsim changed what the model computes: went on without it"),)
    kept = [entry for entry in simplified.metadata_props if not entry.key.startswith("onnxsim.")]
    del simplified.metadata_props[:]
    simplified.metadata_props.extend(kept)
    difference = len(model.graph.node) - len(simplified.graph.node)
    return simplified, (note(f"onnxsim removed {difference} nodes"),) if difference > 0 else ()
