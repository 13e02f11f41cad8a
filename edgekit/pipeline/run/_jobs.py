"""What each stage of a pipeline asks for and follows from, found without importing anything heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from edgekit.files import located
from edgekit.pipeline.run._cache import Entry, Kind
from edgekit.pipeline.run._settings import Architecture, Pipeline
from edgekit.shipped import shipped, shipped_checkpoint

# The model before pruning and quantization, in FP32: everything is compared with it.
BASELINE = "baseline"
Step = Literal["train", "baseline", "prune", "recover", "export", "quantize", "build", "validate", "gate"]
STEPS: tuple[Step, ...] = get_args(Step)
CHECKPOINT, FP32, INT8 = "model.safetensors", "model.fp32.onnx", "model.int8.onnx"
# Steps whose result is a model, and the files that may be it, the last made first.
MODELS: Mapping[Step, tuple[str, ...]] = {
    "train": (CHECKPOINT,),
    "baseline": (FP32,),
    "prune": (CHECKPOINT,),
    "recover": (CHECKPOINT,),
    "export": (FP32,),
    "quantize": (INT8, FP32),
}
_ARCHITECTURES = get_args(Architecture)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that a stage starts from.

    Attributes:
        name: What `load` takes: a path, an architecture's name, or None for the model that ships.
        described: It is described by the pipeline's [model] table; what a stage wrote describes itself.
    """

    name: str | None
    described: bool = False

    @property
    def file(self) -> Path | None:
        """The file that it is read from; None for random weights."""
        if self.name is None:
            return shipped_checkpoint()
        return None if self.name in _ARCHITECTURES and not Path(self.name).exists() else Path(self.name)


@dataclasses.dataclass(frozen=True)
class Given:
    """What a stage is given.

    Attributes:
        pipeline: All settings.
        folder: What paths in it are relative to.
        model: The last checkpoint, or the `.onnx` file that the pipeline starts from.
        original: The model before pruning.
        baseline: FP32 ONNX of it; None before there is one.
        candidate: The last model that was made; None before there is one.
    """

    pipeline: Pipeline
    folder: Path
    model: Model
    original: Model
    baseline: Path | None = None
    candidate: Path | None = None

    def path(self, path: Path | None) -> Path | None:
        """Return a path of the pipeline file as this process sees it."""
        return None if path is None else self.folder / path

    def images(self, location: str | None) -> Path | str | None:
        """Return where images of the pipeline file lie, as this process sees it."""
        return None if location is None else located(self.folder, location)

    @property
    def target(self) -> str:
        """The target as commands take it: a name, or the path of a card."""
        target = self.pipeline.run.target
        return str(self.folder / target) if target.endswith(".toml") else target

    def after(self, step: Step, entry: Entry, folder: Path) -> Given:
        """Return what the next stage is given, when the files of this one lie in `folder`."""
        files = [folder / name for name in MODELS.get(step, ()) if name in entry.record.files]
        if not files:
            return self
        if step == "baseline":
            return dataclasses.replace(self, baseline=files[0])
        if step in ("export", "quantize"):
            return dataclasses.replace(self, candidate=files[0])
        model = Model(str(files[0]))
        if step == "train":
            return dataclasses.replace(self, model=model, original=model)
        return dataclasses.replace(self, model=model, candidate=files[0])


@dataclasses.dataclass(frozen=True)
class Job:
    """One call.

    Attributes:
        step: Step of the pipeline that asks for it.
        kind: What is called; steps that ask the same of the same share one result.
        options: What it is asked for, as plain JSON without paths.
        inputs: Files and folders that it reads, by name.
        given: What it is given.
    """

    step: Step
    kind: Kind
    options: Mapping[str, Any]
    inputs: Mapping[str, Path | str]
    given: Given


def start(pipeline: Pipeline, folder: Path) -> Given:
    """Return what the first stage is given."""
    path = pipeline.model.path
    name = None if path is None else str(path if str(path) in _ARCHITECTURES else folder / path)
    model = Model(name, described=True)
    recover = pipeline.table("recover")
    original = model
    if recover is not None and pipeline.recover is not None and pipeline.recover.original is not None:
        original = Model(str(folder / pipeline.recover.original), described=True)
    return Given(pipeline, folder, model, original)


def steps_of(pipeline: Pipeline) -> tuple[Step, ...]:
    """Return the steps of a pipeline: its stages, with the baseline after training."""
    stages = pipeline.stages()
    return tuple(step for step in STEPS if step in stages or step == BASELINE)


def job_of(step: Step, given: Given) -> Job:
    """Return the call of a step."""
    match step:
        case "train":
            return _train(given)
        case "baseline":
            return _export(step, given, given.original, quantizes=False)
        case "prune":
            return _prune(given)
        case "recover":
            return _recover(given)
        case "export" | "quantize":
            return _export(step, given, given.model, quantizes=step == "quantize")
        case "build":
            return _build(given)
        case "validate" | "gate":
            return _compare(step, given)


def _train(given: Given) -> Job:
    pipeline = given.pipeline
    assert pipeline.train is not None
    options = {**_table(pipeline.train, "teacher"), **_described(given, given.model), **_trains(given)}
    options["scratch"] = pipeline.model.path is None or given.model.file is None
    inputs = {
        **({} if options["scratch"] else _model("model", given.model)),
        **_file("train", given.images(pipeline.data.train)),
        **_file("eval", given.images(pipeline.data.eval)),
        **_file("teacher", given.path(pipeline.train.teacher)),
    }
    return Job("train", "train", options, inputs, given)


