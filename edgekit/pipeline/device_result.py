"""`edgekit validate BASELINE result.json`: what a device answered, joined with a baseline."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import edgekit
from edgekit.engine import (
    MANIFEST,
    RESULT,
    Answer,
    OpenBundle,
    Platform,
    bundle_of,
    differences,
    outputs_of,
    platform_of,
    read_answer,
)
from edgekit.errors import TargetError
from edgekit.models import NO_OVERRIDES, Overrides
from edgekit.pipeline.job import REPORT_FILE
from edgekit.pipeline.targeting import notes_of
from edgekit.pipeline.validate import open_model, require_same
from edgekit.report import (
    DEVICE_SCHEMA,
    BaselineSection,
    BoardSection,
    DeviceReport,
    EngineSection,
    NoteLine,
    OutputSection,
    PlanSection,
    PowerSection,
    SettingsSection,
    SpeedupSection,
    TimesSection,
    VerdictSection,
    environment,
    write,
)
from edgekit.results import DevicePower, DeviceTimes, OutputDrift
from edgekit.spec import Note
from edgekit.validate import (
    Conditions,
    device_power,
    device_speedup,
    device_times,
    differing_conditions,
    output_drift,
    runner,
    session,
    verdict,
)

Logits = npt.NDArray[Any]
# Noise of a tenth of the signal: int8 against FP32 of the model that ships has a fiftieth, at 34 dB.
_FAR_DB: Final = 20.0
# What the sensors were read beside differs between the two programs.
_SPAN: Final = {
    "trtexec": "the readings span the runs with the loading of the engine and the warm-up before each",
    "runner.py": "the readings span the timed runs alone",
}


@dataclasses.dataclass(frozen=True)
class ResultRequest:
    """Which answer of a device to compare with what.

    Attributes:
        baseline: Checkpoint, `.onnx` file or architecture name; or another answer of a device.
        candidate: `result.json`, or the folder of the bundle with it.
        bundle: The bundle that was answered; None looks beside the answer.
        overrides: What the user says about a checkpoint and its preprocessing.
        max_drop: Largest loss of agreement allowed, in points; None allows any.
        threads: Threads that the baseline may use; 0 takes all cores.
        output: Folder for `report.json`; None writes none.
        command: The command line, for the report.
    """

    baseline: str
    candidate: str
    bundle: Path | None = None
    overrides: Overrides = NO_OVERRIDES
    max_drop: float | None = None
    threads: int = 0
    output: Path | None = None
    command: str = ""


@dataclasses.dataclass(frozen=True)
class _Answered:
    """A device's answer, the bundle it belongs to, and what follows from the two."""

    name: str
    answer: Answer
    bundle: OpenBundle
    logits: Logits
    times: DeviceTimes | None
    power: DevicePower | None


def is_result(model: str) -> bool:
    """Tell whether a side of a comparison is a device's answer: a `.json` file, or the folder of a bundle."""
    path = Path(model)
    return path.suffix.lower() == ".json" or (path / MANIFEST).is_file() or (path / RESULT).is_file()


def validate_result(request: ResultRequest) -> DeviceReport:
    """Join a device's answer with the file that it ran and with a baseline.

    Raises:
        TargetError: EK711 and EK720 to EK725 when answer, bundle and samples are not whole or do not fit together.
        ComparisonError: EK601 when the baseline takes other inputs or knows other classes.
        EdgekitError: As opening models does; EK003 when the report cannot be written.
    """
    candidate = _answered(request.candidate, request.bundle)
    if is_result(request.baseline):
        first = _answered(request.baseline, request.bundle)
        _require_same_samples(first, candidate)
        logits, section = first.logits, _baseline_result(first, candidate)
        notes = _notes_on_two(first.answer, candidate.answer, section)
    else:
        logits, section, notes = _run_baseline(request, candidate.bundle), _baseline_model(request.baseline), ()
    report = _report(request, candidate, logits, section, notes)
    if request.output is not None:
        write(report, request.output / REPORT_FILE)
    return report


def _answered(name: str, bundle: Path | None) -> _Answered:
    path = Path(name)
    path = path / RESULT if path.is_dir() else path
    answer = read_answer(path)
    folders = [path.parent] if bundle is None else [bundle, path.parent]
    opened = bundle_of(answer, folders, where=str(path))
    logits = outputs_of(answer, opened, where=str(path))
    times = power = None
    if answer.runs:
        compute = [np.array([frame.computeMs for frame in run.times]) for run in answer.runs]
        times = device_times(compute, [np.array([frame.latencyMs for frame in run.times]) for run in answer.runs])
        if answer.power is not None:
            power = device_power(answer.power.source, answer.power.samples, times)
    return _Answered(name, answer, opened, logits, times, power)


def _require_same_samples(baseline: _Answered, candidate: _Answered) -> None:
    if not np.array_equal(baseline.bundle.samples, candidate.bundle.samples):
        raise TargetError(
            "EK725",
            "the two devices answered different samples",
            where=f"{baseline.name} and {candidate.name}",
            hint="make both bundles with the same --images and --samples, of models with the same preprocessing",
        )


