"""Fitting an estimator to answers of devices. The stand-in for trtexec computes nothing: the flow is proved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import device_answers
import pytest

from edgekit.cli._main import run
from edgekit.errors import TargetError
from edgekit.pipeline.estimating import fit_results
from edgekit.targets import load_estimator


def with_times(carried: Path, factor: float, to: Path) -> Path:
    """Return a copy of an answered bundle whose device takes `factor` times as long."""
    folder = Path(shutil.copytree(carried, to))

    def slow(content: dict[str, object]) -> None:
        for one in content["runs"]:  # type: ignore[attr-defined]
            for time in one["times"]:
                time.update(computeMs=time["computeMs"] * factor, latencyMs=time["latencyMs"] * factor)

    return device_answers.change(folder / "result.json", slow)


def test_an_answer_moves_its_own_family_and_leaves_the_other(carried: Path, tmp_path: Path) -> None:
    before = load_estimator()
    fast = fit_results([carried / "result.json"], tmp_path / "fast.toml")
    slow = fit_results([with_times(carried, 50, tmp_path / "slow")], tmp_path / "slow.toml")
    assert load_estimator(tmp_path / "fast.toml") == fast
    (anchor,) = fast.family(False).anchors
    times = [time["computeMs"] for one in json.loads((carried / "result.json").read_text())["runs"]
             for time in one["times"]]  # fmt: skip
    assert min(times) <= anchor.measured_ms <= max(times)
    assert (anchor.target, anchor.precision, anchor.confidence) == ("jetson-nano", "fp16", "measured")
    assert anchor.source == "result.json of NVIDIA Jetson Nano Developer Kit"
    # Left out, it is estimated as the estimator before it did; fitted, the estimate comes nearer.
    assert abs(anchor.estimated_ms - anchor.measured_ms) < abs(anchor.left_out_ms - anchor.measured_ms)
    assert slow.family(False).launch_us > fast.family(False).launch_us
    assert fast.family(True) == before.family(True)


def test_a_fit_starts_from_an_earlier_one(carried: Path, tmp_path: Path) -> None:
    first = fit_results([carried / "result.json"], tmp_path / "a.toml")
    second = fit_results([carried / "result.json"], tmp_path / "b.toml", tmp_path / "a.toml")
    errors = [abs(one.family(False).anchors[0].estimated_ms - one.family(False).anchors[0].measured_ms)
              for one in (first, second)]  # fmt: skip
    assert errors[1] <= errors[0]


def test_an_answer_without_times_is_ek733_and_nothing_is_written(carried: Path, tmp_path: Path) -> None:
    result = device_answers.change(
        carried / "result.json",
        lambda content: content.update(runs=[], power=None, settings={**content["settings"], "runs": 0}),
    )
    with pytest.raises(TargetError, match=r"EK733 .*result\.json: the device timed nothing"):
        fit_results([result], tmp_path / "mine.toml")
    assert not (tmp_path / "mine.toml").exists()


def test_the_command_fits_writes_and_profiles_with_it(
    carried: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    words = ["profile", "--fit", str(carried / "result.json"), "--output", str(mine)]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "without tensor cores: " in out
    assert f"wrote {mine}; edgekit profile --target NAME --estimator takes it" in out
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["families"][0]["tensor_cores"] is False
    assert run(["profile", "--target", "jetson-nano", "--estimator", str(mine), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate"]["anchors"][0]["confidence"] == "measured"
    assert run([*words[:2], str(tmp_path / "none.json"), *words[3:]]) == 2
    assert "EK720" in capsys.readouterr().err
