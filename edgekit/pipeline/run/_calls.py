"""The calls behind the stages: the functions that the commands of the same names call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from edgekit.errors import TrainingError
from edgekit.files import located, write_json
from edgekit.models import NO_OVERRIDES, Overrides, load, names, profile
from edgekit.pipeline.build import BundleRequest, make_bundle
from edgekit.pipeline.engine_build import Here, InContainer, OnHost, build_engine
from edgekit.pipeline.export import export_model
from edgekit.pipeline.gate import GateRequest, gate_models
from edgekit.pipeline.gate_limits import GateTable as GateLimits
from edgekit.pipeline.gate_limits import merged
from edgekit.pipeline.images import choose_images
from edgekit.pipeline.job import OUTPUTS, REPORT_FILE, ExportRequest
from edgekit.pipeline.measuring import StartProgress, measure
from edgekit.pipeline.prune import PruneRequest, prune_model
from edgekit.pipeline.recovery import RecoverRequest, Recovery, recover_model, state_folder
from edgekit.pipeline.run._cache import Kind
from edgekit.pipeline.run._jobs import CHECKPOINT, FP32, INT8, Given, Model, Step
from edgekit.pipeline.run._lines import StageLine
from edgekit.pipeline.sources import is_onnx
from edgekit.pipeline.train import TrainRequest, train_model
from edgekit.pipeline.validate import COMPARISON_FILE, ValidateRequest, open_model, validate_models
from edgekit.pruning import Structured
from edgekit.quantize import FLAVOURS, Awareness
from edgekit.results import Latency
from edgekit.spec import Note
from edgekit.targets import load_card
from edgekit.targets import names as card_names
from edgekit.training import STATE_FILE, EpochResult, Recipe, recipe
from edgekit.training import Step as TrainingStep
from edgekit.validate import runner, session

QAT_STATE, GATE, PAGE = "qat.state", "gate.json", "comparison.html"
COMMAND = "edgekit run"


@dataclasses.dataclass(frozen=True)
class Made:
    """What a call left in its folder.

    Attributes:
        files: Its files.
        same: Those of them whose bytes are the same when they are made again.
        facts: What the run says about it.
        notes: What was assumed and done.
    """

    files: tuple[str, ...]
    same: tuple[str, ...]
    facts: Mapping[str, Any]
    notes: tuple[str, ...]


def _train(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    pipeline, table = given.pipeline, given.pipeline.train
    assert table is not None
    assert pipeline.data.train is not None
    model, overrides = given.model.name, _overrides(given, given.model)
    if model in names() and given.model.file is None:
        model, overrides = None, dataclasses.replace(overrides, architecture=overrides.architecture or model)
    how = _recipe(
        table.recipe or ("finetune" if model else "sgd"), table.epochs,
        batch_size=table.batch_size, learning_rate=table.learning_rate, weight_decay=table.weight_decay,
        label_smoothing=table.label_smoothing,
    )  # fmt: skip
    request = TrainRequest(
        images=located(given.folder, pipeline.data.train), recipe=how, output=work,
        model=None if model is None else Path(model),
        overrides=overrides, evaluation=given.images(pipeline.data.eval), evaluate_every=table.evaluate_every,
        teacher=given.path(table.teacher), distill_weight=table.distill_weight, temperature=table.temperature,
        seed=pipeline.run.seed, device=pipeline.run.device,
    )  # fmt: skip
    outcome, restarted = _resuming(
        work / STATE_FILE,
        lambda resume: train_model(dataclasses.replace(request, resume=resume), on_step=_bar(progress)),
    )
    broken = tuple(f"broken image, skipped: {image}" for image in outcome.broken)
    notes = (*restarted, *_texts(outcome.notes), *broken)
    return Made((CHECKPOINT,), (CHECKPOINT,), _history(outcome.history), notes)


def _prune(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    pipeline, table = given.pipeline, given.pipeline.prune
    assert table is not None
    structured = None
    for cost in ("macs", "params", "latency"):
        if (ratio := getattr(table, cost)) is not None:
            structured = Structured(cost, ratio, table.importance, table.widths, table.divisor)
    outcome = prune_model(
        PruneRequest(
            given.model.name, work / CHECKPOINT, table.method, structured, table.amount, recover=table.recover,
            overrides=_overrides(given, given.model), images=given.images(pipeline.data.train), samples=table.samples,
            evaluation=given.images(pipeline.data.eval), target=_device(given.target),
            threads=pipeline.run.threads,
        ),
        start=progress,
    )  # fmt: skip
    facts = {"macs": [outcome.before.macs, outcome.after.macs]}
    return Made((CHECKPOINT,), (CHECKPOINT,), facts, _texts(outcome.notes))


def _recover(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    pipeline, table = given.pipeline, given.pipeline.recover
    assert table is not None
    assert given.model.name is not None
    how = _recipe(table.recipe, table.epochs, batch_size=table.batch_size, learning_rate=table.learning_rate)
    output = work / CHECKPOINT
    recovery = Recovery(how, table.patience, pipeline.run.seed, device=pipeline.run.device)
    request = RecoverRequest(
        given.original.name, Path(given.model.name), output, recovery,
        from_labels=table.method == "finetune", overrides=_overrides(given, given.original),
        images=given.images(pipeline.data.train),
    )  # fmt: skip

    def call(resume: bool) -> Any:
        again = dataclasses.replace(request, how=dataclasses.replace(request.how, resume=resume))
        return recover_model(again, on_step=_bar(progress))

    outcome, restarted = _resuming(state_folder(output) / STATE_FILE, call)
    return Made((CHECKPOINT,), (CHECKPOINT,), _history(outcome.history), (*restarted, *_texts(outcome.notes)))


def _export(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    pipeline, table = given.pipeline, given.pipeline.quantize
    request = ExportRequest(
        given.model.name, work, "none", _overrides(given, given.model), given.target, pipeline.run.jetpack,
        pipeline.export.opset if pipeline.export is not None else None,
        evaluation=given.images(pipeline.data.eval), evaluation_samples=pipeline.data.eval_samples,
        seed=pipeline.run.seed, threads=pipeline.run.threads, command=COMMAND,
    )  # fmt: skip
    if step == "quantize":
        assert table is not None
        request = dataclasses.replace(
            request, quantize=table.method, calibration=given.images(pipeline.data.calibration),
            calibration_samples=pipeline.data.calibration_samples, calibration_method=table.calibration_method,
            effort=table.effort, max_drop=table.max_drop, mixed=table.mixed, weight_bits=table.weight_bits,
            training=given.images(pipeline.data.train) if table.method == "qat" else None, state=work / QAT_STATE,
            awareness=Awareness(
                table.qat_steps, table.qat_learning_rate, table.qat_label_weight, table.learned_scales
            ),
        )  # fmt: skip
    report = export_model(request, progress=progress)
    files = tuple(name for name in OUTPUTS if (work / name).is_file())
    same = tuple(name for name in files if name != REPORT_FILE)
    return Made(files, same, {}, tuple(f"{note.source}: {note.text}" for note in report.notes))


def _bundle(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    made = make_bundle(_bundle_request(given, work / "bundle"))
    files = _below(work / "bundle", work)
    return Made(files, files, {}, _texts(made.notes))


def _engine(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    table = given.pipeline.build
    assert table is not None
    way = OnHost(table.host or "") if table.way == "host" else InContainer(table.image)
    advance = progress("building", None)
    built = build_engine(
        _bundle_request(given, work / "engine"), Here() if table.way == "here" else way, lambda line: advance(1)
    )
    # Builders time what they choose from: no two engines are the same.
    return Made(_below(work / "engine", work), (), {}, _texts(built.notes))


def _bundle_request(given: Given, folder: Path) -> BundleRequest:
    pipeline, table = given.pipeline, given.pipeline.build
    assert table is not None
    name = given.model.name
    if name is not None and Path(name).name == INT8 and not _takes_int8(given):
        name = str(Path(name).with_name(FP32))
    return BundleRequest(
        name, given.target, folder, pipeline.run.jetpack, given.images(pipeline.data.eval),
        table.samples,
    )  # fmt: skip


def _takes_int8(given: Given) -> bool:
    """Tell whether the target runs what [quantize] made; one without INT8 gets the FP32 file beside it."""
    table = given.pipeline.quantize
    dynamic = table is not None and table.method == "dynamic"
    return load_card(given.target).facts.int8.value and not dynamic


def _gate(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    pipeline, table = given.pipeline, given.pipeline.gate
    assert table is not None
    assert given.baseline is not None
    limits = GateLimits(**table.model_dump(exclude={"enabled", "baseline"}))
    committed = given.baseline.suffix == ".json"
    request = GateRequest(
        str(given.model.name), None if committed else str(given.baseline), limits=merged(limits, {}),
        evaluation=given.images(pipeline.data.eval), evaluation_samples=pipeline.data.eval_samples,
        threads=pipeline.run.threads, command=COMMAND,
    )  # fmt: skip
    if committed:
        request = dataclasses.replace(request, committed=given.baseline)
    result = gate_models(request, progress=progress).result
    write_json(work / GATE, dataclasses.asdict(result))
    passed = result.outcome == "pass" or (table.allow_inconclusive and result.outcome == "inconclusive")
    reason = "; ".join(f"{check.name} {check.outcome}: {check.reason}" for check in result.checks)
    return Made((GATE,), (), {"passed": passed, "outcome": result.outcome, "reason": reason}, result.notes)


def _validate(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    pipeline, table = given.pipeline, given.pipeline.validation
    assert table is not None
    request = ValidateRequest(
        str(given.baseline), str(given.model.name), evaluation=given.images(pipeline.data.eval),
        evaluation_samples=pipeline.data.eval_samples, max_drop=table.max_drop, threads=pipeline.run.threads,
        diagnose=table.diagnose, html=work / PAGE if table.html else None, output=work, command=COMMAND,
    )  # fmt: skip
    comparison = validate_models(request, progress=progress)
    files = (COMPARISON_FILE, PAGE) if table.html else (COMPARISON_FILE,)
    facts = {"passed": comparison.verdict.passed, "reason": comparison.verdict.reason}
    return Made(files, (), facts, comparison.notes)


def _measure(step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    """Measure a model beside the baseline: one line of the table."""
    pipeline = given.pipeline
    baseline = open_model(str(given.baseline), NO_OVERRIDES)
    alone = given.candidate == given.baseline
    candidate = baseline if alone else open_model(str(given.candidate), NO_OVERRIDES)
    images = choose_images(
        baseline, calibrates=False, calibration=None, calibration_samples=1,
        evaluation=given.images(pipeline.data.eval), evaluation_samples=pipeline.data.eval_samples,
    ).evaluation  # fmt: skip
    blobs = [source.model.SerializeToString(deterministic=True) for source in (baseline, candidate)]
    runners = [runner(session(blob, threads=pipeline.run.threads)) for blob in blobs]
    measured = measure(runners[0], None if alone else runners[1], images, baseline.preprocessing, progress)
    accuracy = measured.baseline if alone else measured.candidate
    time = measured.latency
    cost = None if is_onnx(given.model.name) else load(given.model.name, _overrides(given, given.model))
    counted = None if cost is None else profile(cost.module, cost.spec.input_size)
    line = StageLine(
        stage=step,
        macs=None if counted is None else counted.macs,
        parameters=None if counted is None else counted.parameters,
        size_bytes=len(blobs[1]),
        top1=None if accuracy is None else accuracy.top1,
        images=0 if accuracy is None else accuracy.n,
        agreement=None if measured.drift is None else measured.drift.agreement.value,
        frame_ms=time.candidate_ms.p50 if isinstance(time, Latency) else time.frame_ms.p50,
        speedup=time.speedup.value if isinstance(time, Latency) else None,
    )
    return Made((), (), dataclasses.asdict(line), ())


def _resuming(state: Path, call: Callable[[bool], Any]) -> tuple[Any, tuple[str, ...]]:
    """Go on with a training from its state, where an earlier process left one; start again where that is damaged."""
    if not state.is_file():
        return call(False), ()
    try:
        return call(True), ()
    except TrainingError as error:
        if error.code != "EK301":
            raise
        return call(False), (f"training began again: {error.what}",)


def _bar(start: StartProgress) -> Callable[[TrainingStep], None]:
    """Return what advances one bar over all steps of a training, which begins with the first."""
    advance: list[Callable[[int], None]] = []

    def step(now: TrainingStep) -> None:
        if not advance:
            advance.append(start("training", now.epochs * now.steps))
        advance[0](1)

    return step


def _recipe(name: str, epochs: int | None, **changes: Any) -> Recipe:
    chosen = recipe(name)
    given = {field: value for field, value in changes.items() if value is not None}
    return dataclasses.replace(chosen.lasting(epochs or chosen.epochs), **given)


def _overrides(given: Given, model: Model) -> Overrides:
    return Overrides(**given.pipeline.model.overrides()) if model.described else NO_OVERRIDES


def _device(target: str) -> str | None:
    """Return the card of the device, None for this machine and for a form of Q/DQ that has none."""
    return None if target == "cpu" or (target in FLAVOURS and target not in card_names()) else target


def _history(history: tuple[EpochResult, ...]) -> dict[str, Any]:
    return {"epochs": len(history), "top1": history[-1].top1 if history else None}


def _texts(notes: Iterable[Note]) -> tuple[str, ...]:
    return tuple(f"{note.source}: {note.text}" for note in notes)


def _below(folder: Path, root: Path) -> tuple[str, ...]:
    return tuple(sorted(path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file()))


_CALLS: Mapping[Kind, Callable[[Step, Given, Path, StartProgress], Made]] = MappingProxyType({
    "train": _train,
    "prune": _prune,
    "recover": _recover,
    "export": _export,
    "bundle": _bundle,
    "engine": _engine,
    "validate": _validate,
    "gate": _gate,
    "measure": _measure,
})  # fmt: skip


def call(kind: Kind, step: Step, given: Given, work: Path, progress: StartProgress) -> Made:
    """Make what a job asks for in a folder.

    Raises:
        EdgekitError: As the function behind it.
    """
    if given.pipeline.run.threads:
        torch.set_num_threads(given.pipeline.run.threads)
    return _CALLS[kind](step, given, work, progress)
