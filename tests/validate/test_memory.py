"""Peak memory, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ComparisonError
from edgekit.validate import peak_memory
from edgekit.validate._memory import parse_peak
from edgekit.validate.backends import choose_backend

STATUS = """Name:\tpython
VmPeak:\t  812340 kB
VmHWM:\t  118992 kB
VmRSS:\t  100004 kB
Threads:\t3
"""
MIB = 1 << 20


def test_the_peak_is_the_high_water_mark_of_what_was_resident() -> None:
    assert parse_peak(STATUS) == 118992 * 1024


@pytest.mark.parametrize("status", ["", "Name:\tkthreadd\nThreads:\t1\n"])
def test_a_kernel_that_does_not_tell_gives_none(status: str) -> None:
    assert parse_peak(status) is None


def with_weights(path: Path, mebibytes: int) -> Path:
    """A classifier whose only layer has so much weight, on images of 8x8."""
    features = 3 * 8 * 8
    matrix = np.ones((features, mebibytes * MIB // 4 // features), np.float32)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, matrix.shape[1]])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def peak(path: Path, size: int) -> int:
    found = peak_memory(path, backend="onnxruntime", provider="cpu", threads=1, input_size=size)
    assert found is not None
    return found


def test_a_model_takes_its_weights_and_the_runtime_alone_does_not(tmp_path: Path) -> None:
    choose_backend("onnxruntime").write_smallest(tmp_path / "smallest")
    alone = peak(tmp_path / "smallest", 1)
    heavy = peak(with_weights(tmp_path / "heavy.onnx", 64), 8)
    # onnxruntime holds the weights once or a few times: as the file has them, and packed for its kernels.
    assert 64 * MIB <= heavy - alone <= 5 * 64 * MIB


def test_a_process_that_fails_is_ek614(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(ComparisonError, match=r"EK614 .*model\.onnx: the process .* failed .*EK102"):
        peak(tmp_path / "model.onnx", 8)
