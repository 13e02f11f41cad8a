"""Timing real models: what they are opened from, what is written, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

from edgekit.errors import ComparisonError, EdgekitError, ModelError, UsageError
from edgekit.models import Overrides
from edgekit.pipeline.bench import BENCH_FILE, BenchRequest, bench_models
from edgekit.results import BENCH_SCHEMA, Bench

TINY = Overrides(width=0.25, num_classes=10, input_size=32)


def benched(*models: str | Path | None, **options: Any) -> Bench:
    """Time models for as short as it goes."""
    named = tuple(None if model is None else str(model) for model in models)
    short: dict[str, Any] = {"threads": 1, "frames": 10, "budget_s": 0.5, "batches": (1,), "memory": False}
    return bench_models(BenchRequest(named, **{**short, **options}))


@pytest.fixture(scope="module")
def beside(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Path]:
    """An .onnx file, the checkpoint that it came from, and a tiny architecture for smaller images."""
    folder = tmp_path_factory.mktemp("bench") / "made"
    options = {"batches": (1, 4), "memory": True, "output": folder, "command": "edgekit bench …"}
    return benched(foreign, "mobilenet_v1", overrides=TINY, **options), folder


def test_files_and_architectures_are_timed_in_one_run(beside: tuple[Bench, Path], foreign: Path) -> None:
    bench, _ = beside
    first, tiny = bench.models
    assert (first.name, tiny.name) == (str(foreign), "mobilenet_v1")
    assert {model.runtime for model in bench.models} == {f"onnxruntime {onnxruntime.__version__}"}
    assert [model.threads for model in bench.models] == [1, 1]
    assert first.size_bytes == pytest.approx(foreign.stat().st_size, rel=0.01)
    assert (first.input_size, tiny.input_size) == (128, 32)
    for model in bench.models:
        assert len(model.samples_ms) >= 10
        assert 0 < model.frame_ms.p50 <= model.frame_ms.p90 <= model.frame_ms.p99
        assert [own.batch for own in model.throughput] == [1, 4]
    assert bench.noise.low < 1 < bench.noise.high
    assert tiny.speedup is not None
    assert tiny.speedup.value == pytest.approx(first.frame_ms.p50 / tiny.frame_ms.p50)
    assert isinstance(tiny.different, bool)


def test_the_larger_model_takes_more_memory(beside: tuple[Bench, Path]) -> None:
    first, tiny = (model.peak_memory_bytes for model in beside[0].models)
    assert first is not None
    assert tiny is not None
    assert 2_000_000 < first < 200_000_000
    assert tiny < first


def test_the_result_is_written_with_what_it_takes_to_read_it(beside: tuple[Bench, Path]) -> None:
    bench, folder = beside
    written = json.loads((folder / BENCH_FILE).read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(dataclasses.asdict(bench)))
    assert (written["schema"], written["command"]) == (BENCH_SCHEMA, "edgekit bench …")
    assert written["machine"]["versions"]["onnxruntime"] == onnxruntime.__version__


def test_models_for_different_images_are_noted(beside: tuple[Bench, Path]) -> None:
    assert any("images of different sizes (32, 128 pixels)" in note for note in beside[0].notes)


def test_without_a_name_it_is_the_model_that_ships_and_memory_can_be_left_out() -> None:
    (model,) = benched(None).models
    assert model.name == "the CIFAR-10 MobileNet that ships with edgekit"
    assert (model.speedup, model.different, model.peak_memory_bytes) == (None, None, None)


def test_torch_runs_the_module_of_a_checkpoint() -> None:
    bench = benched("mobilenet_v3_small", overrides=TINY, backend="torch", batches=(1, 2), memory=True)
    (model,) = bench.models
    assert model.runtime == f"torch {torch.__version__}"
    assert [own.batch for own in model.throughput] == [1, 2]
    assert model.peak_memory_bytes is not None


def test_a_file_of_one_batch_size_is_timed_at_that_alone(foreign: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    fixed = tmp_path / "fixed.onnx"
    onnx.save(model, fixed)
    bench = benched(foreign, fixed, batches=(1, 2))
    assert [[own.batch for own in model.throughput] for model in bench.models] == [[1, 2], []]
    assert f"{fixed} takes batches of 1 alone: it was timed at no other" in bench.notes


def test_torch_does_not_run_onnx(foreign: Path) -> None:
    with pytest.raises(ComparisonError, match=r"EK612 .*torch does not run ONNX"):
        benched(foreign, backend="torch")


def test_a_model_that_computes_nan_has_no_time(foreign: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign)
    model.graph.node.append(onnx.helper.make_node("Log", [model.graph.output[0].name], ["log"]))  # of negative logits
    model.graph.output[0].name = "log"
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    with pytest.raises(ComparisonError, match=r"EK613 .*broken\.onnx: the model computes NaN or infinity"):
        benched(broken)


def test_a_file_that_is_no_classifier_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="EK101"):
        benched(tmp_path / "none.onnx")


def asked(**options: Any) -> Callable[[], Bench]:
    return lambda: benched(None, **options)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (asked(budget_s=0.0), "EK001 --budget: 0.0 s is no time"),
        (asked(budget_s=float("nan")), "EK001 --budget: nan s is no time"),
        (asked(budget_s=float("inf")), "EK001 --budget: inf s is no time"),
        (asked(batches=()), "EK001 --batch: a batch has one image at least"),
        (asked(batches=(1, 0)), "EK001 --batch: a batch has one image at least"),
        (lambda: benched("model.onnx", overrides=TINY), "EK001 --arch: an .onnx file has its architecture in it"),
    ],
)
def test_options_without_meaning_are_ek001(call: Callable[[], Bench], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()


def test_an_output_that_cannot_be_written_is_found_before_anything_is_timed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgekitError, match="EK003"):
        benched(None, output=tmp_path / "file")
