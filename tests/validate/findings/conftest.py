"""A real model, real images, and what edgekit makes of them without a fault."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from faults import quantized, tiny_v3

from edgekit.data import ImageSet, batches, sample
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.sources import open_source
from edgekit.spec import Preprocessing

# The networks that quantization is tested on are used here too.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "quantize"))

Floats = npt.NDArray[np.float32]


def prepared(images: ImageSet, count: int, preprocessing: Preprocessing) -> Floats:
    return np.concatenate([batch.images for batch in batches(images.spread(count), preprocessing, count)])


@pytest.fixture(scope="session")
def fp32() -> onnx.ModelProto:
    """The model that ships: a MobileNetV1."""
    return open_source(None, NO_OVERRIDES, None).model


@pytest.fixture(scope="session")
def preprocessing() -> Preprocessing:
    return open_source(None, NO_OVERRIDES, None).preprocessing


@pytest.fixture(scope="session")
def calibration(preprocessing: Preprocessing) -> Floats:
    return prepared(sample().calibration, 16, preprocessing)


@pytest.fixture(scope="session")
def images(preprocessing: Preprocessing) -> Floats:
    return prepared(sample().evaluation, 6, preprocessing)


@pytest.fixture(scope="session")
def healthy(fp32: onnx.ModelProto, calibration: Floats) -> onnx.ModelProto:
    return quantized(fp32, calibration)


@pytest.fixture(scope="session")
def small_images(preprocessing: Preprocessing) -> Floats:
    """Real images of 32x32 pixels."""
    return prepared(sample().calibration, 32, dataclasses.replace(preprocessing, input_size=32, resize=32))


@pytest.fixture(scope="session")
def v3(small_images: Floats) -> onnx.ModelProto:
    return tiny_v3(small_images[:24])


@pytest.fixture(scope="session")
def healthy_v3(v3: onnx.ModelProto, small_images: Floats) -> onnx.ModelProto:
    return quantized(v3, small_images[:24])
