"""A run makes what is not there, takes what is, and leaves the bytes that the commands leave."""

from __future__ import annotations

import io
import json
import resource
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import onnx
import pytest
from pipelines import bytes_of, facts, made, run, snapshot, write

from edgekit.data import ImageSet, sample
from edgekit.errors import EdgekitError, UsageError
from edgekit.files import sha256_of
from edgekit.pipeline.export import export_model
from edgekit.pipeline.job import ExportRequest
from edgekit.pipeline.profile import profile_model
from edgekit.pipeline.run import RunOutcome, RunRequest, StageOutcome, load_pipeline, run_pipeline

Finished = tuple[Path, RunOutcome]


def stage(outcome: RunOutcome, name: str) -> StageOutcome:
    return next(each for each in outcome.stages if each.stage == name)


def test_a_run_leaves_one_folder_a_stage_and_one_line_a_model(smaller: Path, finished: Finished) -> None:
    path, outcome = finished
    assert made(outcome) == ["baseline", "quantize", "validate"], "the baseline is the export: nothing is pruned"
    assert [each.stage for each in outcome.stages] == ["baseline", "export", "quantize", "validate"]
    output = path.parent / "edgekit-run"
    assert (output / "export" / "model.fp32.onnx").is_file()
    assert (output / "quantize" / "model.int8.onnx").is_file()
    baseline, export, quantized = outcome.lines
    profile = profile_model(smaller).profile
    assert (baseline.macs, baseline.parameters) == (profile.macs, profile.parameters)
    assert (quantized.macs, quantized.parameters) == (baseline.macs, baseline.parameters)
    assert quantized.size_bytes == (output / "quantize" / "model.int8.onnx").stat().st_size < 0.35 * export.size_bytes
    assert baseline.images == quantized.images == 60
    assert baseline.agreement is None
    assert quantized.agreement is not None
    assert quantized.agreement > 90
    assert quantized.speedup is not None
    comparison = facts(output / "validate" / "comparison.json")
    assert comparison["verdict"]["passed"] is True
    assert outcome.passed


