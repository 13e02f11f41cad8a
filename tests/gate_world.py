"""A small world for the tests of the gate: a thousand tiny images and linear classifiers of their colour."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIDE, CLASSES, IMAGES = 8, 6, 1000
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@dataclasses.dataclass(frozen=True)
class World:
    """Files of the world.

    Attributes:
        images: Labelled images; the baseline gets about nine of ten right.
        unlabelled: The same without labels.
        baseline: The model that made nine of ten labels.
        healthy: Weights moved so little that a few answers of a thousand change.
        broken: Weights of which little is left.
        renamed: The baseline again, with another name of its graph.
        other: The baseline with one class more.
    """

    images: Path
    unlabelled: Path
    baseline: Path
    healthy: Path
    broken: Path
    renamed: Path
    other: Path


def make_world(folder: Path) -> World:
    """Write the files of a world, the same every time."""
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (IMAGES, 3), dtype=np.uint8)
    weights = generator.normal(size=(3, CLASSES)).astype(np.float32)
    labels = (((colours / 255 - MEAN) / STD) @ weights).argmax(axis=1)
    labels = np.where(generator.random(IMAGES) < 0.1, generator.integers(0, CLASSES, IMAGES), labels)
    pixels = np.broadcast_to(colours[:, None, None, :], (IMAGES, SIDE, SIDE, 3))
    noise = generator.normal(size=weights.shape).astype(np.float32)
    world = World(**{field.name: folder / f"{field.name}.onnx" for field in dataclasses.fields(World)})
    world = dataclasses.replace(world, images=folder / "images.npz", unlabelled=folder / "unlabelled.npz")
    np.savez(world.images, images=pixels, labels=labels)
    np.savez(world.unlabelled, images=pixels)
    save_linear(world.baseline, weights)
    save_linear(world.healthy, weights + 0.004 * noise)
    save_linear(world.broken, weights + 1.5 * noise)
    save_linear(world.renamed, weights, name="renamed")
    save_linear(world.other, np.pad(weights, ((0, 0), (0, 1))))
    return world


def save_linear(path: Path, weights: np.ndarray[Any, Any], name: str = "linear") -> None:
    """Write a classifier of an image's mean colour."""
    classes = weights.shape[1]
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["colour"]),
            helper.make_node("MatMul", ["colour", "weights"], ["logits"]),
        ],
        name,
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
