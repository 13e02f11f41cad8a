"""`edgekit build --emit`: a model in the form that DeepStream or Triton runs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

import edgekit
from edgekit.data import normalise
from edgekit.engine import (
    ENGINE,
    DeepStream,
    Triton,
    emit_deepstream,
    emit_triton,
    engine_name,
    lower,
    nvinfer_scale,
    with_one_std,
    with_softmax,
)
from edgekit.errors import TargetError
from edgekit.pipeline.lowering import Planned, lower_for, plan_for
from edgekit.pipeline.sources import Source
from edgekit.spec import PREPROCESSING_KEY, Note, Preprocessing
from edgekit.targets import BuildPlan, EnginePrecision
from edgekit.validate import runner, session

Form = Literal["deepstream", "triton"]
CHECKED_IMAGES = 4
# Share of the largest logit by which both may differ on this CPU: rounding, and with Q/DQ a step here and there.
LARGEST_DIFFERENCE: dict[EnginePrecision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 1e-1}


@dataclasses.dataclass(frozen=True)
class EmitRequest:
    """What to write for which program.

    Attributes:
        model: Checkpoint, architecture name, `.onnx` file, or None for the model that ships.
        target: Name or path of a card.
        form: Program that is to run it.
        folder: Where to write: the folder of a DeepStream configuration, or a Triton model repository.
        jetpack: Version of JetPack; None takes the card's newest.
    """

    model: str | None
    target: str
    form: Form
    folder: Path
    jetpack: str | None = None


@dataclasses.dataclass(frozen=True)
class Emitted:
    """What was written."""

    folder: Path
    files: tuple[str, ...]
    plan: BuildPlan
    notes: tuple[Note, ...]


def emit(request: EmitRequest) -> Emitted:
    """Write a DeepStream configuration, or a model of a Triton repository.

    Raises:
        EdgekitError: As `lower_for`; EK003 when it cannot be written, EK730 when what was written computes something
            else than the model.
    """
    write = {"deepstream": _deepstream, "triton": _triton}[request.form]
    return write(request)


def _deepstream(request: EmitRequest) -> Emitted:
    planned = plan_for(request.model, request.target, request.jetpack)
    source, plan = planned.source, planned.plan
    adapted, preprocessing, scaled = with_one_std(source.model, source.preprocessing)
    model, lowered = lower(adapted, plan)
    difference = largest_difference(planned, model, preprocessing)
    require_same(difference, plan.precision, source.name)
    _describe(model, preprocessing)
    content = DeepStream(with_softmax(model), plan, preprocessing, source.class_names, edgekit.__version__)
    files = emit_deepstream(content, request.folder)
    text = (
        f"nvinfer's preprocessing and this model were compared with the model's own on {CHECKED_IMAGES} images of "
        f"noise: the logits differ by {100 * difference:.2g} % of the largest"
    )
    notes = (*planned.notes, *scaled, *lowered, Note("deepstream", text), *_deepstream_notes(source, plan))
    return Emitted(request.folder, files, plan, notes)


def require_same(difference: float, precision: EnginePrecision, where: str) -> None:
    """Raise TargetError EK730 for a difference that rounding does not explain, NaN among them."""
    if not difference <= LARGEST_DIFFERENCE[precision]:
        raise TargetError(
            "EK730",
            f"with nvinfer's preprocessing its logits differ by {100 * difference:.3g} % of the largest",
            where=where,
            hint="report it with the model; edgekit build --bundle writes the model with its own preprocessing",
        )


def largest_difference(planned: Planned, model: onnx.ModelProto, preprocessing: Preprocessing) -> float:
    """Return by how much a model with nvinfer's preprocessing differs from the planned one with its own.

    Args:
        planned: The model as it was given.
        model: The model for nvinfer, lowered, with logits as its output.
        preprocessing: What nvinfer is told, with one standard deviation.

    Returns:
        The largest difference of a logit on images of noise, as a share of the largest logit.
    """
    size = preprocessing.input_size
    pixels = np.random.default_rng(0).integers(0, 256, (CHECKED_IMAGES, size, size, 3), np.uint8)
    original, _ = lower(planned.source.model, planned.plan)
    expected = _logits(original, normalise(pixels, planned.source.preprocessing))
    scale, offsets = nvinfer_scale(preprocessing)
    # As nvinfer's kernel computes it, in float32.
    scaled = np.float32(scale) * (pixels.astype(np.float32) - np.array(offsets, np.float32))
    actual = _logits(model, np.ascontiguousarray(np.moveaxis(scaled, -1, -3)))
    return float(np.abs(actual - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def _logits(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    run = runner(session(model.SerializeToString(), threads=1))
    return np.concatenate([run(image[np.newaxis]) for image in images])


def _describe(model: onnx.ModelProto, preprocessing: Preprocessing) -> None:
    """Let the model's metadata say how images become the input that it has now."""
    for entry in model.metadata_props:
        if entry.key == PREPROCESSING_KEY:
            entry.value = preprocessing.to_json()


