"""From an FP32 ONNX model and calibration images to the int8 model, as an export asks for it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.calibrate import (
    Summary,
    collect,
    hash_graph,
    hash_images,
    load,
    ranges,
    save,
    tensorrt_cache_text,
)
from edgekit.data import ImageSet, batches
from edgekit.files import write_bytes
from edgekit.pipeline.aware import aware
from edgekit.pipeline.cluster import Workers, collect_shards
from edgekit.pipeline.images import Images
from edgekit.pipeline.job import CALIBRATION_FILE, TENSORRT_CACHE_FILE, ExportRequest, Quantized
from edgekit.pipeline.measuring import StartProgress
from edgekit.pipeline.sources import Source
from edgekit.quantize import (
    Flavour,
    climb,
    flavour_for,
    quantize_dynamic,
    quantize_static,
    saturates_here,
    tensors_to_calibrate,
)
from edgekit.spec import CalibrationMethod, Note, Range

# So many images at most are held in memory at once, for the rungs that look at all of them together.
LADDER_IMAGES = 160
# What `auto` lets the ladder choose from, the first as its start.
_CANDIDATES: tuple[CalibrationMethod, ...] = ("percentile", "minmax", "mse")


def quantize(
    request: ExportRequest,
    form: str,
    source: Source,
    images: Images,
    folder: Path,
    progress: StartProgress,
    workers: Workers | None = None,
) -> Quantized | None:
    """Quantize as `request` asks; None when it asks for FP32.

    Args:
        request: What is asked for.
        form: Name of the Q/DQ flavour; `cpu` takes what this processor needs.
        source: FP32 model.
        images: Where the calibration images are.
        folder: Gets the calibration statistics, and TensorRT's calibration cache where the target is one.
        progress: Starts a progress bar.
        workers: Who calibrates by shards; None calibrates here.

    Raises:
        EdgekitError: EK2xx when images cannot be used, EK5xx when the model cannot be quantized.
    """
    if request.quantize == "none":
        return None
    flavour = dataclasses.replace(flavour_for(form), weight_bits=request.weight_bits)
    if request.quantize == "dynamic":
        model, notes, layers = quantize_dynamic(
            source.model, request.dynamic_operators, guard_pairs=flavour.guards_pairs
        )
        return Quantized(model, layers, notes, flavour.name)
    assert images.calibration is not None
    summaries, broken, reused = _observe(request, source, images.calibration, flavour, folder, progress, workers)
    candidates = _candidates(summaries, request.calibration_method, flavour, request.effort)
    if flavour.symmetric:
        text = tensorrt_cache_text(next(iter(candidates.values())))
        write_bytes(folder / TENSORRT_CACHE_FILE, text.encode())
    frames = _frames(source, images.calibration, 0 if request.effort == "fast" else LADDER_IMAGES)
    climbed = climb(
        source.model, candidates, frames, flavour,
        effort=request.effort, max_drop=request.max_drop, mixed=request.mixed, seed=request.seed, progress=progress,
    )  # fmt: skip
    made, rungs = climbed.plan, climbed.rungs
    if request.quantize == "qat":
        made, rung = aware(request, source, images.calibration, climbed, progress)
        rungs = (*rungs, rung)
    model, notes = quantize_static(climbed.model, made)
    return Quantized(
        model, made.layers, (*_about(form, flavour, reused), *climbed.notes, *notes), flavour.name, rungs, broken,
    )  # fmt: skip


def _observe(
    request: ExportRequest,
    source: Source,
    images: ImageSet,
    flavour: Flavour,
    folder: Path,
    progress: StartProgress,
    workers: Workers | None,
) -> tuple[Mapping[str, Summary], tuple[str, ...], bool]:
    """Return the statistics, the images that could not be read, and whether an earlier run's were used again."""
    tensors = tensors_to_calibrate(source.model, flavour)
    hashes = hash_graph(source.model), hash_images(images, source.preprocessing)
    known = load(request.output / CALIBRATION_FILE, *hashes, tensors)
    broken: tuple[str, ...] = ()
    summaries: Mapping[str, Summary]
    if known is None and workers is not None:
        advance = progress("calibrating", len(images))
        summaries, unread = collect_shards(
            workers, source.model, images, source.preprocessing, tensors, progress=advance
        )
        broken = tuple(image.identifier for image in unread)
    elif known is None:
        advance = progress("calibrating", len(images))
        with contextlib.closing(batches(images, source.preprocessing)) as stream:
            arrays = (batch.images for batch in stream)
            summaries = collect(source.model, arrays, tensors, progress=advance, threads=request.threads)
        broken = tuple(image.identifier for image in stream.broken)
    else:
        summaries = {tensor: known[tensor] for tensor in tensors}
    save(summaries, folder / CALIBRATION_FILE, *hashes)
    return summaries, broken, known is not None


def _frames(source: Source, images: ImageSet, count: int) -> npt.NDArray[np.float32]:
    """Return up to `count` images, evenly spread over the set, as float32 (N, 3, H, W)."""
    if not count:
        size = source.preprocessing.input_size
        return np.zeros((0, 3, size, size), np.float32)
    with contextlib.closing(batches(images.spread(count), source.preprocessing)) as stream:
        return np.concatenate([batch.images for batch in stream])


def _candidates(
    summaries: Mapping[str, Summary], method: CalibrationMethod, flavour: Flavour, effort: str
) -> dict[str, dict[str, Range]]:
    methods = _CANDIDATES if method == "auto" and effort != "fast" else (method,)
    return {name: ranges(summaries, name, symmetric=flavour.symmetric) for name in methods}


def _about(form: str, flavour: Flavour, reused: bool) -> tuple[Note, ...]:
    notes = []
    if reused:
        notes.append(Note("calibrate", "the statistics of the last run were used again: same model, same images"))
    if form == "cpu" and saturates_here():
        what = "this processor has no VNNI and would saturate: neighbouring weights were kept small enough (cpu-avx2)"
        notes.append(Note("target", what))
    if flavour.symmetric:
        notes.append(Note("target", "int8 was run in onnxruntime on this CPU, not in TensorRT: its time says nothing"))
    return tuple(notes)
