"""The gate from files to verdict: against a baseline model, and against its committed answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_world import World, make_world

from edgekit.errors import ComparisonError, UsageError
from edgekit.pipeline.gate import GateOutcome, GateRequest, gate_models, read_baseline, update_baseline
from edgekit.results import GateResult
from edgekit.validate.gate import Limits, SizeLimit

Gate = Callable[..., GateOutcome]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def committed(world: World) -> Path:
    """The baseline, recorded on all images."""
    path = world.images.parent / "edgekit-baseline.json"
    update_baseline(GateRequest(str(world.baseline), committed=path, evaluation=world.images, threads=1))
    return path


def gate(world: World, candidate: Path, baseline: Path | None = None, **fields: Any) -> GateResult:
    wanted = {"evaluation": world.images, "threads": 1, **fields}
    return gate_models(GateRequest(str(candidate), None if baseline is None else str(baseline), **wanted)).result


def test_a_healthy_candidate_passes(world: World) -> None:
    limits = Limits(max_drop=1.0, min_agreement=95, max_size=SizeLimit(1.1, "ratio"))
    result = gate(world, world.healthy, world.baseline, limits=limits)
    assert result.outcome == "pass", result
    assert [check.name for check in result.checks] == ["max_drop", "min_agreement", "max_size"]
    assert 95 < result.checks[1].measured < 100, "some answers changed"
    assert result.images == f"1,000 images of {world.images}"


def test_a_broken_candidate_fails(world: World) -> None:
    result = gate(world, world.broken, world.baseline, limits=Limits(max_drop=1.0, min_agreement=95))
    assert [check.outcome for check in result.checks] == ["fail", "fail"]


def test_a_file_against_itself_passes_without_a_difference_on_however_few_images(world: World) -> None:
    limits = Limits(0.0, 100.0, SizeLimit(1.0, "ratio"), 1.0)
    result = gate(world, world.baseline, world.baseline, evaluation_samples=10, limits=limits)
    assert {check.outcome for check in result.checks} == {"pass"}
    assert result.checks[0].reason == result.checks[3].reason == "no difference: both are the same model"


def test_the_same_weights_in_another_file_are_the_same_model(world: World) -> None:
    result = gate(world, world.renamed, world.baseline, evaluation_samples=10, limits=Limits(max_drop=0.0))
    assert (result.outcome, result.checks[0].reason) == ("pass", "no difference: both are the same model")


def test_forty_images_are_inconclusive(world: World) -> None:
    assert gate(world, world.healthy, world.baseline, evaluation_samples=40).outcome == "inconclusive"


def test_the_comparison_carries_the_verdict(world: World) -> None:
    request = GateRequest(str(world.healthy), str(world.baseline), evaluation=world.images, evaluation_samples=100)
    outcome = gate_models(request)
    assert outcome.comparison is not None
    assert outcome.comparison.gate == outcome.result


def test_a_limit_of_speed_times_both(world: World) -> None:
    limits = Limits(min_speedup=1e-3)
    result = gate(world, world.healthy, world.baseline, evaluation_samples=10, limits=limits)
    assert result.outcome == "pass"
    assert result.checks[0].measured > 0


def test_the_committed_baseline_gives_the_verdict_of_the_model_itself(world: World, committed: Path) -> None:
    limits = Limits(max_drop=1.0, min_agreement=95, max_size=SizeLimit(1.1, "ratio"))
    for candidate in (world.healthy, world.broken):
        there = gate(world, candidate, world.baseline, limits=limits)
        stored = gate(world, candidate, committed=committed, limits=limits)
        assert stored.checks == there.checks
        assert stored.baseline == f"{world.baseline} (committed in {committed})"


def test_it_holds_what_the_model_answers_and_nothing_of_this_machine_but_its_names(
    world: World, committed: Path
) -> None:
    baseline = read_baseline(committed)
    correct = baseline.unpacked_correct()
    assert correct is not None
    assert len(correct) == baseline.images.count == 1000
    assert baseline.top1 == 100 * float(correct.mean())
    assert 85 < baseline.top1 < 95
    labels = np.load(world.images)["labels"]
    np.testing.assert_array_equal(baseline.unpacked_answers() == labels, correct)
    assert committed.stat().st_size < 8000


@pytest.mark.parametrize("candidate", ["baseline", "renamed"])
def test_the_recorded_model_passes_without_a_difference(world: World, candidate: str, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    update_baseline(
        GateRequest(str(world.baseline), committed=path, evaluation=world.images, evaluation_samples=10, threads=1)
    )
    result = gate(world, getattr(world, candidate), committed=path, evaluation_samples=10, limits=Limits(max_drop=0.0))
    assert (result.outcome, result.checks[0].reason) == ("pass", "no difference: both are the same model")


def test_a_baseline_recorded_beside_another_model_says_how_fast_it_was(world: World, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    request = GateRequest(
        str(world.healthy), str(world.baseline), path, evaluation=world.images, evaluation_samples=20, threads=1
    )
    speed = update_baseline(request).speed
    assert speed is not None
    value, low, high = speed.speedup
    assert low <= value <= high
    (note,) = [
        note for note in gate(world, world.healthy, committed=path, evaluation_samples=20).notes if "fast" in note
    ]
    assert f"as fast as {world.baseline}" in note


def test_without_labels_a_committed_baseline_still_judges_agreement(world: World, tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    update_baseline(GateRequest(str(world.baseline), committed=path, evaluation=world.unlabelled, threads=1))
    shared = {"committed": path, "evaluation": world.unlabelled}
    assert gate(world, world.healthy, limits=Limits(min_agreement=95), **shared).outcome == "pass"
    with pytest.raises(ComparisonError, match="EK635 max_drop"):
        gate(world, world.healthy, limits=Limits(max_drop=1), **shared)


def test_time_cannot_be_judged_without_the_model(world: World, committed: Path) -> None:
    with pytest.raises(ComparisonError, match=r"EK635 min_speedup: .*give the baseline's model too"):
        gate(world, world.healthy, committed=committed, limits=Limits(min_speedup=1))


def test_other_images_than_it_was_recorded_on_are_ek633(world: World, committed: Path) -> None:
    with pytest.raises(ComparisonError, match="EK633"):
        gate(world, world.healthy, committed=committed, evaluation_samples=500)
    with pytest.raises(ComparisonError, match=r"EK633 .*labels"):
        gate(world, world.healthy, committed=committed, evaluation=world.unlabelled)


def test_other_classes_are_ek634_before_any_image_is_read(world: World, committed: Path, tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match="EK634"):
        gate(world, world.other, committed=committed, evaluation=tmp_path / "absent")


def test_another_preprocessing_is_ek601(world: World, committed: Path) -> None:
    from edgekit.models import Overrides

    with pytest.raises(ComparisonError, match=r"EK601 .*preprocessing"):
        gate(world, world.healthy, committed=committed, overrides=Overrides(mean=(0.5, 0.5, 0.5)))


def test_no_baseline_is_ek630_and_says_how_to_make_one(world: World, tmp_path: Path) -> None:
    with pytest.raises(ComparisonError, match=r"EK630 .*edgekit gate --update MODEL"):
        gate(world, world.healthy, committed=tmp_path / "edgekit-baseline.json")


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_baseline_that_was_cut_short_is_ek631(world: World, committed: Path, tmp_path: Path, cut: int) -> None:
    short = tmp_path / "short.json"
    short.write_bytes(committed.read_bytes()[:cut])
    with pytest.raises(ComparisonError, match=r"EK631 .*short.json"):
        gate(world, world.healthy, committed=short)


def test_a_baseline_with_bytes_that_are_no_text_is_ek631(world: World, tmp_path: Path) -> None:
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ComparisonError, match="EK631"):
        gate(world, world.healthy, committed=path)


def test_a_baseline_of_a_newer_edgekit_is_ek632(world: World, committed: Path, tmp_path: Path) -> None:
    path = tmp_path / "newer.json"
    path.write_text(json.dumps({**json.loads(committed.read_text()), "schema": "edgekit.baseline/2"}))
    with pytest.raises(ComparisonError, match="EK632"):
        gate(world, world.healthy, committed=path)


def test_a_baseline_that_cannot_be_written_leaves_the_old_one(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UsageError, match="EK003"):
        update_baseline(
            GateRequest(str(world.baseline), committed=folder, evaluation=world.images, evaluation_samples=5, threads=1)
        )
    assert list(tmp_path.iterdir()) == [folder]
