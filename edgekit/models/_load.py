"""From what a user names as MODEL to a module with its weights and everything known about it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import ModelError, UsageError
from edgekit.models import registry
from edgekit.models._checkpoint import Checkpoint, read_checkpoint
from edgekit.models._inference import infer_spec
from edgekit.models._matching import match
from edgekit.models._metadata import (
    class_names_from_metadata,
    preprocessing_from_metadata,
    spec_from_metadata,
)
from edgekit.models.blocks import MobileNet
from edgekit.shipped import shipped_checkpoint
from edgekit.spec import ModelSpec, Note, Preprocessing

# Share of the short side that the centre crop keeps in the usual evaluation (224 of 256).
CENTRE_CROP = 224 / 256
SMALLEST_RESIZED = 64


@dataclasses.dataclass(frozen=True)
class Overrides:
    """What the user says about a model; None leaves it to the checkpoint's metadata, its shapes or the defaults."""

    architecture: str | None = None
    width: float | None = None
    num_classes: int | None = None
    input_size: int | None = None
    padding: str | None = None
    bn_eps: float | None = None
    stem_stride: int | None = None
    output_stride: int | None = None
    activation: str | None = None
    conv_bias: bool | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    resize: int | None = None

    def of_spec(self) -> dict[str, Any]:
        """Return the given fields that belong to ModelSpec."""
        return self._given(ModelSpec)

    def of_preprocessing(self) -> dict[str, Any]:
        """Return the given fields that belong to Preprocessing."""
        return self._given(Preprocessing)

    def _given(self, kind: type[ModelSpec | Preprocessing]) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: value for name, value in vars(self).items() if name in names and value is not None}


NO_OVERRIDES = Overrides()


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model ready to use.

    Attributes:
        module: The model in eval mode.
        spec: Its description.
        preprocessing: How images become its input.
        class_names: Name of each class, None when not known.
        source: Where it came from, as the user named it.
        sha256: Hash of the file; empty for random weights.
        random: The weights are random: accuracy means nothing, time does.
        notes: What was assumed.
    """

    module: MobileNet
    spec: ModelSpec
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    source: str
    sha256: str
    random: bool
    notes: tuple[Note, ...]


def load(model: str | Path | None, overrides: Overrides = NO_OVERRIDES) -> LoadedModel:
    """Load a checkpoint, or build a named architecture with random weights (seed 0).

    Args:
        model: Path of a `.safetensors` or `.pth`/`.pt` state_dict, the name of an architecture, or None for the
            model that ships.
        overrides: What the user says about it.

    Raises:
        ModelError: EK101 to EK107 or EK110 when the checkpoint cannot be used.
        UsageError: EK001 when an override is out of range.
    """
    if model is None:
        return _from_checkpoint(shipped_checkpoint(), "the CIFAR-10 MobileNet that ships with edgekit", overrides)
    if str(model) in registry.FAMILIES and not Path(model).exists():
        return _from_scratch(str(model), overrides)
    return _from_checkpoint(Path(model), str(model), overrides)


def _from_scratch(architecture: str, overrides: Overrides) -> LoadedModel:
    spec = ModelSpec(**{"architecture": architecture, **overrides.of_spec()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = registry.build(spec)
        _settle(module, spec.input_size)
    preprocessing = complete_preprocessing({}, overrides, spec)
    note = Note("model", "the weights are random: accuracy and drift mean nothing, sizes and times do")
    return LoadedModel(module.eval(), spec, preprocessing, None, architecture, "", True, (note,))


@torch.no_grad()
def _settle(module: MobileNet, input_size: int) -> None:
    """Let normalisations see one batch of noise: without, signals of random weights die out within a few layers."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    module.train()(torch.randn(4, 3, input_size, input_size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _from_checkpoint(path: Path, source: str, overrides: Overrides) -> LoadedModel:
    checkpoint = read_checkpoint(path)
    spec, notes = _spec(checkpoint, overrides, str(path))
    stored = preprocessing_from_metadata(checkpoint.metadata, where=str(path))
    preprocessing = complete_preprocessing(stored, overrides, spec)
    if not {"mean", "std"} <= {*stored, *overrides.of_preprocessing()}:
        notes.append(
            Note("model", "mean and standard deviation are not stored in this checkpoint: ImageNet's are assumed; "
                 "--mean and --std set others")
        )  # fmt: skip
    class_names = class_names_from_metadata(checkpoint.metadata, where=str(path))
    if class_names is not None and len(class_names) != spec.num_classes:
        class_names = None
    with torch.random.fork_rng(devices=[]):
        module = registry.build(spec)
    description = f"{spec.architecture} width {spec.width:g}"
    module.load_state_dict(match(module, checkpoint.tensors, description=description, where=str(path)))
    return LoadedModel(module.eval(), spec, preprocessing, class_names, source, checkpoint.sha256, False, tuple(notes))


