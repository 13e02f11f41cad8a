"""From an ONNX model and a plan to what TensorRT builds: lowering, and a parse by NVIDIA's own parser."""

from edgekit.engine._rtx import Verdict, check
from edgekit.engine.lower import lower

__all__ = ["Verdict", "check", "lower"]
