"""The architectures that edgekit knows, and building one from its description."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

from edgekit.errors import UsageError
from edgekit.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from edgekit.models.blocks import MobileNet
from edgekit.spec import ModelSpec

MINIMUM_INPUT_SIZE = 32


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
    """
    check(spec)
    return FAMILIES[spec.architecture].build(spec)


def check(spec: ModelSpec) -> None:
    """Raise UsageError EK001 for the first field of `spec` that no model can be built from."""
    if spec.architecture not in FAMILIES:
        raise _refusal(
            "--arch", f"there is no architecture {spec.architecture!r}", f"take one of {', '.join(FAMILIES)}"
        )
    if not 0.0 < spec.width <= 8.0:
        raise _refusal("--width", f"the width multiplier is {spec.width}", "take a number above 0 and up to 8")
    if spec.num_classes < 1:
        raise _refusal("--num-classes", f"the number of classes is {spec.num_classes}", "take 1 or more")
    if spec.input_size < MINIMUM_INPUT_SIZE:
        raise _refusal("--input-size", f"the input size is {spec.input_size}", f"take {MINIMUM_INPUT_SIZE} or more")
    if spec.bn_eps is not None and not 0.0 < spec.bn_eps < 1.0:
        raise _refusal("--bn-eps", f"the epsilon is {spec.bn_eps}", "take a number between 0 and 1")
    if spec.stem_stride not in (1, 2):
        raise _refusal("--stem-stride", f"the stem stride is {spec.stem_stride}", "take 1 or 2")
    if spec.output_stride is not None and spec.output_stride not in (4, 8, 16, 32):
        raise _refusal("--output-stride", f"the output stride is {spec.output_stride}", "take 4, 8, 16 or 32")
    if spec.architecture != "mobilenet_v1" and (spec.activation != "relu6" or spec.conv_bias):
        raise _refusal("--arch", f"{spec.architecture} has no other activation and no biased convolutions",
                       "leave them out, or take mobilenet_v1")  # fmt: skip


def _refusal(option: str, what: str, hint: str) -> UsageError:
    return UsageError("EK001", what, where=option, hint=hint)
