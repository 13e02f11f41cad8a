"""`edgekit prune`: the file that it writes needs no flag, and bad input leaves everything as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import edgekit, refusal

from edgekit.data import ImageSet, sample
from edgekit.models import NO_OVERRIDES, build, load, names, profile, save_checkpoint, shipped_checkpoint, to_metadata
from edgekit.pipeline.recovery import stagnant
from edgekit.pipeline.sources import open_source
from edgekit.spec import ModelSpec, Preprocessing
from edgekit.training import EpochResult

FAST = ("--widths", "uniform", "--samples", 16, "--eval-samples", 50, "--threads", 1)
# Without a look at images.
WEIGHTS_ALONE = ("--importance", "l2", "--widths", "uniform", "--recover", "none", "--eval-samples", 20, "--threads", 1)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model at half of its multiply-adds."""
    path = tmp_path_factory.mktemp("pruned") / "half.safetensors"
    outcome = edgekit("prune", "--macs", 0.5, *FAST, "--output", path)
    assert outcome.code == 0, outcome.err
    assert "same answer as before: " in outcome.out
    assert "of 50 images" in outcome.out
    return path


def test_the_file_describes_itself_and_is_half_of_the_model(half: Path) -> None:
    whole, pruned = load(None), load(half)
    size = whole.spec.input_size
    assert pruned.spec.channels is not None
    assert pruned.class_names == whole.class_names
    assert pruned.preprocessing == whole.preprocessing
    assert profile(pruned.module, size).macs <= 0.5 * profile(whole.module, size).macs
    assert half.stat().st_size < 0.6 * shipped_checkpoint().stat().st_size


def test_it_is_exported_without_a_flag_and_its_onnx_is_smaller(half: Path, tmp_path: Path) -> None:
    outcome = edgekit("export", half, "--quantize", "none", "--eval-samples", 50, "--threads", 1, "--output", tmp_path)
    assert outcome.code == 0, outcome.err
    model = onnx.load(tmp_path / "model.fp32.onnx")
    weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    whole = sum(parameter.numel() for parameter in load(None).module.parameters())
    assert weights < 0.6 * whole