def _prune(given: Given) -> Job:
    pipeline = given.pipeline
    assert pipeline.prune is not None
    options = {**_table(pipeline.prune), **_described(given, given.model), **_machine(given), **_target(given)}
    inputs = {**_model("model", given.model), **_images(given, "train"), **_images(given, "eval"), **_cards(given)}
    return Job("prune", "prune", options, inputs, given)


def _recover(given: Given) -> Job:
    pipeline = given.pipeline
    assert pipeline.recover is not None
    options = {**_table(pipeline.recover, "original"), **_described(given, given.original), **_trains(given)}
    inputs = {**_model("original", given.original), **_model("model", given.model), **_images(given, "train")}
    return Job("recover", "recover", options, inputs, given)


def _export(step: Step, given: Given, model: Model, *, quantizes: bool) -> Job:
    pipeline = given.pipeline
    opset = pipeline.export.opset if pipeline.export is not None else None
    options = {"opset": opset, **_described(given, model), **_machine(given), **_target(given), **_evaluated(given)}
    inputs = {**_model("model", model), **_images(given, "eval"), **_cards(given)}
    if quantizes:
        assert pipeline.quantize is not None
        options |= {"quantize": _table(pipeline.quantize), "calibration_samples": pipeline.data.calibration_samples}
        inputs |= _images(given, "calibration")
        if pipeline.quantize.method == "qat":
            inputs |= _file("train", given.images(pipeline.data.train))
    return Job(step, "export", options, inputs, dataclasses.replace(given, model=model))


def _build(given: Given) -> Job:
    pipeline = given.pipeline
    assert pipeline.build is not None
    model = given.model if given.candidate is None else Model(str(given.candidate))
    options = {**_table(pipeline.build), **_described(given, model), **_target(given)}
    inputs = {**_model("model", model), **_images(given, "eval"), **_cards(given)}
    kind: Kind = "bundle" if pipeline.build.way == "bundle" else "engine"
    return Job("build", kind, options, inputs, dataclasses.replace(given, model=model))


def _compare(step: Literal["validate", "gate"], given: Given) -> Job:
    table = given.pipeline.validation if step == "validate" else given.pipeline.gate
    assert table is not None
    baseline = given.path(table.baseline) or given.baseline
    model = given.model if given.candidate is None else Model(str(given.candidate))
    options = {**_table(table, "baseline"), **_machine(given), **_evaluated(given)}
    inputs = {**_file("baseline", baseline), **_model("candidate", model), **_images(given, "eval")}
    return Job(step, step, options, inputs, dataclasses.replace(given, model=model, baseline=baseline))


def measurement_of(step: Step, given: Given) -> Job | None:
    """Return the call that measures what a step came to, beside the baseline; None where there is no model yet."""
    if step not in MODELS or given.baseline is None:
        return None
    model = Model(str(given.baseline if step == BASELINE or given.candidate is None else given.candidate))
    options = {**_machine(given), **_evaluated(given)}
    inputs = {**_file("baseline", given.baseline), **_model("candidate", model), **_images(given, "eval")}
    cost = given.original if step == BASELINE else given.model
    if cost.file is not None:
        inputs |= {"cost": cost.file}
    options |= {"cost": cost.name if cost.file is None else None, **_described(given, cost)}
    return Job(step, "measure", options, inputs, dataclasses.replace(given, model=cost, candidate=model.file))


def _table(table: Any, *files: str) -> dict[str, Any]:
    plain: dict[str, Any] = table.model_dump(mode="json", exclude={"enabled", *files})
    return plain


def _machine(given: Given) -> dict[str, Any]:
    return {"seed": given.pipeline.run.seed, "threads": given.pipeline.run.threads}


def _trains(given: Given) -> dict[str, Any]:
    return {**_machine(given), "device": given.pipeline.run.device}


def _target(given: Given) -> dict[str, Any]:
    run = given.pipeline.run
    return {"target": "a card of one's own" if run.target.endswith(".toml") else run.target, "jetpack": run.jetpack}


def _evaluated(given: Given) -> dict[str, Any]:
    return {"eval_samples": given.pipeline.data.eval_samples}


def _described(given: Given, model: Model) -> dict[str, Any]:
    described = given.pipeline.model.model_dump(mode="json", exclude={"path"}) if model.described else None
    return {"described": described, "architecture": model.name if model.file is None else None}


def _cards(given: Given) -> dict[str, Path | str]:
    own = given.pipeline.run.target
    cards: dict[str, Path | str] = {"cards": shipped("engines")}
    return {**cards, "card": given.folder / own} if own.endswith(".toml") else cards


def _images(given: Given, name: Literal["train", "calibration", "eval"]) -> dict[str, Path | str]:
    """Return where the images of [data] lie; the sample that ships where nothing is said."""
    return {name: given.images(getattr(given.pipeline.data, name)) or shipped("calibration")}


def _model(name: str, model: Model) -> dict[str, Path | str]:
    return _file(name, model.file)


def _file(name: str, path: Path | str | None) -> dict[str, Path | str]:
    return {} if path is None else {name: path}
