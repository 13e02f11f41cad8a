"""`edgekit build`: a bundle that builds, times and checks an engine on the device it is for."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

import edgekit
from edgekit.data import ImageSet, batches, open_images
from edgekit.engine import Bundle, write_bundle
from edgekit.errors import UsageError
from edgekit.pipeline.images import sample_serves, shipped_evaluation
from edgekit.pipeline.lowering import lower_for
from edgekit.pipeline.sources import Source
from edgekit.spec import Note
from edgekit.targets import BuildPlan
from edgekit.validate import runner, session


@dataclasses.dataclass(frozen=True)
class BundleRequest:
    """What to make a bundle of, for what, and where.

    Attributes:
        model: Checkpoint, architecture name, `.onnx` file, or None for the model that ships.
        target: Name or path of a card.
        folder: Where to write it.
        jetpack: Version of JetPack; None takes the card's newest.
        images: Images whose outputs the device is checked on; None takes the sample that ships, where it fits.
        samples: How many of them, evenly spread.
    """

    model: str | None
    target: str
    folder: Path
    jetpack: str | None = None
    images: Path | str | None = None
    samples: int = 16


@dataclasses.dataclass(frozen=True)
class Bundled:
    """A bundle that was written."""

    folder: Path
    files: tuple[str, ...]
    plan: BuildPlan
    notes: tuple[Note, ...]


def make_bundle(request: BundleRequest) -> Bundled:
    """Lower a model and write its bundle.

    Raises:
        EdgekitError: As `lower_for`; EK001 when no images fit, EK2xx for images, EK003 when it cannot be written.
    """
    if request.samples < 1:
        raise UsageError("EK001", f"{request.samples} samples check nothing", where="--samples", hint="take 1 or more")
    lowered = lower_for(request.model, request.target, request.jetpack)
    images = _images(request, lowered.source)
    with contextlib.closing(batches(images.spread(request.samples), lowered.source.preprocessing)) as stream:
        samples = np.concatenate([batch.images for batch in stream])
    # What the device computes is compared with the same file on this CPU: a difference is then the device's own.
    run = runner(session(lowered.model.SerializeToString(), threads=0))
    expected = np.concatenate([run(sample[np.newaxis]) for sample in samples])
    bundle = Bundle(
        lowered.model, lowered.plan, lowered.source.preprocessing, lowered.source.class_names, samples, expected,
        edgekit.__version__,
    )  # fmt: skip
    return Bundled(request.folder, write_bundle(bundle, request.folder), lowered.plan, lowered.notes)


def _images(request: BundleRequest, source: Source) -> ImageSet:
    if request.images is not None:
        return open_images(request.images)
    if sample_serves(source):
        return shipped_evaluation(source)
    raise UsageError(
        "EK001",
        "the bundle needs a few images to check the device on, and the sample that ships has other classes",
        where="--images",
        hint="give some of the model's own images, as a folder, .zip or .npz",
    )
