"""Export: from a torch module, or a user's ONNX file, to a clean ONNX graph of the opset asked for."""

from edgekit.export._fold import fold_batch_norm
from edgekit.export._graph import opset_of
from edgekit.export._load import load_onnx
from edgekit.export._opset import HIGHEST_OPSET, LOWEST_OPSET, with_opset
from edgekit.export._prepare import prepare
from edgekit.export._to_onnx import INPUT, OUTPUT, to_onnx
from edgekit.export._verify import Verification, verify

__all__ = [
    "HIGHEST_OPSET",
    "INPUT",
    "LOWEST_OPSET",
    "OUTPUT",
    "Verification",
    "fold_batch_norm",
    "load_onnx",
    "opset_of",
    "prepare",
    "to_onnx",
    "verify",
    "with_opset",
]
