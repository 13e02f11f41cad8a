"""Models and images that several command line tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICK, Outcome, edgekit

from edgekit.data import ImageSet, sample


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `exported` wrote to; a folder that did not exist before."""
    return tmp_path_factory.mktemp("exported") / "made" / "here"


@pytest.fixture(scope="session")
def exported(static_folder: Path) -> Outcome:
    """The main job on the default model."""
    outcome = edgekit("export", "--quantize", "static", *QUICK, "--output", static_folder)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="session")
def fp32(exported: Outcome, static_folder: Path) -> Path:
    """An ONNX file that edgekit wrote."""
    return static_folder / "model.fp32.onnx"


@pytest.fixture(scope="session")
def int8(exported: Outcome, static_folder: Path) -> Path:
    """Its int8 form."""
    return static_folder / "model.int8.onnx"


@pytest.fixture(scope="session")
def write_tree() -> Callable[[ImageSet, Path], Path]:
    """Writes a labelled set as a tree of one folder a class."""

    def write(images: ImageSet, folder: Path) -> Path:
        assert images.labels is not None
        assert images.class_names is not None
        for index, label in enumerate(images.labels):
            place = folder / images.class_names[label] / f"{index:04}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(images.encoded(index))
        return folder

    return write


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, write_tree: Callable[[ImageSet, Path], Path]) -> Path:
    """Sixty real images in ten class folders."""
    return write_tree(sample().evaluation.spread(60), tmp_path_factory.mktemp("images") / "tree")
