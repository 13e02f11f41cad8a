"""The program as a whole: its commands, its exit codes, and what it says when something is wrong."""

from __future__ import annotations

import inspect
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import edgekit, environment, python, refusal, started

import edgekit as package
from edgekit.cli._main import COMMANDS, implementation
from edgekit.pipeline.inspect import Inspection

PROMISED = [
    "models", "profile", "train", "prune", "export", "validate", "bench", "gate", "inspect", "targets", "check-engine",
    "build", "init", "run", "diff", "reproduce", "cache", "sweep", "doctor",
]  # fmt: skip


def test_help_lists_exactly_the_commands() -> None:
    text = edgekit("--help").out
    listed = re.findall(r"^│ ([a-z-]+) {2,}\w", text.partition("Commands")[2], re.MULTILINE)
    assert listed == PROMISED == list(COMMANDS)


@pytest.mark.parametrize("command", PROMISED)
def test_help_says_of_a_command_what_its_own_file_says(command: str) -> None:
    assert COMMANDS[command] == inspect.getdoc(implementation(command))


def test_no_arguments_show_the_help() -> None:
    assert edgekit() == edgekit("--help")
    assert edgekit().code == 0


def test_help_imports_no_heavy_package() -> None:
    program = """
import sys
from edgekit.cli._main import run
code = run(["--help"])
heavy = {"torch", "onnxruntime", "onnx", "numpy", "scipy", "PIL", "pydantic", "safetensors"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""
    outcome = python("-c", program)
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("command", PROMISED)
def test_every_command_explains_itself(command: str) -> None:
    outcome = edgekit(command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"Usage: edgekit {command}" in outcome.out
    assert "--json" in outcome.out


def test_python_m_edgekit_is_the_program() -> None:
    outcome = python("-m", "edgekit", "--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"edgekit {package.__version__}\n", "")
    refused = python("-m", "edgekit", "run", "no-such-file.toml")
    assert refusal(refused).startswith("EK011 no-such-file.toml: the pipeline file cannot be read: No such file")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["quantise"], "No such command 'quantise'"),
        (["export", "--quantized", "static"], "No such option: --quantized"),
        (["validate", "one.onnx"], "Missing argument"),
        (["train"], "Missing option '--data'"),
        (["export", "--threads", "two"], "Invalid value for '--threads'"),
        (["export", "--threads", "-1"], "Invalid value for '--threads'"),
        (["export", "--quantize", "int4"], "--quantize: 'int4' is not known; take one of none, dynamic, static, qat"),
        (["export", "--calibration-method", "best"], "--calibration-method: 'best' is not known"),
        (["export", "--calibration-samples", "0"], "--calibration-samples: the number is 0"),
        (["export", "--eval-samples", "0"], "--eval-samples: the number is 0"),
        (["export", "--padding", "same"], "--padding: 'same' is not known; take one of torch, tf_same"),
        (["export", "--mean", "1,2"], "--mean: '1,2' is not three numbers"),
        (["export", "--mean", "nan"], "--mean: 'nan' is not three numbers"),
        (["export", "--std", "0.5,0,0.5"], "--std: a standard deviation is not above 0"),
        (["export", "--resize", "31"], "--resize: images are resized to 31 pixels and then cropped to 128; take 128"),
        (["profile", "mobilenet_v2", "--width", "0"], "--width: the width multiplier is 0.0"),
        (["profile", "mobilenet_v2", "--input-size", "31"], "--input-size: the input size is 31"),
        (["profile", "mobilenet_v2", "--activation", "relu"], "--activation: mobilenet_v2 has activations of its own"),
        (["profile", "model.onnx"], "model.onnx: profile reads checkpoints"),
        (["train", "--data", "x", "--recipe", "adam"], "'adam'"),
    ],
)
def test_what_cannot_be_used_is_ek001(words: list[str], said: str, tmp_path: Path) -> None:
    outcome = edgekit(*words, *(["--output", tmp_path / "out"] if words[0] == "export" else []))
    line = refusal(outcome)
    assert line.startswith("EK001 ")
    assert said in line
    assert "; " in line
    assert outcome.out == ""
    assert not list(tmp_path.iterdir())


def test_a_refused_command_line_points_to_the_help_of_its_command() -> None:
    assert refusal(edgekit("export", "--nonsense")).endswith("; see edgekit export --help")
    assert refusal(edgekit("nonsense")).endswith("; see edgekit --help")


def test_with_json_an_error_is_json_too_and_still_one_line() -> None:
    outcome = edgekit("inspect", "absent.onnx", "--json")
    assert refusal(outcome).startswith("EK101 ")
    assert outcome.facts == {
        "error": {
            "code": "EK101",
            "what": "there is no such file",
            "where": "absent.onnx",
            "hint": "check the path",
        }
    }


def test_an_error_is_one_line_whatever_the_file_is_called() -> None:
    line = refusal(edgekit("inspect", "new\nline \x1b[2J.onnx"))
    assert "new line ?[2J.onnx" in line


def test_a_defect_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(path: Path, **options: object) -> Inspection:
        raise LookupError("first line\nsecond line")

    monkeypatch.setattr("edgekit.pipeline.inspect.inspect_model", defective)
    line = refusal(edgekit("inspect", "model.onnx"))
    assert line.startswith("EK999 LookupError: first line; this is a defect: please report it")


def test_a_defect_shows_its_traceback_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(path: Path, **options: object) -> Inspection:
        raise LookupError

    monkeypatch.setattr("edgekit.pipeline.inspect.inspect_model", defective)
    monkeypatch.setenv("EDGEKIT_TRACEBACK", "1")
    outcome = edgekit("inspect", "model.onnx")
    assert outcome.code == 2
    assert "in defective" in outcome.err
    assert "EK999 LookupError: no message" in outcome.err.splitlines()[-1]


def test_too_little_memory_is_ek006(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(path: Path, **options: object) -> Inspection:
        raise MemoryError

    monkeypatch.setattr("edgekit.pipeline.inspect.inspect_model", greedy)
    assert refusal(edgekit("inspect", "model.onnx")).startswith("EK006 the machine has too little memory")


def test_too_little_memory_for_torch_is_ek006_and_leaves_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (64 << 30, 64 << 30))

    words = ("mobilenet_v1", "--width", 0.25, "--input-size", 200_000, "--output", tmp_path / "out")
    line = refusal(python("-m", "edgekit", "export", *words, before=limit))
    assert line.startswith("EK006 the machine has too little memory")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_ek004() -> None:
    program = """
