"""`edgekit profile`: what a model costs, what its activations look like, and what it may take on a target."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from edgekit.data import batches, open_images
from edgekit.errors import UsageError
from edgekit.models import NO_OVERRIDES, ActivationStatistics, Overrides, Profile, activation_statistics, load, profile
from edgekit.pipeline.estimating import Estimate, estimate_for
from edgekit.pipeline.measuring import StartProgress, silent
from edgekit.pipeline.sources import is_onnx
from edgekit.spec import ModelSpec, Note
from edgekit.targets import EnginePrecision

ACTIVATION_BATCH = 4


@dataclasses.dataclass(frozen=True)
class ProfileOutcome:
    """The cost of a model and, where asked for, the statistics of its activations and its time on a target."""

    source: str
    spec: ModelSpec
    profile: Profile
    statistics: tuple[ActivationStatistics, ...] | None
    estimate: Estimate | None
    notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True)
class EstimateRequest:
    """What to estimate the time per frame for.

    Attributes:
        target: Name or path of a card.
        precision: What computes; None takes FP16 where TensorRT has it.
        estimator: A file of fitted coefficients; None takes the one that ships.
    """

    target: str
    precision: EnginePrecision | None = None
    estimator: Path | None = None


def profile_model(
    model: str | Path | None,
    overrides: Overrides = NO_OVERRIDES,
    activations: Path | str | None = None,
    samples: int = 64,
    *,
    estimating: EstimateRequest | None = None,
    progress: StartProgress = silent,
) -> ProfileOutcome:
    """Profile a model; with `activations`, also run `samples` of those images through it.

    Raises:
        UsageError: EK001 for an `.onnx` file, which has no modules to profile.
        EdgekitError: as `load`, `open_images` and `estimate_for` do.
    """
    if is_onnx(model):
        raise UsageError(
            "EK001",
            "profile reads checkpoints",
            where=str(model),
            hint="see `edgekit inspect` for an .onnx file",
        )
    loaded = load(model, overrides)
    cost = profile(loaded.module, loaded.spec.input_size)
    estimate = None
    if estimating is not None:
        estimate = estimate_for(cost, estimating.target, estimating.precision, estimating.estimator)
    statistics = None
    if activations is not None:
        images = open_images(activations).spread(samples)
        advance = progress("running images", len(images))
        with contextlib.closing(batches(images, loaded.preprocessing, ACTIVATION_BATCH)) as stream:
            statistics = activation_statistics(loaded.module, (batch.images for batch in stream), advance)
    return ProfileOutcome(loaded.source, loaded.spec, cost, statistics, estimate, loaded.notes)
