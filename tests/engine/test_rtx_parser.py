"""NVIDIA's own ONNX parser and builder, run without a GPU, on what edgekit writes. No Jetson is involved."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.calibrate import collect, ranges
from edgekit.cli._main import run
from edgekit.engine import Verdict, check, lower
from edgekit.errors import UsageError
from edgekit.models import Overrides
from edgekit.pipeline.sources import open_source
from edgekit.quantize import FLAVOURS, quantize_static, tensors_to_calibrate
from edgekit.quantize import plan as plan_quantization
from edgekit.targets import Wishes, facts_of, load_card, opset_for, plan

pytest.importorskip("tensorrt_rtx_bindings", reason="needs tensorrt-rtx-cu13-bindings, which is for x86 Linux")
ARCHITECTURES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
SMALL = Overrides(input_size=32, num_classes=10, width=0.25)
# A strongly typed target gets FP16 in the file, a weakly typed one FP32 in the file and FP16 by flag: the same file for
# all architectures but for what is rewritten for its old opset. The command, below, checks V1 on it.
FLOAT_TARGETS = (*((name, "jetson-agx-orin") for name in ARCHITECTURES), ("mobilenet_v3_large", "jetson-nano"))


@functools.cache
def in_opset(architecture: str, opset: int | None) -> onnx.ModelProto:
    return open_source(architecture, SMALL, opset).model


def fp32(architecture: str, target: str) -> onnx.ModelProto:
    return in_opset(architecture, opset_for(load_card(target), Wishes()))


def quantized(architecture: str, target: str) -> onnx.ModelProto:
    model = fp32(architecture, target)
    flavour = FLAVOURS[plan(facts_of(model), load_card(target), Wishes("static")).flavour]
    tensors = tensors_to_calibrate(model, flavour)
    images = iter([np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)])
    summaries = collect(model, images, tensors, threads=1)
    return quantize_static(model, plan_quantization(model, ranges(summaries, "minmax", symmetric=True), flavour))[0]


def verdict(model: onnx.ModelProto, target: str, folder: Path) -> tuple[Verdict, onnx.ModelProto]:
    lowered, _ = lower(model, plan(facts_of(model), load_card(target), Wishes()))
    path = folder / "model.onnx"
    path.write_bytes(lowered.SerializeToString())
    return check(path), lowered


def reads(result: Verdict, lowered: onnx.ModelProto, *types: str) -> list[str | None]:
    return [result.inputs.get(node.name) for node in lowered.graph.node if node.op_type in types]


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "target"), FLOAT_TARGETS)
def test_every_architecture_is_accepted_in_float(architecture: str, target: str, tmp_path: Path) -> None:
    result, lowered = verdict(fp32(architecture, target), target, tmp_path)
    assert (result.accepted, result.unsupported, result.errors) == (True, (), ())
    assert result.engine_bytes is not None
    expected = "Half" if target == "jetson-agx-orin" else "Float"
    assert set(reads(result, lowered, "Conv")) == {expected}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "target"),
    [*((name, "jetson-orin-nano") for name in ARCHITECTURES), ("mobilenet_v2", "jetson-agx-xavier")],
)
def test_every_architecture_is_accepted_with_q_dq(architecture: str, target: str, tmp_path: Path) -> None:
    model = quantized(architecture, target)
    assert facts_of(model).symmetric
    result, _ = verdict(model, target, tmp_path)
    assert (result.accepted, result.unsupported, result.errors) == (True, (), ())


def test_what_the_parser_refuses_is_listed(tmp_path: Path) -> None:
    """A Q/DQ file for a CPU: its uint8 zero points are nothing for TensorRT."""
    model = fp32("mobilenet_v1", "jetson-orin-nano")
    tensors = tensors_to_calibrate(model)
    summaries = collect(model, iter([np.zeros((1, 3, 32, 32), np.float32)]), tensors, threads=1)
    path = tmp_path / "cpu.onnx"
    path.write_bytes(
        quantize_static(model, plan_quantization(model, ranges(summaries, "minmax")))[0].SerializeToString()
    )
    result = check(path)
    assert not result.accepted
    assert result.unsupported or result.errors


def test_a_crash_or_a_broken_file_is_a_verdict_not_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    result = check(path)
    assert not result.parsed
    assert result.errors
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(crash))
    assert check(path).errors == ("the process died with SIGSEGV",)


def test_without_the_packages_it_is_ek004(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.engine._rtx.PACKAGE", "no_such_package")
    with pytest.raises(UsageError, match=r"EK004 .*tensorrt-rtx-cu13-bindings.*edgekit\[rtx\]"):
        check(tmp_path / "model.onnx")


def test_the_command_says_what_its_word_is_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-engine", "--target", "jetson-nano"]) == 0
    out = capsys.readouterr().out
    assert "accepted by TensorRT-RTX" in out
    assert "for jetson-nano as fp16: 0 unsupported nodes; of its Conv and Gemm 28 read Float" in out
    assert "it is not the TensorRT of a Jetson" in out
    assert run(["check-engine", "--target", "jetson-nano", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["verdict"]["accepted"] is True
    assert facts["plan"]["opset"] == 13


def test_a_target_without_tensorrt_is_ek002(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check-engine", "--target", "cpu"]) == 2
    assert "EK002 --target: cpu has no TensorRT" in capsys.readouterr().err
