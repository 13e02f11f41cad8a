"""`edgekit prune`: a checkpoint in, a smaller one out that carries its own description."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

import edgekit
from edgekit.data import ImageSet, batches, open_images, sample
from edgekit.errors import PruningError, UsageError
from edgekit.export import to_onnx
from edgekit.files import check_folder
from edgekit.models import (
    NO_OVERRIDES,
    LoadedModel,
    MobileNet,
    Overrides,
    Profile,
    load,
    profile,
    save_checkpoint,
    to_metadata,
)
from edgekit.pipeline.measuring import Measured, StartProgress, measure, silent
from edgekit.pipeline.recovery import SHIPPED_NAME, Recovery, recover, recovery_images
from edgekit.pruning import (
    Cost,
    Masked,
    Pruned,
    Repair,
    Structure,
    Structured,
    estimated_latency,
    measured_latency,
    prune_channels,
    prune_two_of_four,
    prune_unstructured,
    recover_masked,
    remove_channels,
)
from edgekit.report import environment
from edgekit.spec import DEFAULT_OPSET, ModelSpec, Note
from edgekit.targets import CHANNEL_MULTIPLE, channel_multiple, load_card, load_estimator, peaks_of
from edgekit.training import EpochResult, Step
from edgekit.validate import runner, session

if TYPE_CHECKING:
    import onnx

# Small batches: the importance of a channel is a mean over them.
BATCH = 16
# So many images of --data that did not judge are compared where there are no others.
UNJUDGED = 500
Method = Literal["structured", "unstructured", "2:4"]
Recover = Literal["none", "bn", "repair", "distill", "finetune"]
# Training begins from what repair makes of the model: it is nearer, and costs seconds.
_BEFORE_TRAINING: Mapping[Recover, Repair] = {"none": "none", "bn": "bn"}


@dataclasses.dataclass(frozen=True)
class PruneRequest:
    """What to prune, how, and where to put it.

    Attributes:
        model: Checkpoint, architecture name, or None for the model that ships.
        output: File to write.
        method: What goes: whole channels, the smallest weights, or two of four neighbouring weights.
        structured: Budget and choice of channels; for `structured` alone.
        amount: Share of the weights that goes; for `unstructured` alone.
        recover: What is done about it: nothing, measuring normalisations anew, refitting every layer, and after that
            training from the original's outputs or from labels.
        recovery: How to train; for `distill` and `finetune` alone.
        overrides: What the user says about the model.
        images: Images to judge, repair and train with; None takes the sample that ships, where it fits.
        samples: How many of them judge and repair, evenly spread.
        evaluation: Images to compare original and result on; None takes the sample that ships, where it fits, else
            those of `images` that did not judge.
        evaluation_samples: How many of them, evenly spread; None takes all.
        target: Name or path of the card of the device it is for; None is this machine.
        threads: Threads that a timed frame may use; 0 takes all cores.
    """

    model: str | None
    output: Path
    method: Method
    structured: Structured | None = None
    amount: float | None = None
    recover: Recover = "repair"
    recovery: Recovery | None = None
    overrides: Overrides = NO_OVERRIDES
    images: Path | str | None = None
    samples: int = 256
    evaluation: Path | str | None = None
    evaluation_samples: int | None = None
    target: str | None = None
    threads: int = 0


@dataclasses.dataclass(frozen=True)
class PruneOutcome:
    """What pruning came to.

    Attributes:
        checkpoint: File that was written.
        source: The model as the user named it.
        spec: Description of the pruned model.
        before: Cost before, layer by layer.
        after: Cost after.
        pruned: Channels and sensitivities; None where single weights went.
        masked: Zeros and packed size; None where channels went.
        measured: Accuracy, drift and time per frame of both, in onnxruntime and FP32.
        history: Epochs of training.
        notes: What was assumed and used.
    """

    checkpoint: Path
    source: str
    spec: ModelSpec
    before: Profile
    after: Profile
    pruned: Pruned | None
    masked: Masked | None
    measured: Measured
    history: tuple[EpochResult, ...]
    notes: tuple[Note, ...]


def prune_model(
    request: PruneRequest,
    *,
    start: StartProgress = silent,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[EpochResult], None] = lambda result: None,
) -> PruneOutcome:
    """Prune a model and write it; the file that it came from stays as it is.

    Raises:
        EdgekitError: EK1xx for the model, EK2xx for the images, EK3xx for training, EK8xx where it cannot be pruned,
            EK003 where it cannot be written.
    """
    _require_target(request)
    loaded = load(request.model, request.overrides)
    if loaded.source == str(request.output):
        raise UsageError(
            "EK001", "the pruned model would replace the original", where="--output", hint="choose another file"
        )
    check_folder(request.output.parent)
    images = recovery_images(request.images, loaded, shipped=request.model is None)
    notes = list(loaded.notes)
    stack: list[torch.Tensor] = []
    labels: list[torch.Tensor] | None = None
    judged = None if images is None else images.spread(request.samples)
    evaluation = _evaluation(request, loaded, images, judged)
    if evaluation is not None and request.evaluation_samples is not None:
        evaluation = evaluation.spread(request.evaluation_samples)
    if judged is not None and images is not None:
        stack, labels = _tensors(judged, loaded)
        kind = "labelled" if labels is not None else "unlabelled"
        notes.append(Note("prune", f"judged with {len(judged)} {kind} images of {images.name}"))
    module, spec, pruned, masked = _prune(request, loaded, stack, labels, start)
    history: tuple[EpochResult, ...] = ()
    if request.recovery is not None and request.recover in ("distill", "finetune"):
        if images is None:
            raise PruningError(
                "EK804",
                f"--recover {request.recover} needs images, and there are none",
                hint="give training images with --data",
            )
        module, history = recover(
            loaded, module, spec, images, request.output, request.recovery,
            from_labels=request.recover == "finetune", keep_zeros=masked is not None,
            on_step=on_step, on_epoch=on_epoch,
        )  # fmt: skip
    size = spec.input_size
    before, after = (
        runner(
            session(to_onnx(each, input_size=size, opset=DEFAULT_OPSET)[0].SerializeToString(), threads=request.threads)
        )
        for each in (loaded.module, module)
    )
    measured = measure(before, after, evaluation, loaded.preprocessing, start)
    _write(request, loaded, module, spec)
    return PruneOutcome(
        request.output, loaded.source, spec, profile(loaded.module, size), profile(module, size), pruned, masked,
        measured, history, tuple(notes),
    )  # fmt: skip


def channel_multiple_for(target: str | None) -> int:
    """Return the multiple that channel counts should be of on a target; raises UsageError EK002 when there is none."""
    return CHANNEL_MULTIPLE if target is None else channel_multiple(load_card(target), environment().cpu_int8)


def _prune(
    request: PruneRequest,
    loaded: LoadedModel,
    stack: list[torch.Tensor],
    labels: list[torch.Tensor] | None,
    start: StartProgress,
) -> tuple[MobileNet, ModelSpec, Pruned | None, Masked | None]:
    repairing = _BEFORE_TRAINING.get(request.recover, "repair")
    if request.method == "structured":
        assert request.structured is not None
        how = dataclasses.replace(request.structured, recover=repairing)
        clock = functools.partial(_clock, request, loaded, start)
        pruned = prune_channels(loaded.module, loaded.spec, how, stack, labels, clock=clock, start=start)
        return pruned.module, pruned.spec, pruned, None
    if request.method == "unstructured":
        assert request.amount is not None
        masked = prune_unstructured(loaded.module, request.amount)
    else:
        masked = prune_two_of_four(loaded.module)
    advance = start("repair", len(loaded.module.features) + 1) if repairing == "repair" else lambda blocks: None
    masked = recover_masked(loaded.module, masked, repairing, stack, advance=advance)
    return masked.module, loaded.spec, None, masked


def _clock(request: PruneRequest, loaded: LoadedModel, start: StartProgress, parts: Structure) -> Cost:
    """Return what a choice of channels takes: timed on this machine, or estimated for a GPU target."""

    def whole(channels: Sequence[int]) -> onnx.ModelProto:
        kept = {group.name: range(count) for group, count in zip(parts.groups, channels, strict=True)}
        narrow, spec = remove_channels(loaded.module, loaded.spec, kept)
        return to_onnx(narrow, input_size=spec.input_size)[0]

    card = None if request.target is None else load_card(request.target)
    if card is None or card.kind == "cpu":
        advance = start("timing layers", len(parts.layers))
        return measured_latency(parts, request.threads, whole=whole, advance=advance)
    peaks = peaks_of(card, "fp16" if card.facts.fp16.value else "fp32")
    return estimated_latency(parts, peaks, load_estimator().family(peaks.tensor_cores).coefficients)


def _require_target(request: PruneRequest) -> None:
    """Raise PruningError EK805 when the target makes nothing of the method, UsageError EK002 when there is none."""
    if request.target is None:
        return
    card = load_card(request.target)
    if request.method == "2:4" and not card.facts.sparsity_2_4.value:
        raise PruningError(
            "EK805",
            f"{card.title} has no sparse tensor cores: 2:4 would cost accuracy and save nothing",
            where="--method 2:4",
            hint="take --method structured, or a target from Orin on",
        )


def _write(request: PruneRequest, loaded: LoadedModel, module: nn.Module, spec: ModelSpec) -> None:
    facts = {
        "method": request.method,
        "structured": None if request.structured is None else dataclasses.asdict(request.structured),
        "amount": request.amount,
        "recover": request.recover,
    }
    provenance = {"edgekit": edgekit.__version__, "pruning": json.dumps(facts), "pruned_from": loaded.sha256}
    metadata = to_metadata(spec, loaded.preprocessing, loaded.class_names, provenance)
    save_checkpoint(request.output, module, metadata)


def _evaluation(
    request: PruneRequest, loaded: LoadedModel, images: ImageSet | None, judged: ImageSet | None
) -> ImageSet | None:
    if request.evaluation is not None:
        return open_images(request.evaluation, class_names=loaded.class_names)
    shipped = sample()
    if loaded.class_names == shipped.class_names:
        return dataclasses.replace(shipped.evaluation, name=SHIPPED_NAME)
    if loaded.random:
        return dataclasses.replace(shipped.evaluation, name=SHIPPED_NAME, labels=None)
    rest = None if images is None or judged is None else images.without(judged)
    return rest.spread(UNJUDGED) if rest else None


def _tensors(images: ImageSet, loaded: LoadedModel) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    with contextlib.closing(batches(images, loaded.preprocessing, BATCH)) as stream:
        read = list(stream)
    labels = [torch.from_numpy(batch.labels).long() for batch in read if batch.labels is not None]
    return [torch.from_numpy(batch.images) for batch in read], labels or None
