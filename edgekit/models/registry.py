"""The architectures that edgekit knows, and building one from its description."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import get_args

from edgekit.errors import ModelError, UsageError
from edgekit.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from edgekit.models.blocks import ChannelError, MobileNet
from edgekit.spec import Activation, ModelSpec, Padding

MINIMUM_INPUT_SIZE = 32
OUTPUT_STRIDES = (4, 8, 16, 32)
# All families halve the image four times after the stem.
STRIDE_AFTER_STEM = 16


@dataclasses.dataclass(frozen=True)
class Family:
    """One architecture of the registry.

    Attributes:
        name: What `--arch` takes.
        title: Name in the literature.
        source: Paper.
        widths: Width multipliers with published weights; any other positive width works too.
        input_sizes: Input sizes with published results, in pixels; any size from 32 works too.
        build: Makes the module, with random weights.
    """

    name: str
    title: str
    source: str
    widths: tuple[float, ...]
    input_sizes: tuple[int, ...]
    build: Callable[[ModelSpec], MobileNet]


_FAMILIES = (
    Family(
        "mobilenet_v1", "MobileNetV1", "arXiv 1704.04861", (0.25, 0.5, 0.75, 1.0), (128, 160, 192, 224),
        mobilenet_v1.build,
    ),
    Family(
        "mobilenet_v2", "MobileNetV2", "arXiv 1801.04381", (0.35, 0.5, 0.75, 1.0, 1.3, 1.4), (96, 128, 160, 192, 224),
        mobilenet_v2.build,
    ),
    Family(
        "mobilenet_v3_large", "MobileNetV3-Large", "arXiv 1905.02244", (0.75, 1.0), (224,), mobilenet_v3.build_large
    ),
    Family(
        "mobilenet_v3_small", "MobileNetV3-Small", "arXiv 1905.02244", (0.75, 1.0), (224,), mobilenet_v3.build_small
    ),
)  # fmt: skip
FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in _FAMILIES})


def names() -> tuple[str, ...]:
    """Return the names of the architectures, oldest first."""
    return tuple(FAMILIES)


def build(spec: ModelSpec) -> MobileNet:
    """Build a model with random weights from its description.

    Raises:
        UsageError: EK001 when a field of the description is out of its range.
        ModelError: EK107 when its channels are not those of a pruned model of this architecture.
    """
    check(spec)
    try:
        return FAMILIES[spec.architecture].build(spec)
    except ChannelError as error:
        raise ModelError(
            "EK107",
            f"the channels that pruning left do not fit {spec.architecture} width {spec.width:g}: {error}",
            where="channels",
            hint="use the file as `edgekit prune` wrote it, without another --arch or --width",
        ) from error


def check(spec: ModelSpec) -> None:
    """Raise UsageError EK001 for the first field of `spec` that no model can be built from."""
    for option, fits, what, hint in _requirements(spec):
        if not fits:
            raise UsageError("EK001", what, where=option, hint=hint)


def _requirements(spec: ModelSpec) -> Iterator[tuple[str, bool, str, str]]:
    """Yield what must hold: the option, whether it does, and what to say and advise when it does not."""
    name, paddings, activations = spec.architecture, get_args(Padding), get_args(Activation)
    yield "--arch", name in FAMILIES, f"there is no architecture {name!r}", _one_of(names())
    yield "--width", 0.0 < spec.width <= 8.0, f"the width multiplier is {spec.width}", "take more than 0 and up to 8"
    yield "--num-classes", spec.num_classes >= 1, f"the number of classes is {spec.num_classes}", "take 1 or more"
    large_enough = spec.input_size >= MINIMUM_INPUT_SIZE
    yield "--input-size", large_enough, f"the input size is {spec.input_size}", f"take {MINIMUM_INPUT_SIZE} or more"
    yield "--padding", spec.padding in paddings, f"there is no padding {spec.padding!r}", _one_of(paddings)
    epsilon = spec.bn_eps is None or 0.0 < spec.bn_eps < 1.0
    yield "--bn-eps", epsilon, f"the epsilon is {spec.bn_eps}", "take a number between 0 and 1"
    yield "--stem-stride", spec.stem_stride in (1, 2), f"the stem stride is {spec.stem_stride}", "take 1 or 2"
    strides = [stride for stride in OUTPUT_STRIDES if stride <= spec.stem_stride * STRIDE_AFTER_STEM]
    reachable = spec.output_stride is None or spec.output_stride in strides
    what = f"the output stride is {spec.output_stride} with a stem stride of {spec.stem_stride}"
    yield "--output-stride", reachable, what, _one_of(map(str, strides))
    yield "--activation", spec.activation in activations, f"there is no {spec.activation!r}", _one_of(activations)
    v1, only = name == "mobilenet_v1", "leave it out, or take mobilenet_v1"
    yield "--activation", v1 or spec.activation == "relu6", f"{name} has activations of its own", only
    positive = spec.channels is None or min(spec.channels, default=0) >= 1
    yield "channels", positive, "a layer has no channels left", "use the file as `edgekit prune` wrote it"
    yield "--conv-bias", v1 or not spec.conv_bias, f"{name} has no biased convolutions", only


def _one_of(choices: Iterable[str]) -> str:
    return f"take one of {', '.join(choices)}"
