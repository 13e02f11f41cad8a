"""The files of an export: all of them or none, and never beside those of another run."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.data import ImageSet
from edgekit.errors import DataError, EdgekitError, UsageError
from edgekit.models import Overrides, load
from edgekit.pipeline.export import export_model
from edgekit.pipeline.job import ExportRequest
from edgekit.report import read
from edgekit.spec import Precision

Archive = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(earlier: Path, tmp_path: Path) -> Path:
    """A folder with the files of an earlier export."""
    return shutil.copytree(earlier, tmp_path / "out")


class Steps:
    """Listens to progress as a progress bar does."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.total: dict[str, int | None] = {}

    def __call__(self, title: str, total: int | None) -> Callable[[int], None]:
        self.done[title], self.total[title] = 0, total

        def advance(amount: int) -> None:
            self.done[title] += amount

        return advance


def test_the_report_that_is_returned_is_the_one_that_is_written(narrow: Path, tmp_path: Path) -> None:
    steps = Steps()
    request = ExportRequest(narrow, tmp_path / "a" / "b", calibration_samples=12, evaluation_samples=20, threads=1)
    report = export_model(request, progress=steps)
    assert read(tmp_path / "a" / "b" / "report.json") == report
    assert {"calibrating": 12, "evaluating": 20, "timing": None}.items() <= steps.total.items()
    assert (steps.done["calibrating"], steps.done["evaluating"]) == (12, 20)
    assert steps.done["timing"] >= 10


def test_after_an_error_in_the_middle_the_files_of_the_earlier_run_are_as_they_were(
    folder: Path, images: ImageSet, archive: Archive
) -> None:
    """Calibration is done and the models lie staged when the second broken image of a hundred is met."""
    before = contents(folder)
    evaluation = archive(images, "evaluation.zip", broken=[70, 71])
    steps = Steps()
    request = ExportRequest(None, folder, calibration_samples=8, evaluation=evaluation, threads=1, effort="fast")
    with pytest.raises(DataError, match=r"EK203 .*2 of 100 images are broken so far"):
        export_model(request, progress=steps)
    assert steps.done["calibrating"] == 8
    assert steps.done["evaluating"] == 64
    assert contents(folder) == before
    assert not list(folder.glob(".*"))


def test_after_an_error_nothing_of_a_new_run_is_left(tmp_path: Path, images: ImageSet, archive: Archive) -> None:
    evaluation = archive(images, "evaluation.zip", broken=[70, 71])
    output = tmp_path / "new"
    with pytest.raises(DataError, match="EK203"):
        export_model(ExportRequest(None, output, quantize="none", evaluation=evaluation, threads=1))
    assert not output.exists()


def test_broken_calibration_images_are_ek203(tmp_path: Path, images: ImageSet, archive: Archive) -> None:
    calibration = archive(images, "calibration.zip", broken=range(50, 100))
    with pytest.raises(DataError, match="EK203"):
        export_model(ExportRequest(None, tmp_path / "out", calibration=calibration, threads=1))
    assert not (tmp_path / "out").exists()


def test_one_broken_calibration_image_is_counted_and_not_said_to_have_set_a_range(
    narrow: Path, tmp_path: Path, images: ImageSet, archive: Archive
) -> None:
    calibration = archive(images, "calibration.zip", broken=[99])
    request = ExportRequest(
        narrow, tmp_path / "out", calibration=calibration, calibration_samples=100, evaluation_samples=8, threads=1,
        effort="fast",
    )  # fmt: skip
    report = export_model(request)
    assert report.data.calibration is not None
    assert (report.data.calibration.n, report.data.calibration.broken) == (99, 1)
    assert len(report.quantization.calibration_images) == 99
    assert not any("0099" in name for name in report.quantization.calibration_images)


