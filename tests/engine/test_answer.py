"""`result.json` and the bundle that it answers: read as files of strangers, and found to belong together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_answers import SAMPLES, answer_as_computed, change, make, run_with_python, run_with_trtexec

from edgekit.engine import bundle_of, outputs_of, read_answer
from edgekit.errors import TargetError
from edgekit.spec import Preprocessing
from edgekit.targets import BuildPlan

Change = Callable[[dict[str, Any]], object]
CPU_PLAN = json.dumps(dataclasses.asdict(BuildPlan("cpu", "", "", "fp32", "cpu", 17, None, None))).encode()


def test_the_answer_of_run_sh_is_read(answered: Path) -> None:
    answer = read_answer(answered / "result.json")
    assert answer.bundle == hashlib.sha256((answered / "bundle.json").read_bytes()).hexdigest()
    assert (answer.tool, answer.device.model, answer.device.l4t, answer.device.compute_capability) == (
        "trtexec", "NVIDIA Jetson Nano Developer Kit", "32.7.1", "5.3",
    )  # fmt: skip
    assert answer.device.clocks == {"gpu_hz": 921600000}
    assert answer.engine.sha256 == hashlib.sha256((answered / "model.engine").read_bytes()).hexdigest()
    assert answer.engine.build_seconds == 12.5
    assert [len(run.times) for run in answer.runs] == [20, 20, 20]
    assert (answer.runs[0].times[0].computeMs, answer.runs[0].times[0].latencyMs) == (1.5, 2.0)
    assert answer.power is not None
    assert set(answer.power.samples) == {4321}


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0"])
def test_every_version_of_trtexec_gives_an_answer_that_is_read(carried: Path, version: str) -> None:
    target = {"11.4.0": "jetson-agx-orin"}.get(version, "jetson-nano")
    bundle = make(carried.parent / "newer", target)
    run_with_trtexec(bundle, "--samples-only", version=version)
    answer = read_answer(bundle / "result.json")
    assert (answer.device.tensorrt, answer.runs, answer.power) == (version, (), None)


def test_the_answer_of_runner_py_is_read(carried: Path) -> None:
    run_with_python(carried)
    answer = read_answer(carried / "result.json")
    assert (answer.tool, answer.device.model, answer.device.tensorrt, answer.power) == (
        "runner.py", None, "8.2.1", None,
    )  # fmt: skip
    assert len(outputs_of(answer, bundle_of(answer, [carried], where=""), where="")) == SAMPLES


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda content: content.update(schema=2), "schema: "),
        (lambda content: content.pop("engine"), "engine: Field required"),
        (lambda content: content.update(more=1), "more: Extra inputs"),
        (lambda content: content.update(bundle="../../etc"), "bundle: "),
        (lambda content: content.update(runs=content["runs"][:2]), "settings speak of 3 runs and there are 2"),
        (lambda content: content["runs"][1].update(times=[]), "runs.1.times: "),
        (lambda content: content["runs"][1]["times"][3].update(computeMs=0), "runs.1.times.3.computeMs: "),
        (lambda content: content["runs"][1]["times"][3].update(computeMs=float("nan")), "runs.1.times.3.computeMs: "),
        (lambda content: content["runs"][1]["times"][3].update(latencyMs=float("inf")), "runs.1.times.3.latencyMs: "),
        (lambda content: content["engine"].update(size_bytes=-1), "engine.size_bytes: "),
        (lambda content: content["engine"].update(build_seconds="12"), "engine.build_seconds: "),
        (lambda content: content["device"].update(model="x" * 301), "device.model: "),
        (lambda content: content["device"].update(tensorrt="8.2.1; rm"), "device.tensorrt: "),
        (lambda content: content["power"].update(unit="W"), "power.unit: "),
        (lambda content: content["power"].update(samples=[float("nan")]), "power.samples.0: "),
        (lambda content: content.update(runs=[], settings={**content["settings"], "runs": 0}), "nothing was timed"),
        (lambda content: content["outputs"].update({"000": [float("inf")]}), "outputs.000.0: "),
        (lambda content: content["outputs"].update({"000": [1e39]}), "outputs.000.0: "),
        (lambda content: content.update(outputs={}), "outputs: "),
    ],
)
def test_what_no_device_answers_is_ek720_and_the_field_is_named(
    answered: Path, tmp_path: Path, alter: Change, told: str
) -> None:
    with pytest.raises(TargetError) as caught:
        read_answer(change(answered / "result.json", alter, tmp_path / "changed.json"))
    assert caught.value.code == "EK720"
    assert told in caught.value.what


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\x00", b'{"schema":1', b"[" * 100_000])
def test_any_other_content_is_ek720(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(TargetError, match="EK720"):
        read_answer(path)


def test_a_missing_or_huge_answer_is_ek720(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"EK720 .*No such file"):
        read_answer(tmp_path / "result.json")
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate((128 << 20) + 1)
    with pytest.raises(TargetError, match=r"EK720 .*larger than 128 MiB"):
        read_answer(tmp_path / "huge.json")


def test_the_bundle_is_read_as_it_was_written(answered: Path) -> None:
    answer = read_answer(answered / "result.json")
    bundle = bundle_of(answer, [answered], where="result.json")
    assert (bundle.plan.target, bundle.plan.precision, bundle.plan.tensorrt) == ("jetson-nano", "fp16", "8.2.1")
    assert bundle.preprocessing == Preprocessing.from_json((answered / "preprocessing.json").read_text())
    size = bundle.preprocessing.input_size
    assert (bundle.names, bundle.samples.shape, bundle.expected.shape) == (
        ("000", "001", "002"), (SAMPLES, 3, size, size), (SAMPLES, 10),
    )  # fmt: skip
    # The stand-in for trtexec gives the beginning of each input, in six digits.
    found = outputs_of(answer, bundle, where="result.json")
    np.testing.assert_allclose(found, bundle.samples.reshape(SAMPLES, -1)[:, :10], rtol=1e-5)


def test_the_hash_decides_which_bundle_is_meant(answered: Path, tmp_path: Path) -> None:
    answer = read_answer(answered / "result.json")
    other = make(tmp_path / "other", samples=1)
    assert bundle_of(answer, [tmp_path, other, answered], where="").folder == answered
    with pytest.raises(TargetError, match=r"EK721 result.json: there is no bundle.json in .*--bundle"):
        bundle_of(answer, [tmp_path], where="result.json")
    with pytest.raises(TargetError, match=r"EK722 result.json: it answers another bundle"):
        bundle_of(answer, [tmp_path, other], where="result.json")


@pytest.mark.parametrize(
    "name",
    ["model.onnx", "plan.json", "preprocessing.json", "sample/001.bin", "sample/expected.json", "run.sh"],
)
def test_a_bundle_with_a_changed_or_missing_file_is_ek711(carried: Path, name: str) -> None:
    answer = read_answer(carried / "result.json")
    with (carried / name).open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(TargetError, match=f"EK711 .*{name}: "):
        bundle_of(answer, [carried], where="")
    (carried / name).unlink()
    with pytest.raises(TargetError, match=f"EK711 .*{name}: "):
        bundle_of(answer, [carried], where="")


def forge(bundle: Path, name: str, content: bytes, **facts: object) -> None:
    """Change a file of a bundle with all hashes that speak of it, as somebody with bad intent would."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "bundle.json").read_text()) | facts
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    change(bundle / "result.json", lambda answer: answer.update(bundle=digest))


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("plan.json", b"{}", {}),
        ("plan.json", b"\xff", {}),
        ("plan.json", CPU_PLAN, {}),
        ("preprocessing.json", b"{}", {}),
        ("preprocessing.json", b"\xff", {}),
        ("sample/expected.json", b'{"000": [1]}', {}),
        ("sample/expected.json", b'{"000": [NaN]}', {}),
        ("sample/expected.json", b'{"000": [1e39]}', {}),
        ("sample/001.bin", b"1234", {}),
        ("../outside", b"", {}),
        ("classes.txt", b"", {"schema": 2}),
        ("classes.txt", b"", {"samples": ["../../secret"]}),
        ("classes.txt", b"", {"samples": ["007"]}),
        ("classes.txt", b"", {"input": {"shape": [1, -3]}}),
    ],
)
def test_a_bundle_that_says_what_cannot_be_is_ek711(
    carried: Path, name: str, content: bytes, facts: dict[str, object]
) -> None:
    forge(carried, name, content, **facts)
    answer = read_answer(carried / "result.json")
    with pytest.raises(TargetError, match="EK711"):
        bundle_of(answer, [carried], where="")


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lambda content: content["outputs"].pop("001"), "EK723 .*outputs of 2 samples, the bundle 3"),
        (lambda content: content["outputs"].update({"007": [1.0]}), "EK723 .*outputs of 4 samples, the bundle 3"),
        (
            lambda content: content["outputs"].update({"001": [1.0]}),
            "EK723 .*sample 001 has 1 outputs and the model 10",
        ),
        (lambda content: content["outputs"].update({"001": [None] * 10}), "EK724 .*NaN or infinity for sample 001"),
    ],
)
def test_outputs_that_do_not_fit_the_samples_are_refused(
    answered: Path, tmp_path: Path, alter: Change, told: str
) -> None:
    answer = read_answer(change(answered / "result.json", alter, tmp_path / "changed.json"))
    bundle = bundle_of(answer, [answered], where="")
    with pytest.raises(TargetError, match=told):
        outputs_of(answer, bundle, where="result.json")


def test_outputs_come_in_the_order_of_the_bundle(answered: Path, tmp_path: Path) -> None:
    path = change(answered / "result.json", answer_as_computed(answered), tmp_path / "computed.json")
    bundle = bundle_of(read_answer(path), [answered], where="")
    change(path, lambda content: content.update(outputs=dict(reversed(content["outputs"].items()))))
    np.testing.assert_allclose(outputs_of(read_answer(path), bundle, where=""), bundle.expected, rtol=1e-5)
