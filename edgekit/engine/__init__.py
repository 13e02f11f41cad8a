"""From an ONNX model and a plan to what a device builds: lowering, NVIDIA's own parser, and bundles."""

from edgekit.engine._bundle import Bundle, write_bundle
from edgekit.engine._rtx import Verdict, check
from edgekit.engine.lower import lower

__all__ = ["Bundle", "Verdict", "check", "lower", "write_bundle"]
