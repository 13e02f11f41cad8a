"""Models, images and requests that the pipeline tests share."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Container
from pathlib import Path

import onnx
import pytest

from edgekit.data import ImageSet, sample
from edgekit.models import NO_OVERRIDES
from edgekit.pipeline.export import export_model
from edgekit.pipeline.job import ExportRequest
from edgekit.pipeline.sources import Source, open_source


@pytest.fixture(scope="session")
def shipped_source() -> Source:
    """The model that ships, as FP32 ONNX."""
    return open_source(None, NO_OVERRIDES, None)


@pytest.fixture(scope="session")
def foreign(shipped_source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as another tool would write it: without a word about itself."""
    model = onnx.ModelProto()
    model.CopyFrom(shipped_source.model)
    del model.metadata_props[:]
    path = tmp_path_factory.mktemp("foreign") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def described(foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the foreign model with metadata: keys are those of edgekit without their prefix."""
    folder = tmp_path_factory.mktemp("described")

    def write(**metadata: object) -> Path:
        model = onnx.load(foreign)
        for key, value in metadata.items():
            text = value if isinstance(value, str) else json.dumps(value)
            model.metadata_props.add(key=f"edgekit.{key}", value=text)
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Writes a labelled set as a zip of one folder a class; those at `broken` hold no image."""

    def write(images: ImageSet, name: str, broken: Container[int] = ()) -> Path:
        assert images.labels is not None
        assert images.class_names is not None
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as file:
            for index, label in enumerate(images.labels):
                content = b"this is no image" if index in broken else images.encoded(index)
                file.writestr(f"{images.class_names[label]}/{index:04}.jpg", content)
        return path

    return write


@pytest.fixture(scope="session")
def images() -> ImageSet:
    """A hundred real images, ten of each class."""
    return sample().evaluation.spread(100)


@pytest.fixture(scope="session")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished static export of the model that ships; a test that changes it works on a copy."""
    output = tmp_path_factory.mktemp("earlier") / "out"
    request = ExportRequest(None, output, calibration_samples=16, evaluation_samples=20, threads=1, effort="fast")
    export_model(request)
    return output
