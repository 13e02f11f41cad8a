"""From an ONNX model and a plan to what a device builds: lowering, NVIDIA's own parser, bundles and their answers."""

from edgekit.engine._answer import RESULT, Answer, read_answer
from edgekit.engine._bundle import MANIFEST, Bundle, write_bundle
from edgekit.engine._container import build_in_container, find_container
from edgekit.engine._emit_deepstream import (
    DeepStream,
    emit_deepstream,
    engine_name,
    nvinfer_scale,
    with_one_std,
    with_softmax,
)
from edgekit.engine._emit_triton import ENGINE, Triton, emit_triton
from edgekit.engine._engine import Platform, check_built, differences, platform_of
from edgekit.engine._folder import replacing_folder
from edgekit.engine._here import build_here, find_program
from edgekit.engine._open_bundle import OpenBundle, bundle_of, outputs_of
from edgekit.engine._remote import build_on_host, parse_host
from edgekit.engine._rtx import Verdict, check
from edgekit.engine._run import Show
from edgekit.engine.lower import lower

__all__ = [
    "ENGINE",
    "MANIFEST",
    "RESULT",
    "Answer",
    "Bundle",
    "DeepStream",
    "OpenBundle",
    "Platform",
    "Show",
    "Triton",
    "Verdict",
    "build_here",
    "build_in_container",
    "build_on_host",
    "bundle_of",
    "check",
    "check_built",
    "differences",
    "emit_deepstream",
    "emit_triton",
    "engine_name",
    "find_container",
    "find_program",
    "lower",
    "nvinfer_scale",
    "outputs_of",
    "parse_host",
    "platform_of",
    "read_answer",
    "replacing_folder",
    "with_one_std",
    "with_softmax",
    "write_bundle",
]