import sys
sys.modules["torch"] = None
from edgekit.cli._main import run
sys.exit(run(["inspect", "model.onnx", "--json"]))
"""
    outcome = python("-c", program)
    line = refusal(outcome)
    assert line.startswith("EK004 ")
    assert "torch" in line
    assert line.endswith("see edgekit doctor for what is missing and how to get it")
    assert outcome.facts["error"]["code"] == "EK004"


def test_ctrl_c_leaves_with_130_and_nothing_half_written(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = started("-m", "edgekit", "export", "--effort", "fast", "--calibration-samples", 8, "--output", output)
    while process.poll() is None and not list(output.glob(".edgekit-*/model.int8.onnx")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert err.split("\n")[-2] == "edgekit: interrupted; nothing was left half-written"
    assert "Traceback" not in err
    assert out == ""
    assert not output.exists()


def test_progress_is_drawn_on_the_standard_error_of_a_terminal_alone(tree: Path) -> None:
    terminal, end = os.openpty()
    words = [sys.executable, "-m", "edgekit", "profile", "--activations", str(tree), "--samples", "8", "--json"]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=end, env=environment())
    os.close(end)
    drawn = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert "running images" in drawn
    assert json.loads(done.stdout)["activations"]


def test_training_tells_its_epochs_on_standard_output_or_as_json(tree: Path, tmp_path: Path) -> None:
    words = ("train", "--data", tree, "--eval", tree, "--width", 0.25, "--input-size", 32, "--batch-size", 20)
    told = edgekit(*words, "--epochs", 2, "--output", tmp_path / "told")
    assert (told.code, told.err) == (0, "")
    assert [line[:11] for line in told.out.splitlines()[:2]] == ["epoch   1/2", "epoch   2/2"]
    assert told.out.splitlines()[-1] == f"wrote {tmp_path / 'told' / 'model.safetensors'}"
    outcome = edgekit(*words, "--epochs", 2, "--output", tmp_path / "json", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert [epoch["epoch"] for epoch in outcome.facts["history"]] == [1, 2]
    model = edgekit("profile", outcome.facts["checkpoint"], "--json").facts["model"]
    assert (model["width"], model["num_classes"], model["input_size"]) == (0.25, 10, 32)


def test_errors_say_the_same_as_json_and_as_a_line(tmp_path: Path) -> None:
    outcome = edgekit("profile", tmp_path, "--json")
    error = json.loads(outcome.out)["error"]
    assert refusal(outcome) == f"{error['code']} {error['where']}: {error['what']}; {error['hint']}"
    assert error["code"] == "EK102"
