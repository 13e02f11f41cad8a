"""Plain frozen types that every stage shares. No torch, no onnxruntime, nothing that runs."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from typing import Any, Literal, get_args

from edgekit.errors import ModelError

# The newest that every runtime in wide use reads.
DEFAULT_OPSET = 17

# Metadata of an ONNX file that more than one stage reads.
PREPROCESSING_KEY = "edgekit.preprocessing"
EQUALIZED_KEY = "edgekit.equalized"

Padding = Literal["torch", "tf_same"]
Activation = Literal["relu6", "relu"]
Interpolation = Literal["bilinear", "bicubic"]
Quantization = Literal["none", "dynamic", "static", "qat"]
Effort = Literal["fast", "balanced", "best"]
CalibrationMethod = Literal["auto", "minmax", "percentile", "entropy", "mse"]


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a model, apart from its weights.

    Attributes:
        architecture: Name in the registry, e.g. `mobilenet_v1`.
        width: Width multiplier α.
        num_classes: Number of logits.
        input_size: Height and width of the input, in pixels.
        padding: `torch` pads strided convolutions on both sides, `tf_same` right and bottom, as TensorFlow does.
        bn_eps: Epsilon of every batch normalisation; None takes the architecture's own.
        stem_stride: Stride of the first convolution; 1 suits 32x32 images.
        output_stride: Input size over the size of the last feature map; later strides become 1. None keeps all strides.
        activation: MobileNetV1 only: the non-linearity after each convolution.
        conv_bias: MobileNetV1 only: convolutions have a bias of their own beside batch normalisation.
        channels: Channels that pruning left in each layer that chooses them, in the order of the layers; None: as many
            as architecture and width give.
    """

    architecture: str
    width: float = 1.0
    num_classes: int = 1000
    input_size: int = 224
    padding: Padding = "torch"
    bn_eps: float | None = None
    stem_stride: int = 2
    output_stride: int | None = None
    activation: Activation = "relu6"
    conv_bias: bool = False
    channels: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an RGB image becomes a model input: resize the short side, crop the centre, scale to 0..1, normalise.

    Attributes:
        input_size: Height and width after the centre crop, in pixels.
        resize: Length of the short side before the crop, in pixels.
        mean: Mean of each of R, G, B, in units of 0..1.
        std: Standard deviation of each of R, G, B, in units of 0..1.
        interpolation: Filter of the resize (with antialiasing).
        layout: Order of the axes of the result.
    """

    input_size: int
    resize: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bilinear"
    layout: Literal["NCHW"] = "NCHW"

    def to_json(self) -> str:
        """Return the JSON text that model files and `preprocessing.json` hold."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, *, where: str = "") -> Preprocessing:
        """Read what `to_json` wrote; raises ModelError EK107 when it is something else."""
        try:
            return cls(**_checked(json.loads(text)))
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ModelError(
                "EK107",
                f"the preprocessing is not readable ({reason})",
                where=where,
                hint="give --mean, --std and --resize, or remove the metadata",
            ) from error


def _checked(fields: Any) -> dict[str, Any]:
    """Return the fields of a Preprocessing with their types; raises ValueError for one that cannot be."""
    if not isinstance(fields, dict):
        raise TypeError(f"a JSON object is expected, not {type(fields).__name__}")
    for name in ("input_size", "resize"):
        if type(fields[name]) is not int or fields[name] < 1:
            raise ValueError(f"{name} is not a positive integer")
    mean, std = _three(fields["mean"], "mean"), _three(fields["std"], "std")
    if min(std) <= 0:
        raise ValueError("std is not above 0")
    for name, choices in (("interpolation", get_args(Interpolation)), ("layout", ("NCHW",))):
        if fields.get(name, choices[0]) not in choices:
            raise ValueError(f"{name} is not one of {', '.join(choices)}")
    return {**fields, "mean": mean, "std": std}


def _three(values: Any, name: str) -> tuple[float, float, float]:
    numbers = isinstance(values, list) and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    if not numbers or len(values) != 3:
        raise ValueError(f"{name} is not a list of three numbers")
    first, second, third = map(float, values)
    return first, second, third


class Precision(str, enum.Enum):
    """What a node computes in."""

    INT8 = "int8"
    FLOAT = "float32"


@dataclasses.dataclass(frozen=True)
class Range:
    """Closed interval of real values that a tensor is expected to take."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class QuantizationParameters:
    """Affine quantization `real = scale * (integer - zero_point)`.

    Attributes:
        scale: Step size: one value per tensor, or one per channel along `axis`.
        zero_point: Integer that stands for 0.0, as many as scales.
        dtype: `uint8` or `int8`.
        axis: Channel axis, None when per tensor.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    dtype: Literal["uint8", "int8"]
    axis: int | None = None


@dataclasses.dataclass(frozen=True)
class LayerDecision:
    """The precision that one node gets, decided once in `quantize.plan` and carried everywhere after.

    Attributes:
        node: Name of the node in the FP32 graph.
        op_type: ONNX operator.
        precision: What it computes in.
        reason: Why, in words a user can read.
    """

    node: str
    op_type: str
    precision: Precision
    reason: str


@dataclasses.dataclass(frozen=True)
class Note:
    """What a graph pass or stage did, in words a user can read."""

    source: str
    text: str


@dataclasses.dataclass(frozen=True)
class Rung:
    """One step of the accuracy ladder and what it gained on calibration images that were held out.

    Attributes:
        name: Name of the rung.
        kl: Kullback-Leibler divergence from FP32 with it, in nats.
        agreement: Share of the images with the same best class as FP32, in percent.
        kept: Whether it helped, and so stayed.
        seconds: Time it took.
        what: What it changed, in words a user can read.
    """

    name: str
    kl: float
    agreement: float
    kept: bool
    seconds: float
    what: str


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % confidence interval."""

    value: float
    low: float
    high: float
