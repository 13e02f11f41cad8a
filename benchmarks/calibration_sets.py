"""How much the accuracy of the default depends on which images calibrate, and where its error comes from.

    edgekit export MODEL --quantize none --eval IMAGES --eval-samples 8 --output exported
    python benchmarks/calibration_sets.py exported/model.fp32.onnx exported/preprocessing.json IMAGES

Splits the images into disjoint sets. Each calibrates once, with the default effort, and the others are evaluated in
onnxruntime. A few hundred images decide little about one file (one image of 400 is a quarter of a point); the mean over
the sets says more about the method. Then, for the first set, the divergence that the rounded weights and the rounded
activations bring by themselves, simulated.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import torch

from edgekit.calibrate import collect, ranges
from edgekit.data import batches, open_images
from edgekit.quantize import Climbed, climb, flavour_for, quantize_static, tensors_to_calibrate
from edgekit.quantize._plan import canonical
from edgekit.quantize.ladder._measure import Distance, distance
from edgekit.quantize.ladder._network import Network, Planned, Rounding
from edgekit.spec import CalibrationMethod, Preprocessing
from edgekit.validate import runner, session

Array = npt.NDArray[np.float32]
METHODS: tuple[CalibrationMethod, ...] = ("percentile", "minmax", "mse")
BATCH = 16


class WeightsAlone(Planned):
    """A plan's weights and biases; activations stay in float."""

    def activation(self, value: ir.Value, tensor: torch.Tensor) -> torch.Tensor:
        """Return the activation as it is."""
        return tensor


class ActivationsAlone(Planned):
    """A plan's activations; weights and biases stay in float."""

    def layer(self, node: ir.Node) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Say that nothing changes."""
        return None, None


def parts_of(images: Array) -> list[Array]:
    """Return the images in batches."""
    return [images[start : start + BATCH] for start in range(0, len(images), BATCH)]


def quantized(model: onnx.ModelProto, images: Array, target: str) -> Climbed:
    """Quantize as `edgekit export --quantize static` does."""
    flavour = flavour_for(target)
    summaries = collect(model, parts_of(images), tensors_to_calibrate(model, flavour))
    candidates = {str(method): ranges(summaries, method, symmetric=flavour.symmetric) for method in METHODS}
    return climb(model, candidates, images, flavour)


def answers(model: onnx.ModelProto, images: Array) -> torch.Tensor:
    """Return the logits of all images, in onnxruntime."""
    classify = runner(session(model.SerializeToString()))
    return torch.from_numpy(np.concatenate([classify(part) for part in parts_of(images)]))


def sources(climbed: Climbed, images: Array, reference: torch.Tensor) -> dict[str, Distance]:
    """Return what weights and activations bring by themselves, and both together."""
    plan = climbed.plan
    keep_float = {layer.node: layer.reason for layer in plan.layers if layer.node not in plan.integer_nodes}
    network = Network(canonical(climbed.model, plan.flavour, keep_float)[0])
    kinds: dict[str, Rounding] = {
        "weights alone": WeightsAlone(plan), "activations alone": ActivationsAlone(plan), "both": Planned(plan)
    }  # fmt: skip
    parts = torch.split(torch.from_numpy(images), network.chunk)
    with torch.inference_mode():
        return {
            kind: distance(reference, torch.cat([network.run(part, rounding).flatten(1) for part in parts]))
            for kind, rounding in kinds.items()
        }


def mean_of(values: list[float]) -> str:
    """Return a mean with its standard error."""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def main() -> None:
    """Parse, quantize once for each set, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="FP32 ONNX file")
    parser.add_argument("preprocessing", type=Path, help="its preprocessing.json")
    parser.add_argument("images", type=Path, help="labelled images")
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--target", default="cpu")
    arguments = parser.parse_args()
    model = onnx.load(arguments.model)
    preprocessing = Preprocessing.from_json(arguments.preprocessing.read_text(encoding="utf-8"))
    read = list(batches(open_images(arguments.images), preprocessing))
    images = np.concatenate([batch.images for batch in read])
    labels = torch.from_numpy(np.concatenate([batch.labels for batch in read if batch.labels is not None]))
    reference = answers(model, images)
    drops, agreements = [], []
    for index in range(arguments.sets):
        chosen = np.arange(len(images)) % arguments.sets == index
        climbed = quantized(model, images[chosen], arguments.target)
        others = torch.from_numpy(~chosen)
        logits = answers(quantize_static(climbed.model, climbed.plan)[0], images[~chosen])
        right = [
            100 * (each.argmax(1) == labels[others]).double().mean().item() for each in (reference[others], logits)
        ]
        found = distance(reference[others], logits)
        drops.append(right[0] - right[1])
        agreements.append(found.agreement)
        print(
            f"set {index + 1}: {right[0]:.2f} -> {right[1]:.2f} %, agreement {found.agreement:.2f} %, "
            f"KL {found.kl:.5f}, {len(climbed.plan.weights)} int8 layers",
            flush=True,
        )
        if index == 0:
            for kind, each in sources(climbed, images[~chosen], reference[others]).items():
                print(f"    {kind}: KL {each.kl:.5f}, agreement {each.agreement:.2f} %")
    print(f"mean drop {mean_of(drops)} points, agreement {mean_of(agreements)} %")


if __name__ == "__main__":
    main()