def test_the_files_are_those_of_the_command(smaller: Path, finished: Finished, tmp_path: Path) -> None:
    request = ExportRequest(
        smaller, tmp_path, effort="fast", mixed=False, calibration_samples=24, evaluation_samples=20, threads=1
    )
    export_model(request)
    quantized = stage(finished[1], "quantize")
    assert set(quantized.same) == {
        "model.fp32.onnx", "model.int8.onnx", "preprocessing.json", "calibration.safetensors",
    }  # fmt: skip
    for name in quantized.same:
        assert (quantized.folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_second_run_makes_nothing_writes_nothing_and_does_not_load_torch(copy: Callable[[], Path]) -> None:
    path = copy()
    before = snapshot(path.parent, leave_out=["hashes.sqlite", ".edgekit-running"])
    script = f"""
import sys
from edgekit.cli._main import run
code = run(["run", {str(path)!r}])
heavy = set(sys.modules) & {{"torch", "onnx", "onnxruntime", "scipy", "numpy"}}
sys.exit(code or bool(heavy))
"""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as before") == 4
    # Work of the processor, which a busy machine does not stretch as it stretches time.
    assert spent.ru_utime + spent.ru_stime - used.ru_utime - used.ru_stime < 2.0
    assert snapshot(path.parent, leave_out=["hashes.sqlite", ".edgekit-running"]) == before


def test_another_option_makes_its_stage_and_those_after_it_again(copy: Callable[[], Path], finished: Finished) -> None:
    path = copy()
    again = run(path, "quantize.calibration_method=mse")
    assert made(again) == ["quantize", "validate"]
    assert stage(again, "quantize").files != stage(finished[1], "quantize").files
    same = run(path, "quantize.qat_steps=7")
    assert made(same) == ["quantize"], "it came to the same bytes, so nothing after it is made again"
    back = run(path)
    assert made(back) == [], "what was made before is still there"
    assert bytes_of(back) == bytes_of(finished[1])


def test_a_stage_is_made_again_from_where_it_is_asked(copy: Callable[[], Path], finished: Finished) -> None:
    path = copy()
    again = run(path, "validate.html=true", start_from="validate")
    assert made(again) == ["validate"]
    assert (
        (path.parent / "edgekit-run" / "validate" / "comparison.html").read_text().lower().startswith("<!doctype html>")
    )
    assert bytes_of(again) == bytes_of(finished[1])
    with pytest.raises(UsageError, match="EK010 --from: the pipeline has no stage 'prune'; take one of baseline, "):
        run(path, start_from="prune")


def test_a_damaged_result_is_made_again_and_said_so(copy: Callable[[], Path], finished: Finished) -> None:
    path = copy()
    victim = next(path.parent.glob(".edgekit/entries/validate-*/comparison.json"))
    victim.write_text("{}")
    again = run(path)
    assert made(again) == ["validate"]
    assert any(note.startswith("EK014 ") and "comparison.json was changed" in note for note in again.notes)
    assert run(path).notes == ()


def test_a_result_that_was_changed_or_removed_by_hand_is_put_back(copy: Callable[[], Path], finished: Finished) -> None:
    path = copy()
    output = path.parent / "edgekit-run"
    (output / "quantize" / "model.int8.onnx").write_bytes(b"mine")
    (output / "export" / "model.fp32.onnx").unlink()
    again = run(path)
    assert made(again) == []
    assert bytes_of(again) == bytes_of(finished[1])


def test_results_of_a_stage_that_is_no_longer_run_go(copy: Callable[[], Path]) -> None:
    path = copy()
    output = path.parent / "edgekit-run"
    (output / "quantize" / "notes.txt").write_text("mine")
    run(path, "quantize.enabled=false", "validate.enabled=false")
    assert not (output / "quantize" / "model.int8.onnx").exists()
    assert (output / "quantize" / "notes.txt").read_text() == "mine", "what the run did not write stays"
    assert (output / "export" / "model.fp32.onnx").is_file()


def test_a_failed_check_fails_every_run_until_it_passes(copy: Callable[[], Path]) -> None:
    path = copy()
    flags = ("quantize.weight_bits=2", "validate.max_drop=0")
    first = run(path, *flags)
    assert not first.passed
    assert not run(path, *flags).passed
    assert run(path).passed


def test_an_error_leaves_what_was_there(copy: Callable[[], Path], tmp_path: Path) -> None:
    path = copy()
    (tmp_path / "empty").mkdir()
    before = bytes_of(run(path))
    with pytest.raises(EdgekitError, match="EK202"):
        run(path, f"data.calibration={tmp_path / 'empty'}")
    assert bytes_of(run(path)) == before


def test_two_runs_in_one_folder_at_once_are_refused(copy: Callable[[], Path]) -> None:
    path = copy()
    loaded = load_pipeline(path, environment={})
    refusals = []

    def meanwhile(outcome: StageOutcome) -> None:
        with pytest.raises(UsageError, match=r"EK012 .*edgekit-run: process "):
            run(path)
        refusals.append(outcome.stage)

    run_pipeline(RunRequest(loaded.pipeline, loaded.folder), on_stage=meanwhile)
    assert refusals == ["baseline", "export", "quantize", "validate"]


def test_an_output_that_cannot_be_written_is_refused_before_any_work(copy: Callable[[], Path]) -> None:
    path = copy()
    (path.parent / "file").write_text("")
    with pytest.raises(UsageError, match="EK003"):
        run(path, "run.output=file/results")
    with pytest.raises(UsageError, match="EK003"):
        run(path, "run.cache=file/cache")


def test_a_full_disk_is_said_and_nothing_is_lost(smaller: Path, tmp_path: Path, finished: Finished) -> None:
    """A limit on the size of files stands for the full disk: the system says the same of both to a write."""
    path = write(tmp_path)
    shutil.copy(smaller, tmp_path)
    script = f"""
import resource, signal, sys
from edgekit.cli._main import run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
sys.exit(run(["run", {str(path)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "edgekit: EK003 " in done.stderr
    assert not list(tmp_path.glob(".edgekit/entries/*"))
    assert bytes_of(run(path, "validate.enabled=false")) == bytes_of(finished[1])


def test_images_are_known_by_what_they_are_and_not_by_where_they_lie(copy: Callable[[], Path], tmp_path: Path) -> None:
    path, images, elsewhere = copy(), tmp_path / "images", tmp_path / "elsewhere"
    images.mkdir()
    few = sample().calibration.spread(16)
    for index in range(len(few)):
        (images / f"{index}.png").write_bytes(few.encoded(index))
    assert made(run(path, f"data.calibration={images}", "validate.enabled=false")) == ["quantize"]
    images.rename(elsewhere)
    flags = (f"data.calibration={elsewhere}", "validate.enabled=false")
    assert made(run(path, *flags)) == []
    (elsewhere / "0.png").write_bytes(few.encoded(1))
    assert made(run(path, *flags)) == ["quantize"]


PRUNED = """\
    [run]
    threads = 1
    [model]
    path = "narrow.safetensors"
    [data]
    calibration_samples = 24
    eval_samples = 40
    train = "images.zip"
    [prune]
    macs = 0.5
    widths = "uniform"
    importance = "l1"
    recover = "bn"
    samples = 16
    [recover]
    epochs = 2
    batch_size = 16
    [quantize]
    effort = "fast"
    [build]
    samples = 2
    """


def test_prune_recover_and_quantize_report_one_line_each(
    narrow: Path, tmp_path: Path, archive: Callable[..., Path]
) -> None:
    path = write(tmp_path / "here", PRUNED)
    shutil.copy(narrow, path.parent)
    archive(sample().calibration.spread(48), "here/images.zip")
    outcome = run(path, "run.target=jetson-orin-nano")
    names = [line.stage for line in outcome.lines]
    assert names == ["baseline", "prune", "recover", "quantize"]
    baseline, pruned, recovered, quantized = outcome.lines
    assert pruned.macs is not None
    assert baseline.macs is not None
    assert 0.4 < pruned.macs / baseline.macs <= 0.5
    assert recovered.macs == quantized.macs == pruned.macs
    assert recovered.parameters == pruned.parameters
    assert quantized.size_bytes < 0.8 * recovered.size_bytes < 0.4 * baseline.size_bytes
    assert stage(outcome, "recover").facts["epochs"] == 2
    bundle = stage(outcome, "build")
    assert {"bundle/model.onnx", "bundle/run.sh", "bundle/bundle.json"} <= set(bundle.files)
    assert (bundle.folder / "bundle" / "run.sh").stat().st_mode & 0o100, "programs stay programs"
    assert made(run(path, "run.target=jetson-orin-nano")) == []


def test_a_target_without_int8_gets_a_bundle_of_the_fp32_file(copy: Callable[[], Path]) -> None:
    path = copy()
    flags = ("run.target=jetson-nano", "build.samples=1", "validate.enabled=false", "export.enabled=false")
    outcome = run(path, *flags)
    operators = {
        node.op_type for node in onnx.load(stage(outcome, "build").folder / "bundle" / "model.onnx").graph.node
    }
    assert "Conv" in operators
    assert "DequantizeLinear" not in operators


def test_an_onnx_file_goes_through_the_stages_that_take_one(copy: Callable[[], Path], finished: Finished) -> None:
    path = copy()
    outcome = run(path, "model.path=edgekit-run/export/model.fp32.onnx", "run.output=other")
    baseline, _, quantized = outcome.lines
    assert (baseline.macs, baseline.parameters) == (None, None), "the file does not say"
    assert quantized.size_bytes < 0.35 * baseline.size_bytes
    assert quantized.top1 == finished[1].lines[2].top1


def test_a_gate_stage_is_judged(copy: Callable[[], Path]) -> None:
    path = copy()
    outcome = run(path, "gate.max_size=0.9x")
    assert stage(outcome, "gate").facts["outcome"] == "pass"
    assert facts(path.parent / "edgekit-run" / "gate" / "gate.json")["checks"][0]["name"] == "max_size"
    assert outcome.passed
    failed = run(path, "gate.max_size=0.1x")
    assert made(failed) == ["gate"]
    assert not failed.passed


def test_other_bytes_from_the_same_inputs_are_said(copy: Callable[[], Path]) -> None:
    path = copy()
    record = next(path.parent.glob(".edgekit/entries/export-*/calibration.safetensors")).parent / "entry.json"
    (record.parent / "model.int8.onnx").write_bytes(b"as it came out on another day")
    content = facts(record)
    content["files"]["model.int8.onnx"] = sha256_of(record.parent / "model.int8.onnx")
    record.write_text(json.dumps(content))
    again = run(path, "validate.enabled=false", start_from="quantize")
    assert [note.split(":")[0] for note in again.notes] == ["quantize"]
    assert "other bytes" in again.notes[0]


def test_images_in_shards_and_behind_a_url_are_inputs_like_any_others(
    narrow: Path, tmp_path: Path, images: ImageSet
) -> None:
    parts = [images.select(range(start, len(images), 2)) for start in (0, 1)]
    for number, part in enumerate(parts):
        (tmp_path / f"part-{number}.tar").write_bytes(packed(part))
    with fsspec.open("memory://run/set.tar", "wb") as file:
        file.write(packed(images))
    data = '[data]\ncalibration = "part-{0..1}.tar"\ncalibration_samples = 16\neval = "memory://run/set.tar"\n'
    model = f'[run]\nthreads = 1\n[model]\npath = "{narrow}"\n'
    path = write(tmp_path, f"{model}{data}[export]\n[quantize]\neffort = 'fast'\n")
    first = run(path)
    assert made(first) == ["baseline", "quantize"]
    assert first.lines[0].images == 100
    assert made(run(path)) == []
    with fsspec.open("memory://run/set.tar", "wb") as file:
        file.write(packed(images.select(range(0, len(images), 5))))
    again = run(path)
    assert again.lines[0].images == 20
    assert made(again) == ["baseline", "quantize"]


def packed(images: ImageSet) -> bytes:
    """Return the images as a tar archive of one folder a class."""
    assert images.labels is not None
    assert images.class_names is not None
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for index, label in enumerate(images.labels):
            content = images.encoded(index)
            member = tarfile.TarInfo(f"{images.class_names[label]}/{images.identifiers[index].rpartition('/')[2]}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()
