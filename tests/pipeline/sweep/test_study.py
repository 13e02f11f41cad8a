"""Which candidate is proposed next: never the same twice, and after an interruption as if there had been none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.sweep._candidate import Candidate, Measurement, candidates
from edgekit.pipeline.sweep._settings import SpaceTable, SweepSettings
from edgekit.pipeline.sweep._study import Study, storage_in

SPACE = SpaceTable(macs=(1.0, 0.5), precision=("none", "dynamic", "static"), calibration_method=("minmax", "mse"))
ALL = 2 * (2 + 2)
IN_MEMORY = "sqlite://"


def settings(*objectives: str, **search: Any) -> SweepSettings:
    table = {"objectives": objectives, "trials": 12, **search}
    read = SweepSettings.model_validate({"sweep": table, "constraints": {"max_bytes": 900}})
    return read.model_copy(update={"space": SPACE})


def measured(candidate: Candidate) -> Measurement:
    """What a candidate might come to: the smaller, the worse."""
    size = {"none": 1000, "dynamic": 900, "static": 300}[candidate.precision]
    right = 100 * candidate.macs**0.2 - (4 if candidate.calibration_method == "minmax" else 0)
    return Measurement((right,), (right,), (50,), bytes=int(size * candidate.macs), macs=1, parameters=1)


def tried(study: Study, count: int) -> list[Candidate]:
    """Let a study have `count` candidates more tried; return them."""
    found = []
    for _ in range(count):
        proposal = study.propose()
        assert proposal is not None
        study.tell(proposal[0], measured(proposal[1]))
        found.append(proposal[1])
    return found


def test_the_space_has_every_candidate_once() -> None:
    everything = list(candidates(SPACE))
    assert len(everything) == len(set(everything)) == ALL
    assert all((each.effort is None) == (each.precision != "static") for each in everything)


SAMPLERS = [(("agreement", "bytes"), "auto"), (("bytes",), "auto"), (("agreement", "bytes"), "random")]


@pytest.mark.parametrize(("objectives", "sampler"), SAMPLERS)
def test_all_of_the_space_is_tried_and_nothing_twice(objectives: tuple[str, ...], sampler: str) -> None:
    study = Study(IN_MEMORY, settings(*objectives, sampler=sampler), 1, "these")
    assert len(set(tried(study, ALL))) == ALL
    assert study.propose() is None


@pytest.mark.parametrize(("objectives", "sampler"), SAMPLERS)
def test_an_interrupted_study_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, objectives: tuple[str, ...], sampler: str
) -> None:
    chosen = settings(*objectives, sampler=sampler)
    whole = tried(Study(IN_MEMORY, chosen, 1, "these"), 6)
    first = Study(storage_in(tmp_path), chosen, 1, "these")
    half = tried(first, 3)
    first.propose()  # and nobody ever tells what it came to
    again = Study(storage_in(tmp_path), chosen, 1, "these")
    assert [trial.candidate for trial in again.trials] == half
    assert [trial.measurement for trial in again.trials] == [measured(candidate) for candidate in half]
    assert half + tried(again, 3) == whole


def test_what_is_being_tried_is_not_proposed_again() -> None:
    study = Study(IN_MEMORY, settings("agreement", "bytes"), 1, "these")
    proposals = [study.propose() for _ in range(ALL)]
    assert len({proposal[1] for proposal in proposals if proposal is not None}) == ALL
    assert study.tried == ALL


def test_a_failed_candidate_is_kept_with_its_reason(tmp_path: Path) -> None:
    study = Study(storage_in(tmp_path), settings("bytes"), 1, "these")
    proposal = study.propose()
    assert proposal is not None
    study.tell(proposal[0], Measurement(failure="EK803 nothing would be left"))
    (trial,) = Study(storage_in(tmp_path), settings("bytes"), 1, "these").trials
    assert (trial.state, trial.measurement.failure) == ("failed", "EK803 nothing would be left")


def test_a_study_of_other_settings_is_refused(tmp_path: Path) -> None:
    Study(storage_in(tmp_path), settings("bytes"), 1, "these")
    with pytest.raises(UsageError, match="EK024"):
        Study(storage_in(tmp_path), settings("bytes"), 1, "those")


def test_a_storage_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EK003 .*the storage of the sweep cannot be used"):
        Study(storage_in(tmp_path / "nowhere"), settings("bytes"), 1, "these")


def test_without_optuna_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"EK004 .*pip install 'edgekit\[sweep\]'"):
        Study(storage_in(tmp_path), settings("bytes"), 1, "these")
