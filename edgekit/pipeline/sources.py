"""From what a user names as MODEL, of any kind, to an FP32 ONNX model and everything known about it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit
from edgekit.errors import ModelError, UsageError
from edgekit.export import load_onnx, prepare, to_onnx, with_opset
from edgekit.files import sha256_of
from edgekit.models import Overrides, complete_preprocessing, load
from edgekit.report import Specification
from edgekit.spec import DEFAULT_OPSET, PREPROCESSING_KEY, ModelSpec, Note, Preprocessing

if TYPE_CHECKING:
    import onnx
    from torch import nn

CLASSES_KEY = "edgekit.classes"
MODEL_KEY = "edgekit.model"
VERSION_KEY = "edgekit.version"
SOURCE_KEY = "edgekit.source_sha256"


@dataclasses.dataclass(frozen=True)
class Source:
    """An FP32 ONNX model and what is known about it.

    Attributes:
        model: The FP32 model.
        name: Where it came from, as the user named it.
        sha256: Hash of the file that it came from; empty for random weights.
        module: The torch module it was exported from; None for an `.onnx` file.
        spec: Description of the architecture; None for a foreign `.onnx` file.
        preprocessing: How images become its input.
        class_names: Name of each class, None when not known.
        num_classes: Number of logits.
        random: The weights are random.
        shipped: It is the model that ships with edgekit.
        notes: What was done and assumed.
    """

    model: onnx.ModelProto
    name: str
    sha256: str
    module: nn.Module | None
    spec: ModelSpec | None
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    num_classes: int
    random: bool
    shipped: bool
    notes: tuple[Note, ...]


def is_onnx(model: str | Path | None) -> bool:
    """Tell whether MODEL names an `.onnx` file."""
    return model is not None and Path(model).suffix.lower() == ".onnx"


def open_source(model: str | Path | None, overrides: Overrides, opset: int | None) -> Source:
    """Load MODEL and bring it to a clean FP32 ONNX model.

    Args:
        model: Checkpoint, architecture name, `.onnx` file, or None for the model that ships.
        overrides: What the user says about it.
        opset: Opset to write; None takes 17, or an `.onnx` file's own.

    Raises:
        EdgekitError: EK1xx when MODEL cannot be used, EK4xx when it cannot be exported.
    """
    if is_onnx(model):
        assert model is not None
        return _from_onnx(Path(model), overrides, opset)
    loaded = load(model, overrides)
    metadata = _metadata(loaded.preprocessing, loaded.class_names, loaded.spec, loaded.sha256)
    exported, notes = to_onnx(
        loaded.module, input_size=loaded.spec.input_size, opset=opset or DEFAULT_OPSET, metadata=metadata
    )
    return Source(
        exported, loaded.source, loaded.sha256, loaded.module, loaded.spec, loaded.preprocessing, loaded.class_names,
        loaded.spec.num_classes, loaded.random, model is None, (*loaded.notes, *notes),
    )  # fmt: skip


def _from_onnx(path: Path, overrides: Overrides, opset: int | None) -> Source:
    given, notes = prepare(load_onnx(path))
    if opset is not None:
        given, more = with_opset(given, opset)
        notes = (*notes, *more)
    source = describe_onnx(given, path, overrides)
    return dataclasses.replace(source, notes=(*source.notes, *notes))


def describe_onnx(given: onnx.ModelProto, path: Path, overrides: Overrides) -> Source:
    """Return an ONNX model with what its metadata, its shapes and the user say about it.

    Raises:
        ModelError: EK107 when its metadata is not readable, EK108 when its input is not a square image.
        UsageError: EK001 when the user describes an architecture, which is fixed in an ONNX model.
    """
    _refuse_overrides_of_spec(overrides, path)
    notes: tuple[Note, ...] = ()
    stored = {entry.key: entry.value for entry in given.metadata_props}
    size, classes = _shape(given, path)
    spec = ModelSpec("onnx", input_size=size, num_classes=classes)
    if PREPROCESSING_KEY in stored:
        fields = dataclasses.asdict(Preprocessing.from_json(stored[PREPROCESSING_KEY], where=str(path)))
        preprocessing = complete_preprocessing(fields, overrides, spec)
    else:
        preprocessing = complete_preprocessing({}, overrides, spec)
        if overrides.mean is None or overrides.std is None:
            notes = (
                Note("model", "the file does not say how its images are normalised: ImageNet's mean and "
                     "standard deviation are assumed; --mean and --std set others"),
            )  # fmt: skip
    class_names = _class_names(stored.get(CLASSES_KEY), classes, path)
    original = _spec(stored.get(MODEL_KEY), path)
    sha256 = sha256_of(path)
    del given.metadata_props[:]
    for key, value in {**stored, **_metadata(preprocessing, class_names, original, sha256)}.items():
        given.metadata_props.add(key=key, value=value)
    return Source(given, str(path), sha256, None, original, preprocessing, class_names, classes, False, False, notes)


def _refuse_overrides_of_spec(overrides: Overrides, path: Path) -> None:
    if given := list(overrides.of_spec()):
        option = {"architecture": "--arch"}.get(given[0], f"--{given[0].replace('_', '-')}")
        raise UsageError(
            "EK001",
            f"an .onnx file has its architecture in it, and {path} is one",
            where=option,
            hint="leave the option out; --mean, --std and --resize are for .onnx files too",
        )


def _metadata(
    preprocessing: Preprocessing, class_names: tuple[str, ...] | None, spec: ModelSpec | None, sha256: str
) -> dict[str, str]:
    facts = {VERSION_KEY: edgekit.__version__, PREPROCESSING_KEY: preprocessing.to_json(), SOURCE_KEY: sha256}
    if class_names is not None:
        facts[CLASSES_KEY] = json.dumps(list(class_names))
    if spec is not None:
        facts[MODEL_KEY] = json.dumps(dataclasses.asdict(spec))
    return facts


def _shape(model: onnx.ModelProto, path: Path) -> tuple[int, int]:
    """Return input size and number of classes; both must be fixed and the image square."""
    image = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    logits = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    if image[2] < 1 or image[2] != image[3]:
        raise ModelError(
            "EK108", f"the input is {image[2]}x{image[3]}", where=f"{path}: {model.graph.input[0].name}",
            hint="export the model with a fixed, square input size",
        )  # fmt: skip
    return image[2], logits[1]


def _class_names(text: str | None, classes: int, path: Path) -> tuple[str, ...] | None:
    if text is None:
        return None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unreadable(CLASSES_KEY, path) from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise _unreadable(CLASSES_KEY, path)
    return tuple(names) if len(names) == classes else None


def _spec(text: str | None, path: Path) -> ModelSpec | None:
    if text is None:
        return None
    try:
        return ModelSpec(**Specification.model_validate_json(text).model_dump())
    except ValueError as error:
        raise _unreadable(MODEL_KEY, path) from error


def _unreadable(key: str, path: Path) -> ModelError:
    return ModelError(
        "EK107",
        f"the metadata {key} is not readable",
        where=str(path),
        hint="remove it from the file's metadata_props",
    )
