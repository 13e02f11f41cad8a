"""Runs alone: `python -m edgekit.engine._rtx_process MODEL` prints a verdict of TensorRT-RTX as JSON."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

# Ampere: the oldest compute capability that it builds every MobileNet for.
COMPUTE_CAPABILITY = "SM86"
# Of the builder's log, one line a layer: "Name: …, LayerType: …, Inputs: [ { …, Datatype: Int8, … [ONNX Layer: …]".
LAYER = re.compile(r"^Name: .*?, LayerType: .*?, Inputs: \[ \{ .*?Datatype: (?P<dtype>[A-Za-z0-9]+)")
ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


def main(path: Path) -> dict[str, Any]:
    """Return the fields of a Verdict."""
    import tensorrt_rtx_bindings as trt

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.lines: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            (self.errors if severity <= trt.ILogger.ERROR else self.lines).append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    content = path.read_bytes()
    parsed = bool(parser.parse(content, str(path)))
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    unsupported = [
        f"{error.node_name() or error.node_operator()}: {error.desc()}" for error in errors if error.node_operator()
    ]
    engine = None
    if parsed:
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, COMPUTE_CAPABILITY), 0)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        engine = builder.build_serialized_network(network, config)
    return {
        "version": trt.__version__,
        "parsed": parsed,
        "built": engine is not None,
        "unsupported": unsupported,
        "errors": [error.desc() for error in errors if not error.node_operator()] + log.errors,
        "inputs": _inputs(log.lines),
        "engine_bytes": engine.nbytes if engine is not None else None,
    }


def _inputs(lines: list[str]) -> dict[str, str]:
    """Return the type of the first input of the layer that each ONNX node became a part of."""
    found: dict[str, str] = {}
    for line in "\n".join(lines).splitlines():
        match = LAYER.search(line)
        if match:
            found.update(dict.fromkeys(ONNX_NODE.findall(line), match["dtype"]))
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
