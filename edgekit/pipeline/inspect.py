"""`edgekit inspect`: what a finished ONNX file is made of and what it really runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgekit.export import load_onnx
from edgekit.quantize import RuntimeOperator, float_compute, placement, runtime_operators
from edgekit.spec import LayerDecision


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found in an ONNX file.

    Attributes:
        path: The file.
        opset: Opset of the default domain.
        metadata: The file's metadata_props.
        layers: What each computing node runs in, from the structure of the graph.
        runtime: The nodes that onnxruntime runs here, after its own optimization.
        float_compute: Convolutions and linear layers among them that run in float.
    """

    path: str
    opset: int
    metadata: dict[str, str]
    layers: tuple[LayerDecision, ...]
    runtime: tuple[RuntimeOperator, ...]
    float_compute: tuple[str, ...]


def inspect_model(path: Path) -> Inspection:
    """Read an ONNX file and let onnxruntime optimize it.

    Raises:
        ModelError: EK101, EK102, EK104, EK108 or EK109 when the file cannot be used.
    """
    model = load_onnx(path)
    runtime = runtime_operators(path)
    return Inspection(
        path=str(path),
        opset=next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        layers=placement(model),
        runtime=runtime,
        float_compute=float_compute(runtime),
    )
