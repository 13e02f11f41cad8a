"""`edgekit bench`: time per frame, throughput and memory of models in turns, beside the machine's own noise."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

import edgekit
from edgekit.data import sample
from edgekit.errors import ComparisonError, UsageError
from edgekit.export import fold_batch_norm, load_onnx
from edgekit.files import check_folder, write_json
from edgekit.models import NO_OVERRIDES, Overrides, load
from edgekit.pipeline.measuring import StartProgress, first_images, silent
from edgekit.pipeline.sources import describe_onnx, is_onnx, open_source
from edgekit.results import BENCH_SCHEMA, Bench, BenchedModel, MachineState
from edgekit.spec import Preprocessing
from edgekit.validate import Entrant, ModelTiming, Provider, peak_memory, time_models, watching_machine
from edgekit.validate.backends import Backend, BackendName, OpenModel, choose_backend

BENCH_FILE: Final = "bench.json"
_DISTINCT_IMAGES: Final = 32  # more of them only take longer to decode
_BUSY_LOAD: Final = 0.5  # a core
_MUCH_STEAL_PERCENT: Final = 1.0


@dataclasses.dataclass(frozen=True)
class BenchRequest:
    """What to time, and how.

    Attributes:
        models: Checkpoints, `.onnx` files or architecture names; None is the model that ships. Ratios are relative
            to the first.
        overrides: What the user says about checkpoints and architectures; `.onnx` files have theirs in them.
        backend: What runs them all.
        provider: What onnxruntime runs on.
        threads: Threads that a frame may use; 0 takes all cores.
        frames: Timed frames of each at batch 1, at least ten.
        budget_s: Seconds for all the timing.
        batches: Batch sizes; frames are timed at batch 1 in any case.
        memory: Measure peak memory too, each model in a process of its own.
        output: Folder for `bench.json`; None writes nothing.
        command: The command line, for the result.
    """

    models: tuple[str | None, ...]
    overrides: Overrides = NO_OVERRIDES
    backend: BackendName = "onnxruntime"
    provider: Provider = "cpu"
    threads: int = 0
    frames: int = 400
    budget_s: float = 30.0
    batches: tuple[int, ...] = (1, 8, 32)
    memory: bool = True
    output: Path | None = None
    command: str = ""


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """A model as a file that the backend opens."""

    name: str
    path: Path
    size_bytes: int
    preprocessing: Preprocessing


def bench_models(request: BenchRequest, *, progress: StartProgress = silent) -> Bench:
    """Time models in turns in this process, the first one twice; a checkpoint runs as what it exports to.

    Models may take images of different sizes: each has frames of its own.

    Raises:
        UsageError: EK001 when an option has no meaning, EK003 when the output cannot be written.
        ModelError: EK1xx when a model cannot be used.
        ComparisonError: EK610 or EK611 when backend or provider is missing, EK612 when the backend cannot run a
            model, EK613 when one fails or computes NaN, EK614 when its memory cannot be measured.
    """
    _check(request)
    if request.output is not None:
        check_folder(request.output)
    backend = choose_backend(request.backend, request.provider)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        advance = progress("opening models", len(request.models))
        prepared = []
        for index, model in enumerate(request.models):
            prepared.append(_prepare(model, request.overrides, backend, Path(folder), str(index)))
            advance(1)
        peaks = _peaks(request, backend, prepared, Path(folder), progress)
        models = [backend.open(own.path, threads=request.threads) for own in prepared]
        twin = backend.open(prepared[0].path, threads=request.threads)
        entrants = [
            Entrant(own.name, model, _images(own.preprocessing, max(request.batches)), _batches(request, model))
            for own, model in zip(prepared, models, strict=True)
        ]
        with watching_machine() as watch:
            timings = time_models(
                entrants, twin, frames=request.frames, budget_s=request.budget_s, progress=progress
            )  # fmt: skip
    benched = tuple(
        _benched(own, model, timing, peak)
        for own, model, timing, peak in zip(prepared, models, timings.models, peaks, strict=True)
    )
    machine = watch.state()
    notes = (*_model_notes(benched, models), *_machine_notes(machine))
    bench = Bench(BENCH_SCHEMA, edgekit.__version__, request.command, benched, timings.noise, machine, notes)
    if request.output is not None:
        write_json(request.output / BENCH_FILE, dataclasses.asdict(bench))
    return bench


def _check(request: BenchRequest) -> None:
    """Refuse what has no meaning before anything is opened."""
    if not 0 < request.budget_s < float("inf"):
        raise UsageError("EK001", f"{request.budget_s} s is no time", where="--budget", hint="give seconds, above 0")
    if not request.batches or min(request.batches) < 1:
        raise UsageError("EK001", "a batch has one image at least", where="--batch", hint="write it as 1,8,32")
    if vars(request.overrides) != vars(NO_OVERRIDES) and all(map(is_onnx, request.models)):
        raise UsageError(
            "EK001", "an .onnx file has its architecture in it, and all models are such files", where="--arch",
            hint="leave the options that describe a checkpoint out",
        )  # fmt: skip


def _prepare(model: str | None, overrides: Overrides, backend: Backend, folder: Path, stem: str) -> _Prepared:
    """Bring a model into the form that the backend reads."""
    if backend.reads == "module":
        return _prepare_module(model, overrides, folder / f"{stem}.pt")
    if is_onnx(model):
        assert model is not None
        # Opened as it is: cleaned up it would be another model. Its reading here refuses what is no classifier.
        source = describe_onnx(load_onnx(Path(model)), Path(model), NO_OVERRIDES)
        return _Prepared(source.name, Path(model), source.model.ByteSize(), source.preprocessing)
    source = open_source(model, overrides, None)
    path = folder / f"{stem}.onnx"
    path.write_bytes(source.model.SerializeToString())
    return _Prepared(source.name, path, path.stat().st_size, source.preprocessing)


def _prepare_module(model: str | None, overrides: Overrides, path: Path) -> _Prepared:
    if is_onnx(model):
        raise ComparisonError(
            "EK612", "torch does not run ONNX", where=str(model), hint="give the checkpoint, or take another --backend"
        )
    import torch

    loaded = load(model, overrides)
    folded, _ = fold_batch_norm(loaded.module)
    torch.save(folded, path)
    return _Prepared(loaded.source, path, path.stat().st_size, loaded.preprocessing)


def _peaks(
    request: BenchRequest, backend: Backend, prepared: Sequence[_Prepared], folder: Path, progress: StartProgress
) -> list[int | None]:
    """Return the peak memory of each model without that of the runtime; before any other session takes memory."""
    if not request.memory:
        return [None] * len(prepared)
    smallest = folder / "smallest"
    backend.write_smallest(smallest)
    advance = progress("measuring memory", len(prepared) + 1)

    def peak(path: Path, input_size: int) -> int | None:
        found = peak_memory(
            path, backend=request.backend, provider=request.provider, threads=request.threads, input_size=input_size
        )
        advance(1)
        return found

    runtime = peak(smallest, 1)
    found = [peak(own.path, own.preprocessing.input_size) for own in prepared]
    return [None if own is None or runtime is None else max(0, own - runtime) for own in found]


def _images(preprocessing: Preprocessing, count: int) -> npt.NDArray[np.float32]:
    """Return so many images of the sample that ships, prepared for a model; again from the first after some."""
    images = first_images(sample().evaluation, preprocessing, min(count, _DISTINCT_IMAGES))
    return np.resize(images, (count, *images.shape[1:]))


def _batches(request: BenchRequest, model: OpenModel) -> tuple[int, ...]:
    return tuple(batch for batch in sorted(set(request.batches)) if model.fixed_batch in (None, batch))


def _benched(own: _Prepared, model: OpenModel, timing: ModelTiming, peak: int | None) -> BenchedModel:
    return BenchedModel(
        name=own.name,
        runtime=model.runtime,
        threads=model.threads,
        size_bytes=own.size_bytes,
        input_size=own.preprocessing.input_size,
        warm_up=timing.warm_up,
        frame_ms=timing.frame_ms,
        samples_ms=timing.samples_ms,
        throughput=timing.throughput,
        peak_memory_bytes=peak,
        speedup=timing.speedup,
        different=timing.different,
    )


def _model_notes(benched: Sequence[BenchedModel], models: Sequence[OpenModel]) -> Iterable[str]:
    for own, model in zip(benched, models, strict=True):
        if model.fixed_batch is not None:
            yield f"{own.name} takes batches of {model.fixed_batch} alone: it was timed at no other"
        if not own.warm_up.steady:
            frames = own.warm_up.frames
            yield f"the warm-up of {own.name} ended after {frames} frames, before they were seen to be steady"
    sizes = sorted({own.input_size for own in benched})
    if len(sizes) > 1:
        pixels = ", ".join(map(str, sizes))
        yield f"the models take images of different sizes ({pixels} pixels): each has frames of its own"


def _machine_notes(machine: MachineState) -> Iterable[str]:
    """Yield what may have disturbed the times."""
    if machine.load_average is not None and machine.load_average[0] > _BUSY_LOAD * machine.cores:
        yield f"other programs were running: the load average was {machine.load_average[0]:.1f} at the start"
    if machine.governor is not None and machine.governor != "performance":
        yield f"the frequency governor is {machine.governor}: performance gives steadier times"
    if machine.throttled:
        yield f"the CPU was slowed for heat {machine.throttled} times"
    if machine.steal_percent is not None and machine.steal_percent > _MUCH_STEAL_PERCENT:
        yield f"the hypervisor gave {machine.steal_percent:.1f} % of the CPU time to others"
