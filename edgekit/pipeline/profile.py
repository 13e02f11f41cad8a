"""`edgekit profile`: what a model costs, and what its activations look like."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from edgekit.data import batches, open_images
from edgekit.errors import UsageError
from edgekit.models import NO_OVERRIDES, ActivationStatistics, Overrides, Profile, activation_statistics, load, profile
from edgekit.pipeline.measuring import StartProgress, silent
from edgekit.pipeline.sources import is_onnx
from edgekit.spec import ModelSpec, Note

ACTIVATION_BATCH = 4


@dataclasses.dataclass(frozen=True)
class ProfileOutcome:
    """The cost of a model and, where asked for, the statistics of its activations."""

    source: str
    spec: ModelSpec
    profile: Profile
    statistics: tuple[ActivationStatistics, ...] | None
    notes: tuple[Note, ...]


def profile_model(
    model: str | Path | None,
    overrides: Overrides = NO_OVERRIDES,
    activations: Path | None = None,
    samples: int = 64,
    *,
    progress: StartProgress = silent,
) -> ProfileOutcome:
    """Profile a model; with `activations`, also run `samples` of those images through it.

    Raises:
        UsageError: EK001 for an `.onnx` file, which has no modules to profile.
        EdgekitError: as `load` and `open_images` do.
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
    statistics = None
    if activations is not None:
        images = open_images(activations).spread(samples)
        advance = progress("running images", len(images))
        with contextlib.closing(batches(images, loaded.preprocessing, ACTIVATION_BATCH)) as stream:
            statistics = activation_statistics(loaded.module, (batch.images for batch in stream), advance)
    return ProfileOutcome(loaded.source, loaded.spec, cost, statistics, loaded.notes)
