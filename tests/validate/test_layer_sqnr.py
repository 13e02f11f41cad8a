"""How far single tensors are from FP32: the ratio of their energies, over all images, as the models really run."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from edgekit.errors import ComparisonError
from edgekit.results import SQNR_LIMIT_DB
from edgekit.validate import tensor_sqnr

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Batch:
    images: Floats
    labels: npt.NDArray[np.int64] | None = None


def scaled(factor: float, shift: float = 0.0, size: int = 4) -> onnx.ModelProto:
    """A model that makes `middle = factor * image + shift` and then its mean."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        agraph (float[n,3,{size},{size}] image) => (float[n,3,1,1] output) {{
            product = Mul (image, factor)
            middle = Add (product, shift)
            output = GlobalAveragePool (middle)
        }}"""
    model = onnx.parser.parse_model(text)
    constants = (("factor", factor), ("shift", shift))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants
    )
    return model


@pytest.fixture(scope="module")
def images() -> Floats:
    return np.random.default_rng(0).standard_normal((5, 3, 4, 4)).astype(np.float32)


def test_the_ratio_is_that_of_the_energies(images: Floats) -> None:
    (ratio,) = tensor_sqnr(scaled(1), scaled(1.01), [("middle", "middle")], [Batch(images)])
    assert ratio == pytest.approx(40, abs=0.01)  # An error of one hundredth in amplitude.


def test_all_images_count_together_however_they_are_batched(images: Floats) -> None:
    pairs = [("middle", "middle"), ("output", "output")]
    whole = tensor_sqnr(scaled(1), scaled(1, shift=0.1), pairs, [Batch(images)])
    parts = tensor_sqnr(scaled(1), scaled(1, shift=0.1), pairs, [Batch(images[:2]), Batch(images[2:])])
    assert whole == pytest.approx(parts, abs=1e-9)
    energy = float((images.astype(np.float64) ** 2).sum())
    assert whole[0] == pytest.approx(10 * np.log10(energy / (0.01 * images.size)), abs=1e-3)


def test_one_tensor_may_stand_for_two_layers(images: Floats) -> None:
    first, second = tensor_sqnr(scaled(1), scaled(2), [("middle", "middle"), ("middle", "product")], [Batch(images)])
    assert first == second == pytest.approx(0, abs=1e-6)


def test_equal_and_hopeless_tensors_stay_within_the_limit(images: Floats) -> None:
    assert tensor_sqnr(scaled(1), scaled(1), [("middle", "middle")], [Batch(images)]) == (SQNR_LIMIT_DB,)
    assert tensor_sqnr(scaled(0), scaled(1), [("middle", "middle")], [Batch(images)]) == (-SQNR_LIMIT_DB,)


def test_progress_counts_images(images: Floats) -> None:
    seen: list[int] = []
    batches = [Batch(images[:2]), Batch(images[2:])]
    tensor_sqnr(scaled(1), scaled(2), [("middle", "middle")], batches, progress=seen.append)
    assert seen == [2, 3]


def test_tensors_of_different_shapes_are_ek601(images: Floats) -> None:
    with pytest.raises(ComparisonError, match="EK601 the tensors middle and output have shapes"):
        tensor_sqnr(scaled(1), scaled(1), [("middle", "output")], [Batch(images)])