def _run_baseline(request: ResultRequest, bundle: OpenBundle) -> Logits:
    """Return the logits of the baseline for the samples of the bundle."""
    source = open_model(request.baseline, request.overrides)
    where = f"{source.name} and {request.candidate}"
    require_same("classes", source.num_classes, bundle.expected.shape[1], where)
    require_same("preprocessing", source.preprocessing, bundle.preprocessing, where)
    run = runner(session(source.model.SerializeToString(), threads=request.threads))
    return np.concatenate([run(sample[np.newaxis]) for sample in bundle.samples])


def _baseline_model(name: str) -> BaselineSection:
    return BaselineSection(
        source=name, is_result=False, precision=None, times=None, power=None, engine=None, speedup=None, differences=()
    )


def _baseline_result(baseline: _Answered, candidate: _Answered) -> BaselineSection:
    found: tuple[str, ...] = ()
    speedup = None
    if baseline.times is not None and candidate.times is not None:
        found = differing_conditions(_conditions(baseline.answer), _conditions(candidate.answer))
        speedup = None if found else SpeedupSection.of(device_speedup(baseline.times, candidate.times))
    return BaselineSection(
        source=baseline.name,
        is_result=True,
        precision=baseline.bundle.plan.precision,
        times=_times(baseline),
        power=_power(baseline),
        engine=_engine(baseline),
        speedup=speedup,
        differences=found,
    )


def _conditions(answer: Answer) -> Conditions:
    device, settings = answer.device, answer.settings
    pins = {
        "CUDA graph": settings.cuda_graph,
        "spin wait": settings.spin_wait,
        "data transfers": settings.data_transfers,
    }
    return Conditions(device.model, device.compute_capability, device.nvpmodel, device.clocks, answer.tool, pins)


def _report(
    request: ResultRequest, found: _Answered, logits: Logits, baseline: BaselineSection, notes: tuple[Note, ...]
) -> DeviceReport:
    moved, from_file = output_drift(logits, found.logits), output_drift(found.bundle.expected, found.logits)
    notes = (*_notes(found, from_file), *notes)
    answer, plan = found.answer, found.bundle.plan
    return DeviceReport(
        schema=DEVICE_SCHEMA,
        edgekit=edgekit.__version__,
        command=request.command,
        source=request.candidate,
        bundle=answer.bundle,
        target=plan.target,
        plan=PlanSection.of(plan),
        tool=answer.tool,
        device=BoardSection(**answer.device.model_dump()),
        engine=_engine(found),
        settings=SettingsSection(**answer.settings.model_dump()),
        samples=len(found.logits),
        against_file=OutputSection.of(from_file),
        against_baseline=OutputSection.of(moved),
        times=_times(found),
        power=_power(found),
        baseline=baseline,
        verdict=VerdictSection.of(verdict(moved.drift, max_drop=request.max_drop)),
        notes=tuple(NoteLine(source=note.source, text=note.text) for note in notes),
        environment=environment(),
    )


def _times(found: _Answered) -> TimesSection | None:
    return None if found.times is None else TimesSection.of(found.times)


def _engine(found: _Answered) -> EngineSection:
    return EngineSection(**found.answer.engine.model_dump(exclude={"file"}))


def _power(found: _Answered) -> PowerSection | None:
    if found.power is None:
        return None
    part = "" if found.power.whole_module else "; the rail may feed only a part of the module"
    idle = "what the board takes when idle is in it"
    return PowerSection.of(found.power, f"{_SPAN[found.answer.tool]}, {idle}{part}")


def _notes(found: _Answered, from_file: OutputDrift) -> tuple[Note, ...]:
    answer, plan = found.answer, found.bundle.plan
    notes = list(notes_of(plan))
    if differing := differences(Platform(plan.tensorrt), platform_of(answer.device)):
        notes.append(Note("device", f"{', '.join(differing)}, which the plan was for"))
    if answer.runs and answer.settings.warmup_ms == 0:
        notes.append(Note("timing", "there was no warm-up: the first frames are slower than those after them"))
    if answer.tool == "trtexec":
        notes.append(Note("drift", "trtexec writes about six digits: smaller differences are its rounding"))
    if from_file.drift.sqnr_db.value < _FAR_DB:
        text = f"the device computes something else than the file does here (SQNR below {_FAR_DB:g} dB)"
        notes.append(Note("drift", text))
    return tuple(notes)


def _notes_on_two(first: Answer, second: Answer, baseline: BaselineSection) -> tuple[Note, ...]:
    """Return what a reader must know of a speed-up that is stated."""
    if baseline.speedup is None:
        return ()
    notes = [
        Note("timing", f"the two ran with different {what}: {one or 'unknown'} and {other or 'unknown'}")
        for what, one, other in (
            ("TensorRT", first.device.tensorrt, second.device.tensorrt),
            ("CUDA", first.device.cuda, second.device.cuda),
            ("L4T", first.device.l4t, second.device.l4t),
        )
        if one != other
    ]
    if second.device.model is None:
        text = "neither answer names its device: the same compute capability is all that speaks for the same one"
        notes.append(Note("timing", text))
    return tuple(notes)