def _deepstream_notes(source: Source, plan: BuildPlan) -> list[Note]:
    given = source.preprocessing
    texts = [
        "a Softmax stands at the end: nvinfer reports the largest output as confidence, above classifier-threshold",
        _resizing(given.input_size, given.resize),
        f"its scaler is not the model's ({given.interpolation} with antialiasing): expect small differences",
    ]
    if source.class_names is None:
        texts.append("the names of the classes are not known: put them into labels.txt, one line with semicolons, and "
                     "add labelfile-path=labels.txt")  # fmt: skip
    if plan.precision == "int8" and plan.typing == "weak":
        texts.append(
            "nvinfer builds INT8 from a calibration file only, not from Q/DQ: build the engine first, on the device, "
            f"with trtexec --onnx=model.onnx --int8 --fp16 --saveEngine={engine_name(plan)}"
        )
    if plan.typing == "strong":
        texts.append(
            f"TensorRT {plan.tensorrt} takes the precision from the file: nvinfer needs the key strongly-typed, which "
            "DeepStream 9 has; --jetpack plans for an older one"
        )
    return [Note("deepstream", text) for text in (*texts, "not run in DeepStream by anybody yet")]


def _resizing(size: int, resize: int) -> str:
    text = "nvinfer scales the whole frame; here it keeps its proportions, with black bars"
    if size > resize:
        return text
    side = 1080 * size // resize
    left, top = (1920 - side) // 2, (1080 - side) // 2
    share = "" if size == resize else f"{size}/{resize} of "
    return (
        f"{text}. The model was made for the centre square with {share}the short side: crop it before with "
        f"nvvideoconvert, of a 1920x1080 frame with src-crop={left}:{top}:{side}:{side}"
    )


def _triton(request: EmitRequest) -> Emitted:
    lowered = lower_for(request.model, request.target, request.jetpack)
    source, plan = lowered.source, lowered.plan
    jetson = lowered.card.kind == "jetson"
    name = triton_name(source)
    content = Triton(name, lowered.model, plan, jetson, source.preprocessing, source.class_names)
    files = emit_triton(content, request.folder)
    texts = ["a request holds one preprocessed image; the parameter edgekit.preprocessing says how to preprocess"]
    if jetson:
        texts.append(
            "Triton for JetPack serves engines, not ONNX through TensorRT: put the one that edgekit build makes of "
            f"this model into {request.folder / name / ENGINE}"
        )
    elif plan.precision == "int8":
        texts.append("onnxruntime's provider takes one precision_mode: what has no Q/DQ runs in FP32")
    if source.class_names is None:
        texts.append("the names of the classes are not known: no label file was written")
    texts.append("not run in Triton by anybody yet")
    return Emitted(request.folder, files, plan, (*lowered.notes, *(Note("triton", text) for text in texts)))


def triton_name(source: Source) -> str:
    """Return a name for a model in a repository: a file's without its ending, else the architecture's."""
    known = source.spec.architecture if source.spec is not None else "model"
    name = known if source.shipped or source.random else Path(source.name).stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip(".") or known
