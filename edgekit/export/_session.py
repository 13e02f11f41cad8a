"""Running ONNX models on the CPU, to compare what two of them compute."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from onnx import ModelProto

from edgekit.export._graph import data_inputs, dimensions

FREE_IMAGE_SIZE = 224


class Session:
    """An onnxruntime session on the CPU for a model with one input and one output.

    Args:
        model: The model, weights included.
        optimize: Whether onnxruntime may rewrite the graph; off, a comparison is with the graph as written.
    """

    def __init__(self, model: ModelProto, *, optimize: bool = True) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what goes wrong is raised, and said once
        if not optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input: str = self._session.get_inputs()[0].name

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the first output for float32 images (N, 3, H, W)."""
        return cast("np.ndarray", self._session.run(None, {self._input: images})[0])


def probe(model: ModelProto, batch: int = 2) -> np.ndarray:
    """Return float32 noise, the same every time, in the shape that the model takes."""
    shape = dimensions(data_inputs(model.graph)[0]) or ("", 3, "", "")
    free = (batch, 3, FREE_IMAGE_SIZE, FREE_IMAGE_SIZE)
    sizes = [axis if isinstance(axis, int) else usual for axis, usual in zip(shape, free, strict=True)]
    return np.random.default_rng(0).standard_normal(sizes, dtype=np.float32)


def computes_the_same(first: ModelProto, second: ModelProto, *, tolerance: float = 1e-3) -> bool:
    """Whether both models give the same logits on noise, up to `tolerance` relative to the largest logit.

    Noise is enough here: it is a check on graph surgery, whose errors are gross; `verify` uses real images.
    """
    images = probe(first)
    try:
        expected = Session(first, optimize=False).run(images)
        actual = Session(second, optimize=False).run(images)
    except Exception:  # onnxruntime has many exception types; whichever it is, the models are not known to agree
        return False
    if expected.shape != actual.shape:
        return False
    # Relative, as the logits of an untrained network can be as small as 1e-20.
    scale = float(np.max(np.abs(expected), initial=0.0))
    return bool(np.all(np.abs(expected - actual) <= tolerance * scale))
