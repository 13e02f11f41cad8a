"""`edgekit validate BASELINE result.json`. Times come from stand-ins: the joining is proved, no device's number is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from device_answers import SAMPLES, answer_as_computed, change, make, run_with_python, run_with_trtexec

from edgekit.cli._main import run

MODEL = Path(__file__).parents[2] / "edgekit" / "assets" / "mobilenet_cifar10.safetensors"
Capture = pytest.CaptureFixture[str]


def facts(capsys: Capture, *words: object) -> Any:
    """Run `edgekit validate … --json` and return what it printed."""
    code = run(["validate", *map(str, words), "--json"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (0, "")
    return json.loads(printed.out)


def refusal(capsys: Capture, *words: object) -> str:
    """Run `edgekit validate …`, which must be refused in one line, and return it."""
    assert run(["validate", *map(str, words)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err.removeprefix("edgekit: ")


def scale_times(factor: float) -> Callable[[dict[str, Any]], None]:
    """Return a change that makes every frame of an answer take `factor` times as long."""

    def alter(content: dict[str, Any]) -> None:
        for timed in content["runs"]:
            for frame in timed["times"]:
                frame |= {name: frame[name] * factor for name in ("computeMs", "latencyMs")}

    return alter


def test_a_device_that_computes_what_the_file_computes_has_not_drifted_from_it(carried: Path, capsys: Capture) -> None:
    change(carried / "result.json", answer_as_computed(carried))
    found = facts(capsys, MODEL, carried)
    assert found["samples"] == SAMPLES
    assert found["against_file"]["agreement"]["value"] == 100
    # Six digits of logits around ten: rounding alone.
    assert 0 < found["against_file"]["max_abs_difference"] < 1e-4
    assert found["against_file"]["sqnr_db"]["value"] > 100
    # The FP32 checkpoint and the file lowered from it compute the same, but for rounding.
    assert found["against_baseline"]["agreement"]["value"] == 100
    assert found["against_baseline"]["max_abs_difference"] < 1e-3
    assert found["verdict"]["passed"]
    assert found["verdict"]["reason"].endswith("; no limit was given")
    assert [note["source"] for note in found["notes"]] == ["drift"]


def test_the_drift_is_that_of_the_numbers_themselves(carried: Path, capsys: Capture) -> None:
    bundle = carried
    outputs = json.loads((bundle / "result.json").read_text())["outputs"]
    device = np.array([outputs[name] for name in sorted(outputs)])
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    shape = (1, *session.get_inputs()[0].shape[1:])
    images = [np.fromfile(bundle / "sample" / f"{name}.bin", "<f4").reshape(shape) for name in sorted(outputs)]
    here = np.concatenate([session.run(None, {"input": image})[0] for image in images])
    found = facts(capsys, bundle / "model.onnx", bundle / "result.json")
    for section in ("against_file", "against_baseline"):
        assert found[section]["max_abs_difference"] == pytest.approx(np.abs(here - device).max(), rel=1e-4)
        noise = 10 * np.log10(np.square(here).sum() / np.square(here - device).sum())
        assert found[section]["sqnr_db"]["value"] == pytest.approx(noise, rel=1e-4)
    assert "computes something else than the file" in found["notes"][-1]["text"]


def test_time_engine_device_and_power_are_those_of_the_answer(carried: Path, capsys: Capture) -> None:
    found = facts(capsys, carried / "model.onnx", carried)
    answer = json.loads((carried / "result.json").read_text())
    times = found["times"]
    assert times["frames"] == 60
    assert times["compute"] == {
        "frame_ms": {"p50": 1.5, "p90": 1.5, "p99": 1.5}, "run_medians_ms": [1.5] * 3, "spread_percent": 0,
    }  # fmt: skip
    assert times["end_to_end"]["frame_ms"]["p50"] == 2.0
    assert found["device"] == answer["device"]
    assert found["engine"] | {"file": "model.engine"} == answer["engine"]
    assert found["settings"] == answer["settings"]
    assert (found["target"], found["plan"]["precision"], found["tool"]) == ("jetson-nano", "fp16", "trtexec")
    power = found["power"]
    assert (power["rail"], power["whole_module"], power["mean_w"]) == ("POM_5V_IN", True, pytest.approx(4.321))
    # 4.321 W for 2 ms
    assert power["energy_mj"] == pytest.approx(8.642)
    assert "loading of the engine" in power["assumed"]


def test_a_cpu_is_never_compared_with_a_device_in_speed(carried: Path, capsys: Capture) -> None:
    baseline = facts(capsys, carried / "model.onnx", carried)["baseline"]
    assert baseline["is_result"] is False
    assert (baseline["times"], baseline["speedup"], baseline["differences"]) == (None, None, [])


def test_two_answers_of_one_device_give_a_speed_up_with_its_range(carried: Path, capsys: Capture) -> None:
    slow = change(carried / "result.json", scale_times(2), carried / "slow.json")
    found = facts(capsys, slow, carried / "result.json")
    ratio = {"value": 2.0, "low": 2.0, "high": 2.0}
    assert found["baseline"]["speedup"] == {"compute": ratio, "end_to_end": ratio}
    assert found["baseline"]["times"]["compute"]["frame_ms"]["p50"] == 3.0
    assert found["against_baseline"]["agreement"]["value"] == 100
    assert found["against_baseline"]["sqnr_db"]["value"] == 150


@pytest.mark.parametrize(
    ("part", "change_to", "told"),
    [
        ("device", {"model": "NVIDIA Jetson TX2"}, "device: NVIDIA Jetson TX2 and NVIDIA Jetson Nano Developer Kit"),
        ("device", {"compute_capability": "6.2"}, "compute capability: 6.2 and 5.3"),
        ("device", {"nvpmodel": "5W"}, "power mode: 5W and unknown"),
        ("device", {"clocks": {"gpu_hz": 640000000}}, "clock gpu_hz: 640000000 and 921600000"),
        ("device", {"clocks": {}}, "clock gpu_hz: unknown and 921600000"),
        ("settings", {"cuda_graph": True}, "CUDA graph: True and False"),
    ],
)
def test_other_conditions_are_told_instead_of_a_speed_up(
    carried: Path, capsys: Capture, part: str, change_to: dict[str, object], told: str
) -> None:
    other = change(carried / "result.json", lambda answer: answer[part].update(change_to), carried / "other.json")
    found = facts(capsys, other, carried / "result.json")
    assert (found["baseline"]["speedup"], found["baseline"]["differences"]) == (None, [told])
    assert run(["validate", str(other), str(carried)]) == 0
    assert "Speed-up: none is stated" in capsys.readouterr().out


def test_other_software_on_one_device_is_a_note_beside_the_speed_up(carried: Path, capsys: Capture) -> None:
    other = change(
        carried / "result.json", lambda answer: answer["device"].update(tensorrt="8.0.1"), carried / "other.json"
    )
    found = facts(capsys, carried, other)
    assert found["baseline"]["speedup"] is not None
    texts = [note["text"] for note in found["notes"]]
    assert "TensorRT is 8.0.1 and not 8.2.1, which the plan was for" in texts
    assert "the two ran with different TensorRT: 8.2.1 and 8.0.1" in texts


def test_runner_py_without_a_board_says_what_is_missing(carried: Path, capsys: Capture) -> None:
    run_with_python(carried)
    found = facts(capsys, carried, carried)
    assert (found["device"]["model"], found["power"], found["tool"]) == (None, None, "runner.py")
    texts = [note["text"] for note in found["notes"]]
    assert any("no warm-up" in text for text in texts)
    assert any("neither answer names its device" in text for text in texts)


def test_without_timing_there_are_no_times(carried: Path, capsys: Capture) -> None:
    run_with_trtexec(carried, "--samples-only")
    found = facts(capsys, carried / "model.onnx", carried)
    assert (found["times"], found["power"], found["engine"]["build_seconds"]) == (None, None, None)
    assert run(["validate", str(carried / "model.onnx"), str(carried)]) == 0
    assert "only the samples were run" in capsys.readouterr().out


def test_the_loss_of_agreement_decides_the_exit_code(carried: Path, capsys: Capture) -> None:
    words = ["validate", str(carried / "model.onnx"), str(carried / "result.json"), "--max-drop", "10"]
    # The stand-in's outputs are those of no classifier.
    assert run(words) == 1
    assert "FAIL: agreement (there are no labels) fell by" in capsys.readouterr().out
    change(carried / "result.json", answer_as_computed(carried))
    assert run(words) == 0
    assert "pass: agreement" in capsys.readouterr().out


def test_the_report_is_written_as_it_is_printed(carried: Path, tmp_path: Path, capsys: Capture) -> None:
    found = facts(capsys, carried / "model.onnx", carried, "--output", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == found
    assert found["schema"] == "edgekit.device-report/1"
    assert found["command"].startswith("edgekit validate ")
    (tmp_path / "file").touch()
    assert refusal(capsys, MODEL, carried, "--output", tmp_path / "file").startswith("EK003 ")


def test_the_bundle_can_lie_elsewhere(carried: Path, tmp_path: Path, capsys: Capture) -> None:
    moved = (carried / "result.json").rename(tmp_path / "nano.json")
    assert refusal(capsys, MODEL, moved).startswith(f"EK721 {moved}: ")
    assert facts(capsys, carried / "model.onnx", moved, "--bundle", carried)["samples"] == SAMPLES
    assert facts(capsys, moved, moved, "--bundle", carried)["baseline"]["is_result"] is True
    other = make(tmp_path / "other", samples=1)
    assert refusal(capsys, MODEL, moved, "--bundle", other).startswith(f"EK722 {moved}: ")


def test_answers_to_different_samples_are_ek725(carried: Path, tmp_path: Path, capsys: Capture) -> None:
    other = make(tmp_path / "other", samples=2)
    run_with_trtexec(other, "--samples-only")
    assert refusal(capsys, other, carried).startswith(f"EK725 {other} and {carried}: ")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["mobilenet_v1"], "the models differ in classes: 1000 and 10"),
        ([MODEL, "--mean", "0.4"], "the models differ in preprocessing"),
    ],
)
def test_a_baseline_of_another_task_is_ek601(answered: Path, capsys: Capture, flags: list[object], told: str) -> None:
    line = refusal(capsys, *flags[:1], answered, *flags[1:])
    assert line.startswith("EK601 ")
    assert told in line


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((MODEL, "BUNDLE", "--eval", "images"), "--eval"),
        ((MODEL, "BUNDLE", "--eval-samples", 3), "--eval-samples"),
        ((MODEL, MODEL, "--bundle", "BUNDLE"), "--bundle"),
        ((MODEL, "BUNDLE", "--need", 1), "--need"),
        ((MODEL, "BUNDLE", "--no-timing"), "--no-timing"),
        ((MODEL, "BUNDLE", "--diagnose"), "--diagnose"),
        ((MODEL, "BUNDLE", "--html", "page.html"), "--html"),
        (("BUNDLE", MODEL), "turn them round"),
    ],
)
def test_options_that_do_not_apply_are_ek001(
    answered: Path, capsys: Capture, words: tuple[object, ...], option: str
) -> None:
    line = refusal(capsys, *(answered if word == "BUNDLE" else word for word in words))
    assert line.startswith("EK001 ")
    assert option in line


def test_a_bundle_without_an_answer_and_an_unreadable_answer_are_ek720(
    tmp_path: Path, answered: Path, capsys: Capture
) -> None:
    assert refusal(capsys, MODEL, make(tmp_path / "new", samples=1)).startswith(f"EK720 {tmp_path}/new/result.json: ")
    (tmp_path / "other.json").write_text("{}")
    assert refusal(capsys, MODEL, tmp_path / "other.json").startswith("EK720 ")
    assert refusal(capsys, tmp_path / "other.json", answered).startswith("EK720 ")


def test_the_terminal_shows_what_was_found(answered: Path, capsys: Capture) -> None:
    assert run(["validate", str(answered / "model.onnx"), str(answered)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for part in (
        "the same file on a CPU the baseline",
        "compute 1.50 ms 1.50 ms 1.50 ms 0.0 %",
        "end to end 2.00 ms 2.00 ms 2.00 ms 0.0 %",
        "Device: NVIDIA Jetson Nano Developer Kit, compute capability 5.3, L4T 32.7.1, CUDA 10.2, TensorRT 8.2.1",
        "Engine: fp16, 3.14 MB, built in 12.5 s",
        "4.32 W at POM_5V_IN",
        "8.64 mJ a frame",
        "Drift: on 3 samples",
    ):
        assert part in out