@pytest.mark.parametrize("architecture", names())
def test_every_architecture_is_halved_and_onnxruntime_agrees_with_torch(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    small = ("--width", 0.5, "--num-classes", 10, "--input-size", 32)
    outcome = edgekit("prune", architecture, *small, "--macs", 0.5, *WEIGHTS_ALONE, "--output", path, "--json")
    assert outcome.code == 0, outcome.err
    before, after = outcome.facts["macs"]
    assert after <= 0.5 * before
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(open_source(path, NO_OVERRIDES, None).model.SerializeToString())
    with torch.no_grad():
        expected = load(path).module(images).numpy()
    np.testing.assert_allclose(session.run(None, {"input": images.numpy()})[0], expected, rtol=1e-3, atol=1e-4)


def test_a_budget_of_time_is_timed_layer_by_layer(tmp_path: Path) -> None:
    path = tmp_path / "fast.safetensors"
    outcome = edgekit("prune", "--latency", 0.6, *WEIGHTS_ALONE, "--output", path, "--json")
    assert outcome.code == 0, outcome.err
    before, after = outcome.facts["macs"]
    assert after < before


def test_a_budget_of_time_on_a_device_is_its_roofline(tmp_path: Path) -> None:
    path = tmp_path / "fast.safetensors"
    outcome = edgekit("prune", "--latency", 0.9, "--target", "jetson-nano", *WEIGHTS_ALONE, "--output", path, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.facts["macs"][1] < outcome.facts["macs"][0]


def test_single_weights_go_and_the_file_packs_smaller(narrow: Path, tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    options = ("--amount", 0.2, "--recover", "bn", "--samples", 32, "--eval-samples", 50)
    outcome = edgekit("prune", narrow, "--method", "unstructured", *options, "--output", path, "--json")
    facts = outcome.facts["zeros"]
    assert facts["zeros"] == pytest.approx(0.2 * facts["weights"], rel=0.01)
    assert facts["packed_bytes"][1] < facts["packed_bytes"][0]
    assert outcome.facts["macs"][0] == outcome.facts["macs"][1]
    weights = [
        layer.weight for layer in load(path).module.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    assert sum(int((weight == 0).sum()) for weight in weights) == facts["zeros"]


def test_two_of_four_is_in_the_onnx_file(narrow: Path, tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    options = ("--target", "jetson-orin-nano", "--samples", 16, "--eval-samples", 50, "--threads", 1)
    outcome = edgekit("prune", narrow, "--method", "2:4", *options, "--output", path)
    assert outcome.code == 0, outcome.err
    assert "depthwise: one input channel to a filter" in outcome.out
    exported = ("--quantize", "none", "--eval-samples", 20, "--threads", 1, "--output", tmp_path)
    assert edgekit("export", path, *exported).code == 0
    model = onnx.load(tmp_path / "model.fp32.onnx")
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    pointwise = [array for array in arrays if array.ndim == 4 and array.shape[1] % 4 == 0]
    assert len(pointwise) == 13
    for array in pointwise:
        blocks = array[:, :, 0, 0].reshape(len(array), -1, 4)
        assert int((blocks != 0).sum(-1).max()) == 2


def test_recovery_by_training_keeps_the_best_epoch_and_resumes(
    narrow: Path, tmp_path: Path, write_tree: Callable[[ImageSet, Path], Path]
) -> None:
    images = write_tree(sample().calibration.spread(60), tmp_path / "images")
    command = (
        "prune", narrow, "--macs", 0.5, *FAST, "--data", images, "--recover", "distill", "--batch-size", 19,
        "--learning-rate", 0.001, "--output", tmp_path / "small.safetensors",
    )  # fmt: skip
    first = edgekit(*command, "--epochs", 2, "--json")
    assert first.code == 0, first.err
    assert [result["epoch"] for result in first.facts["history"]] == [1, 2]
    assert all(result["evaluated"] == 3 for result in first.facts["history"])
    again = edgekit(*command, "--epochs", 2, "--resume", "--json")
    assert again.facts["history"] == first.facts["history"]


def test_training_ends_when_nothing_gets_better() -> None:
    def history(*accuracies: float | None) -> tuple[EpochResult, ...]:
        return tuple(EpochResult(n, 1.0, 50.0, top1, 10, 1.0) for n, top1 in enumerate(accuracies, 1))

    assert not stagnant(history(50.0, 40.0), 2)
    assert stagnant(history(50.0, 40.0, 49.0), 2)
    assert not stagnant(history(50.0, 40.0, 50.0), 2)
    assert not stagnant(history(None, None, None), 2)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "EK001 --method: structured pruning has one budget; give --macs 0.5"),
        (("--macs", 0.5, "--params", 0.5), "EK001 --method: structured pruning has one budget"),
        (("--macs", 1.5), "EK001 --macs: the ratio is 1.5"),
        (("--macs", 0.0001), "EK802"),
        (("--macs", 0.5, "--divisor", 0), "EK001 --divisor"),
        (("--macs", 0.5, "--importance", "magic"), "EK001 --importance"),
        (("--method", "random"), "EK001 --method"),
        (("--method", "unstructured"), "EK001 --method: unstructured pruning takes a share"),
        (("--method", "unstructured", "--amount", 1.0), "EK001 --amount"),
        (("--method", "unstructured", "--amount", 0.9999), "EK803"),
        (("--method", "2:4", "--amount", 0.5), "EK001 --method: 2:4 is half of the weights"),
        (("--method", "2:4", "--target", "jetson-nano"), "EK805 --method 2:4"),
        (("--method", "2:4", "--target", "toaster"), "EK002"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(options: tuple[object, ...], line: str, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    assert refusal(edgekit("prune", *options, "--samples", 16, "--output", path)).startswith(line)
    assert not path.exists()


def test_without_images_of_its_own_classes_a_model_is_ek804(tmp_path: Path) -> None:
    spec = ModelSpec("mobilenet_v1", 0.25, 7, 32)
    module = build(spec)
    save_checkpoint(tmp_path / "seven.safetensors", module, to_metadata(spec, Preprocessing(32, 32)))
    path = tmp_path / "small.safetensors"
    line = refusal(edgekit("prune", tmp_path / "seven.safetensors", "--macs", 0.5, "--output", path))
    assert line.startswith("EK804 --recover repair and --importance taylor and --widths sensitivity need images")
    assert not path.exists()


def test_the_original_is_never_written_to(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(shipped_checkpoint().read_bytes())
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    line = refusal(edgekit("prune", path, "--macs", 0.5, *FAST, "--output", path))
    assert line.startswith("EK001 --output: the pruned model would replace the original")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
