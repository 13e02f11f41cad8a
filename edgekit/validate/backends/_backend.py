"""What a runtime has to be able to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Protocol

from edgekit.validate._timing import TimedModel

BackendName = Literal["onnxruntime", "openvino", "torch"]


class OpenModel(TimedModel, Protocol):
    """A model that a runtime has opened."""

    @property
    def fixed_batch(self) -> int | None:
        """The one batch size that its file allows; None when any will do."""


class Backend(Protocol):
    """A runtime."""

    @property
    def reads(self) -> Literal["onnx", "module"]:
        """What `open` takes: an ONNX file, or a torch module that `torch.save` wrote."""

    def open(self, model: Path, *, threads: int) -> OpenModel:
        """Open a model; `threads` is 0 for every core that this process may use."""

    def write_smallest(self, path: Path) -> None:
        """Write a model of next to nothing: what a process needs to run it, it needs for any model."""


def thread_count(threads: int) -> int:
    """Return the number of threads meant: 0 is every core that this process may use."""
    return threads or len(os.sched_getaffinity(0))


def write_smallest_onnx(path: Path) -> None:
    """Write an image classifier without weights, and with almost no activations."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "smallest",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save_model(model, path)
