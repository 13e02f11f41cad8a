"""`edgekit bench`: models timed in turns, beside the machine's own noise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import edgekit, refusal

SHORT = ("--threads", 1, "--frames", 10, "--budget", 0.5, "--no-memory", "--batch", "1,2")


def test_two_files_have_a_column_each_and_the_noise_floor_is_told(fp32: Path, int8: Path, tmp_path: Path) -> None:
    outcome = edgekit("bench", fp32, int8, *SHORT, "--output", tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["model.fp32.onnx", "model.int8.onnx"]
    heads = {line.split("  ")[0] for line in lines}
    assert {"size", "p50 a frame", "p99 a frame", "images/s at batch 1", "images/s at batch 2", "speed-up"} <= heads
    assert "peak memory" not in heads
    assert any(line.startswith("model.int8.onnx beside model.fp32.onnx: ") for line in lines)
    assert any(line.startswith("Noise floor: model.fp32.onnx beside itself ") for line in lines)
    assert lines[-1].startswith("wrote bench.json in ")


def test_json_is_what_the_file_holds(fp32: Path, tmp_path: Path) -> None:
    outcome = edgekit("bench", fp32, *SHORT, "--output", tmp_path, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.facts == json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert outcome.facts["command"].startswith(f"edgekit bench {fp32}")
    assert outcome.facts["models"][0]["name"] == str(fp32)
    assert outcome.facts["noise"]["low"] < 1 < outcome.facts["noise"]["high"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backend", "tflite"], "EK001 --backend: 'tflite' is not known; take one of onnxruntime, openvino, torch"),
        (["--provider", "rocm"], "EK001 --provider: 'rocm' is not known; take one of cpu, cuda, tensorrt"),
        (["--batch", "1;8"], "EK001 --batch: '1;8' is no list of batch sizes; write it as 1,8,32"),
        (["--batch", "0"], "EK001 --batch: a batch has one image at least"),
        (["--budget", "-1"], "EK001 --budget: -1.0 s is no time"),
        (["--frames", "0"], "EK001 Invalid value for '--frames'"),
    ],
)
def test_what_cannot_be_used_is_one_line(words: list[str], said: str) -> None:
    assert refusal(edgekit("bench", *words)).startswith(said)