# What the shapes of a checkpoint tell for certain.
_SHAPED_FIELDS = ("architecture", "width", "num_classes", "conv_bias")


def _spec(checkpoint: Checkpoint, overrides: Overrides, where: str) -> tuple[ModelSpec, list[Note]]:
    """Put together what shapes, metadata and the user say: the user wins, then metadata, then shapes."""
    said = {**spec_from_metadata(checkpoint.metadata, where=where), **overrides.of_spec()}
    if {"architecture", "width", "num_classes"} <= said.keys():
        return ModelSpec(**said), _assumptions(said)
    try:
        inferred = infer_spec(checkpoint.tensors, where=where)
    except ModelError:
        if "architecture" not in said:
            raise
        return ModelSpec(**said), _assumptions(said)
    if said.get("architecture", inferred.architecture) != inferred.architecture:
        return ModelSpec(**said), _assumptions(said)
    shaped = {name: getattr(inferred, name) for name in _SHAPED_FIELDS}
    notes = _assumptions(said)
    if "architecture" not in said:
        text = f"the shapes of the checkpoint are those of {shaped['architecture']} at width {shaped['width']:g}"
        notes.insert(0, Note("model", text))
    return ModelSpec(**{**shaped, **said}), notes


def _assumptions(said: dict[str, Any]) -> list[Note]:
    """Tell what neither the checkpoint nor the user says, and what was taken instead."""
    notes = []
    if "padding" not in said:
        notes.append(
            Note("model", "padding is not stored in this checkpoint: torch is assumed; one that was born in "
                 "TensorFlow needs --padding tf_same or loses accuracy")
        )  # fmt: skip
    if "input_size" not in said:
        notes.append(Note("model", "the input size is not stored in this checkpoint: 224 is assumed; see --input-size"))
    return notes


def complete_preprocessing(stored: dict[str, Any], overrides: Overrides, spec: ModelSpec) -> Preprocessing:
    """Fill what neither metadata nor the user says with the field's usual evaluation.

    The short side is resized so that the centre crop keeps 224/256 of it; small images are not resized.

    Raises:
        UsageError: EK001 when the result is no preprocessing: the crop is larger than the image, a mean is not
            finite or a standard deviation not above 0. The option that it names puts right stored values too.
    """
    fields = {**stored, **overrides.of_preprocessing(), "input_size": spec.input_size}
    if spec.input_size != stored.get("input_size", spec.input_size) and overrides.resize is None:
        fields.pop("resize", None)
    usual = round(spec.input_size / CENTRE_CROP) if spec.input_size >= SMALLEST_RESIZED else spec.input_size
    fields.setdefault("resize", usual)
    preprocessing = Preprocessing(**fields)
    _require_usable(preprocessing)
    return preprocessing


def _require_usable(preprocessing: Preprocessing) -> None:
    size, resize = preprocessing.input_size, preprocessing.resize
    if resize < size:
        raise UsageError(
            "EK001",
            f"images are resized to {resize} pixels and then cropped to {size}",
            where="--resize",
            hint=f"take {size} or more",
        )
    if not all(map(math.isfinite, preprocessing.mean)):
        raise UsageError("EK001", "a mean is not finite", where="--mean", hint="write it as 0.485,0.456,0.406")
    if not all(math.isfinite(value) and value > 0 for value in preprocessing.std):
        raise UsageError("EK001", "a standard deviation is not above 0", where="--std", hint="take numbers above 0")