def test_a_rerun_without_quantization_removes_the_int8_model_of_the_earlier_run(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    request = ExportRequest(None, folder, quantize="none", evaluation_samples=8, threads=1)
    assert export_model(request).int8 is None
    assert sorted(contents(folder)) == ["model.fp32.onnx", "notes.txt", "preprocessing.json", "report.json"]


def test_the_same_request_gives_the_same_bytes(narrow: Path, tmp_path: Path) -> None:
    # Without mixed precision: it is chosen by time, which is another in every run.
    requests = (
        ExportRequest(
            narrow, tmp_path / name, calibration_samples=16, evaluation_samples=20, threads=1, mixed=False, seed=3
        )
        for name in ("one", "other")
    )
    first, second = (export_model(request) for request in requests)
    assert first.int8 is not None
    assert second.int8 is not None
    assert (first.fp32.sha256, first.int8.sha256) == (second.fp32.sha256, second.int8.sha256)
    assert first.drift == second.drift
    assert first.quantization.layers == second.quantization.layers
    assert [(rung.name, rung.kl, rung.kept) for rung in first.quantization.rungs] == [
        (rung.name, rung.kl, rung.kept) for rung in second.quantization.rungs
    ]


def test_calibration_is_used_again_when_model_and_images_are_the_same(narrow: Path, tmp_path: Path) -> None:
    request = ExportRequest(narrow, tmp_path, calibration_samples=16, evaluation_samples=20, threads=1, effort="fast")
    first, second = export_model(request), export_model(request)
    assert first.int8 is not None
    assert second.int8 is not None
    assert first.int8.sha256 == second.int8.sha256
    assert not any("used again" in note.text for note in first.notes)
    assert any("used again" in note.text for note in second.notes)
    other = export_model(dataclasses.replace(request, calibration_samples=17))
    assert not any("used again" in note.text for note in other.notes)


def test_a_goal_that_no_percentage_is_is_ek001(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="EK001 --max-drop: 101 is no percentage"):
        export_model(ExportRequest(None, tmp_path, max_drop=101))


def test_a_folder_in_the_way_of_a_file_is_ek003_and_the_rest_stays(folder: Path) -> None:
    (folder / "model.int8.onnx").unlink()
    (folder / "model.int8.onnx").mkdir()
    before = contents(folder)
    with pytest.raises(UsageError, match=r"EK003 .*model\.int8\.onnx: cannot write: a folder of this name"):
        export_model(ExportRequest(None, folder))
    assert contents(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_ek003(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="EK003"):
        export_model(ExportRequest(None, locked / "out"))


@pytest.mark.parametrize("quantize", ["static", "dynamic"])
def test_a_foreign_onnx_file_is_exported_with_what_the_user_says(
    foreign: Path, tmp_path: Path, images: ImageSet, archive: Archive, quantize: str
) -> None:
    preprocessing = load(None).preprocessing
    said = Overrides(mean=preprocessing.mean, std=preprocessing.std, resize=preprocessing.resize)
    path = archive(images, "images.zip")
    request = ExportRequest(
        foreign, tmp_path / "out", quantize=quantize, overrides=said,  # type: ignore[arg-type]
        calibration=path, calibration_samples=20, evaluation=path, threads=1, effort="fast",
    )  # fmt: skip
    report = export_model(request)
    static = quantize == "static"
    assert report.model.spec is None
    assert report.verification is None
    assert report.fp32.n == (80 if static else 100)
    assert report.quantization.excluded_from_evaluation == (20 if static else 0)
    assert report.drift is not None
    assert report.drift.agreement.value >= 90
    in_float = {layer.op_type for layer in report.quantization.layers if layer.precision is Precision.FLOAT}
    assert ("Conv" in in_float) is not static


def test_a_foreign_onnx_file_of_one_image_at_a_time_keeps_the_names_that_its_users_feed(
    foreign: Path, tmp_path: Path
) -> None:
    model = onnx.load(foreign)
    model.graph.input[0].name = "x"
    for node in model.graph.node:
        node.input[:] = ["x" if name == "input" else name for name in node.input]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "fixed.onnx"
    onnx.save(model, path)
    request = ExportRequest(path, tmp_path / "out", quantize="none", threads=1)
    report = export_model(request)
    written = onnx.load(tmp_path / "out" / report.fp32.path)
    assert [value.name for value in (*written.graph.input, *written.graph.output)] == ["x", "output"]
    assert report.fp32.top1 is None
    assert [note.text for note in report.notes if note.source == "data"] == [
        "accuracy and drift were not measured: give --eval"
    ]


def test_a_class_order_of_its_own_gives_the_same_accuracy(
    smaller: Path, tmp_path: Path, images: ImageSet, archive: Archive
) -> None:
    """Folders sort differently from the model's classes when they are called by other names in classes.txt."""
    straight = export_model(
        ExportRequest(smaller, tmp_path / "one", quantize="none", evaluation=archive(images, "one.zip"), threads=1)
    )
    tree = tmp_path / "tree"
    assert images.class_names is not None
    assert images.labels is not None
    for index, label in enumerate(images.labels):
        place = tree / f"{9 - label}" / f"{index}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(images.encoded(index))
    lines = [f"{9 - label} {name}" for label, name in enumerate(images.class_names)]
    (tree / "classes.txt").write_text("\n".join(lines))
    renamed = export_model(ExportRequest(smaller, tmp_path / "two", quantize="none", evaluation=tree, threads=1))
    assert renamed.fp32.top1 == straight.fp32.top1
    assert renamed.fp32.n == 100


def test_every_refusal_before_work_leaves_no_folder(tmp_path: Path) -> None:
    output = tmp_path / "out"
    requests = {
        "EK002": ExportRequest(None, output, target="jetson-mars"),
        "EK001": ExportRequest(None, output, evaluation_samples=0),
        "EK101": ExportRequest(tmp_path / "absent.onnx", output),
        "EK201": ExportRequest(None, output, evaluation=tmp_path / "absent"),
        "EK401": ExportRequest(None, output, opset=7),
    }
    for code, request in requests.items():
        with pytest.raises(EdgekitError) as caught:
            export_model(request)
        assert caught.value.code == code
        assert not output.exists()


def test_images_of_one_colour_give_no_range_worth_quantizing_to_and_do_not_crash(narrow: Path, tmp_path: Path) -> None:
    path = tmp_path / "grey.npz"
    np.savez(path, images=np.full((8, 32, 32, 3), 128, np.uint8))
    request = ExportRequest(narrow, tmp_path / "out", calibration=path, evaluation_samples=20, threads=1)
    report = export_model(request)
    assert report.int8 is not None
    assert report.int8.n == 20
