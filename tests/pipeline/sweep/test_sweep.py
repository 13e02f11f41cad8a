"""A sweep of the model that ships, from the file to the front: small, but all of it real."""

from __future__ import annotations

import dataclasses
import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.sweep import SweepOutcome, SweepRequest, Trial, require_feasible, sweep, write_sweep
from edgekit.pipeline.sweep._pieces import waiting_for

TEXT = """
[sweep]
trials = 4
objectives = ["agreement", "bytes"]

[space]
macs = [1.0, 0.5]
precision = ["none", "static"]

[images]
calibration_samples = 8
pruning_samples = 32
evaluation_samples = 60

[pruning]
widths = "uniform"
recover = "bn"

[halving]
smallest = 20
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "sweep.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def swept(file: Path, tmp_path_factory: pytest.TempPathFactory) -> SweepOutcome:
    """The sweep, interrupted after its second trial and then finished."""
    output = tmp_path_factory.mktemp("swept") / "out"

    def interrupt(trial: Trial) -> None:
        seen.append(trial)
        if len(seen) == 2:
            raise KeyboardInterrupt

    seen: list[Trial] = []
    with pytest.raises(KeyboardInterrupt):
        sweep(SweepRequest(file, output), on_trial=interrupt)
    again: list[Trial] = []
    outcome = sweep(SweepRequest(file, output), on_trial=again.append)
    assert [trial.number for trial in again[:2]] == [trial.number for trial in seen]
    write_sweep(outcome)
    return outcome


@pytest.fixture
def with_pieces(swept: SweepOutcome, tmp_path: Path) -> Iterator[Path]:
    """A folder for another sweep that finds the pieces of this one."""
    shutil.copytree(swept.output / "work", tmp_path / "out" / "work")
    yield tmp_path / "out"
    shutil.rmtree(tmp_path / "out")


def test_every_candidate_of_the_space_was_tried_once(swept: SweepOutcome) -> None:
    assert len({trial.candidate for trial in swept.trials}) == len(swept.trials) == 4


def test_the_baseline_is_what_the_others_are_measured_by(swept: SweepOutcome) -> None:
    assert swept.images == (20, 60)
    assert swept.baseline.agreement == (100.0, 100.0)
    assert swept.baseline.images == (20, 60)
    whole = next(trial for trial in swept.trials if trial.candidate.as_dict() == {
        "model": "shipped", "macs": 1.0, "precision": "none"
    })  # fmt: skip
    assert whole.measurement == swept.baseline


def test_int8_is_smaller_and_pruning_takes_multiply_adds(swept: SweepOutcome) -> None:
    found = {(trial.candidate.macs, trial.candidate.precision): trial.measurement for trial in swept.trials}
    assert found[1.0, "static"].bytes < 0.4 * found[1.0, "none"].bytes
    assert found[0.5, "none"].macs <= 0.5 * found[1.0, "none"].macs
    assert found[1.0, "static"].agreement[-1] > 90


def test_the_front_is_among_those_that_saw_all_images(swept: SweepOutcome) -> None:
    assert swept.front
    assert all(trial.measurement.images == (20, 60) for trial in swept.front)
    agreements = [trial.measurement.agreement[-1] for trial in swept.front]
    sizes = [trial.measurement.bytes for trial in swept.front]
    assert agreements == sorted(agreements, reverse=True)
    assert sizes == sorted(sizes, reverse=True)
    assert swept.area is not None
    assert 0 < swept.area < 1


def test_the_files_of_the_front_are_models_to_use(swept: SweepOutcome) -> None:
    facts = json.loads((swept.output / "front.json").read_text())
    assert [entry["number"] for entry in facts["front"]] == [trial.number for trial in swept.front]
    for entry in facts["front"]:
        name = "model.fp32.onnx" if entry["candidate"]["precision"] == "none" else "model.int8.onnx"
        file = Path(entry["folder"]) / name
        onnx.checker.check_model(onnx.load(file))
        assert file.stat().st_size == entry["bytes"]
        pruned = entry["candidate"]["macs"] < 1
        assert (Path(entry["folder"]) / "model.safetensors").exists() == pruned
        assert ("model.safetensors" in entry["command"]) == pruned
        assert f"--quantize {entry['candidate']['precision']}" in entry["command"]


def test_the_plot_has_a_dot_for_each_that_saw_all_images(swept: SweepOutcome) -> None:
    drawing = ET.parse(swept.output / "front.svg").getroot()
    dots = [element for element in drawing.iter() if element.tag.endswith("circle")]
    measured = sum(trial.state == "measured" for trial in swept.trials)
    assert len(dots) == measured + 1
    assert sum(dot.get("class") == "front" for dot in dots) == len(swept.front)
    (title,) = (element.text for element in drawing.iter() if element.tag.endswith("title"))
    assert title == "same answer as the baseline, % against size of the ONNX file, MB"


def test_the_same_sweep_again_makes_nothing_anew(swept: SweepOutcome, file: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (swept.output / "work").rglob("*") if path.suffix != ".lock"}
    assert dataclasses.replace(sweep(SweepRequest(file, swept.output)), output=swept.output) == swept
    after = {path: path.stat().st_mtime_ns for path in (swept.output / "work").rglob("*") if path.suffix != ".lock"}
    assert before == after


def test_no_candidate_within_the_limits_is_said_and_what_is_nearest(file: Path, with_pieces: Path) -> None:
    tight = file.with_name("tight.toml")
    tight.write_text(f"{TEXT}\n[constraints]\nmin_agreement = 95\nmax_bytes = 500_000\n")
    outcome = sweep(SweepRequest(tight, with_pieces))
    write_sweep(outcome)
    assert len(json.loads((with_pieces / "front.json").read_text())["trials"]) == 4
    assert not (with_pieces / "front").exists()
    with pytest.raises(UsageError, match=r"EK025 .*none of 4 candidates keeps the limits: trial \d is nearest"):
        require_feasible(outcome)


def test_for_one_objective_the_best_within_the_limits_is_kept(file: Path, with_pieces: Path) -> None:
    one = file.with_name("one.toml")
    text = TEXT.replace('["agreement", "bytes"]', '["bytes"]')
    one.write_text(f"{text}\n[constraints]\nmin_agreement = 90\n")
    outcome = sweep(SweepRequest(one, with_pieces))
    (best,) = outcome.front
    assert (best.candidate.macs, best.candidate.precision) == (1.0, "static")
    assert outcome.area is None


def test_time_is_measured_in_turns_with_the_baseline(file: Path, with_pieces: Path) -> None:
    timed = file.with_name("timed.toml")
    timed.write_text(TEXT.replace('"bytes"]', '"time"]').replace("trials = 4", "trials = 1"))
    (trial,) = sweep(SweepRequest(timed, with_pieces)).trials
    assert trial.measurement.frame_ms is not None
    mine, baseline = trial.measurement.frame_ms
    assert trial.measurement.time == pytest.approx(mine / baseline)


def test_a_candidate_that_cannot_be_made_is_one_of_the_results(
    file: Path, with_pieces: Path, write_text: Callable[[str], Path]
) -> None:
    impossible = write_text(
        TEXT.replace("macs = [1.0, 0.5]", "macs = [0.001]").replace('["none", "static"]', '["none"]')
    )
    (trial,) = sweep(SweepRequest(impossible, with_pieces)).trials
    assert trial.state == "failed"
    assert str(trial.measurement.failure).startswith("EK802")


@pytest.fixture
def write_text(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return path

    return write


def test_another_sweep_in_the_folder_is_not_disturbed(swept: SweepOutcome, file: Path) -> None:
    with waiting_for(swept.output / ".lock"), pytest.raises(UsageError, match="EK026"):
        sweep(SweepRequest(file, swept.output))


def test_another_sweep_file_in_the_folder_is_refused(swept: SweepOutcome, write_text: Callable[[str], Path]) -> None:
    other = write_text(TEXT.replace("evaluation_samples = 60", "evaluation_samples = 50"))
    with pytest.raises(UsageError, match="EK024"):
        sweep(SweepRequest(other, swept.output))
