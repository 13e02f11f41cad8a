"""What is known about a MODEL: the user wins over the file, the file over defaults, and assumptions are said."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.torch import save_file

import edgekit
from edgekit.errors import ModelError, UsageError
from edgekit.export import load_onnx
from edgekit.models import NO_OVERRIDES, Overrides, build, to_metadata
from edgekit.pipeline.sources import Source, describe_onnx, is_onnx, open_source
from edgekit.spec import ModelSpec, Preprocessing
from edgekit.validate import runner, session

Described = Callable[..., Path]
SMALL = ModelSpec("mobilenet_v2", 0.35, 5, 64)
STORED = Preprocessing(128, 136, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")
ASSUMED_MEAN = "ImageNet's mean and standard deviation are assumed"


def texts(source: Source) -> str:
    return "\n".join(note.text for note in source.notes)


def stored(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same weights with their whole description, and without any."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tensors = dict(build(SMALL).state_dict())
    preprocessing = Preprocessing(64, 70, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_file(tensors, folder / "told.safetensors", to_metadata(SMALL, preprocessing, tuple("abcde")))
    save_file(tensors, folder / "bare.safetensors")
    return folder / "told.safetensors", folder / "bare.safetensors"


def test_metadata_of_a_checkpoint_wins_over_defaults(checkpoints: tuple[Path, Path]) -> None:
    source = open_source(checkpoints[0], NO_OVERRIDES, None)
    assert source.spec == SMALL
    assert source.preprocessing == Preprocessing(64, 70, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert source.class_names == tuple("abcde")
    assert "assumed" not in texts(source)
    assert source.sha256 == hashlib.sha256(checkpoints[0].read_bytes()).hexdigest()


def test_the_user_wins_over_metadata(checkpoints: tuple[Path, Path]) -> None:
    said = Overrides(input_size=96, padding="tf_same", mean=(0.5, 0.5, 0.5), bn_eps=0.01)
    source = open_source(checkpoints[0], said, 18)
    assert source.spec == dataclasses.replace(SMALL, input_size=96, padding="tf_same", bn_eps=0.01)
    assert source.preprocessing.mean == (0.5, 0.5, 0.5)
    assert source.preprocessing.std == (0.4, 0.5, 0.6)
    # A resize that was meant for another input size does not hold for this one.
    assert (source.preprocessing.input_size, source.preprocessing.resize) == (96, 110)
    assert source.model.opset_import[0].version == 18


def test_what_a_bare_checkpoint_does_not_say_is_assumed_aloud(checkpoints: tuple[Path, Path]) -> None:
    source = open_source(checkpoints[1], NO_OVERRIDES, None)
    assert source.spec == dataclasses.replace(SMALL, input_size=224)
    assert (source.preprocessing.input_size, source.preprocessing.resize) == (224, 256)
    assert source.preprocessing.mean == (0.485, 0.456, 0.406)
    said = texts(source)
    assert "the shapes of the checkpoint are those of mobilenet_v2 at width 0.35" in said
    for assumed in ("torch is assumed", "224 is assumed", "ImageNet's are assumed"):
        assert assumed in said


def test_nothing_is_assumed_aloud_that_the_user_said(checkpoints: tuple[Path, Path]) -> None:
    said = Overrides(padding="torch", input_size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert "assumed" not in texts(open_source(checkpoints[1], said, None))
    half = dataclasses.replace(said, std=None)
    assert "assumed" in texts(open_source(checkpoints[1], half, None))


@pytest.mark.parametrize(
    ("said", "option"),
    [
        (Overrides(resize=63), "--resize"),
        (Overrides(std=(0.5, 0.0, 0.5)), "--std"),
        (Overrides(std=(0.5, -1.0, 0.5)), "--std"),
        (Overrides(mean=(0.5, float("inf"), 0.5)), "--mean"),
    ],
)
def test_a_preprocessing_that_cannot_be_is_ek001(checkpoints: tuple[Path, Path], said: Overrides, option: str) -> None:
    with pytest.raises(UsageError, match=f"EK001 {option}: "):
        open_source(checkpoints[0], said, None)


def test_an_onnx_file_is_told_by_its_suffix() -> None:
    assert is_onnx("a/b.onnx")
    assert is_onnx(Path("A.ONNX"))
    assert not is_onnx("onnx")
    assert not is_onnx("model.safetensors")
    assert not is_onnx(None)


def test_a_foreign_onnx_file_is_described_by_its_shapes_and_assumptions(foreign: Path) -> None:
    source = open_source(foreign, NO_OVERRIDES, None)
    assert (source.num_classes, source.class_names, source.spec, source.module) == (10, None, None, None)
    assert source.preprocessing == Preprocessing(128, 146)
    assert ASSUMED_MEAN in texts(source)
    told = Overrides(mean=(0.1,) * 3, std=(0.2,) * 3, resize=130)
    source = open_source(foreign, told, None)
    assert source.preprocessing == Preprocessing(128, 130, (0.1,) * 3, (0.2,) * 3)
    assert "assumed" not in texts(source)


def test_metadata_of_an_onnx_file_wins_over_defaults_and_the_user_over_both(described: Described) -> None:
    path = described(preprocessing=STORED.to_json())
    source = open_source(path, NO_OVERRIDES, None)
    assert source.preprocessing == STORED
    assert "assumed" not in texts(source)
    source = open_source(path, Overrides(mean=(0.7, 0.8, 0.9)), None)
    assert source.preprocessing == dataclasses.replace(STORED, mean=(0.7, 0.8, 0.9))


def test_an_onnx_file_comes_out_with_its_description_and_its_own_metadata(described: Described) -> None:
    path = described(preprocessing=STORED.to_json(), author="somebody")
    model = open_source(path, Overrides(resize=150), None).model
    after = stored(model)
    assert Preprocessing.from_json(after["edgekit.preprocessing"]) == dataclasses.replace(STORED, resize=150)
    assert after["edgekit.version"] == edgekit.__version__
    assert after["edgekit.source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert after["edgekit.author"] == "somebody"
    assert len(model.metadata_props) == len(after)


def test_class_names_of_another_count_are_not_taken(described: Described) -> None:
    ten = [f"class {number}" for number in range(10)]
    assert open_source(described(classes=ten), NO_OVERRIDES, None).class_names == tuple(ten)
    assert open_source(described(classes=ten[:9]), NO_OVERRIDES, None).class_names is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": "[1, 2"},
        {"classes": '"airplane"'},
        {"classes": [1, 2, 3]},
        {"classes": "[" * 100_000},
        {"model": "{}"},
        {"model": {"architecture": "mobilenet_v1", "width": "a lot"}},
        {"model": {**dataclasses.asdict(SMALL), "strange": 1}},
        {"preprocessing": "no"},
        {"preprocessing": {**dataclasses.asdict(STORED), "interpolation": "nearest"}},
    ],
    ids=str,
)
def test_metadata_that_cannot_be_read_is_ek107(described: Described, metadata: dict[str, object]) -> None:
    path = described(**metadata)
    with pytest.raises(ModelError, match=f"EK107 {path}: "):
        open_source(path, NO_OVERRIDES, None)


@pytest.mark.parametrize(
    ("said", "option"),
    [
        (Overrides(architecture="mobilenet_v1"), "--arch"),
        (Overrides(num_classes=10), "--num-classes"),
        (Overrides(input_size=32), "--input-size"),
    ],
)
def test_the_architecture_of_an_onnx_file_cannot_be_said_ek001(foreign: Path, said: Overrides, option: str) -> None:
    with pytest.raises(UsageError, match=f"EK001 {option}: an .onnx file has its architecture in it"):
        open_source(foreign, said, None)


@pytest.mark.parametrize("shape", [("n", 3, 32, 48), ("n", 3, "height", "width")])
def test_an_input_that_is_no_square_of_known_size_is_ek108(
    foreign: Path, tmp_path: Path, shape: tuple[str | int, ...]
) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n,3,32,32] input) => (float[n,3] output) '
        "{ a = GlobalAveragePool (input)  output = Flatten (a) }"
    )
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape))
    path = tmp_path / "wide.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match="EK108 "):
        describe_onnx(load_onnx(path), path, NO_OVERRIDES)


def test_an_onnx_file_can_be_taken_to_another_opset(foreign: Path) -> None:
    source = open_source(foreign, NO_OVERRIDES, 13)
    assert [entry.version for entry in source.model.opset_import if entry.domain == ""] == [13]


def test_random_weights_are_the_same_each_time_and_said_to_be_random() -> None:
    said = Overrides(width=0.35, input_size=64, num_classes=5)
    first, second = (open_source("mobilenet_v2", said, None) for _ in range(2))
    assert first.model.SerializeToString(deterministic=True) == second.model.SerializeToString(deterministic=True)
    assert (first.random, first.sha256, first.class_names) == (True, "", None)
    assert "the weights are random" in texts(first)


def test_all_ways_to_the_shipped_model_compute_the_same(shipped_source: Source, foreign: Path) -> None:
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 128, 128)).astype(np.float32)
    again = open_source(foreign, NO_OVERRIDES, None)
    first, second = (
        runner(session(source.model.SerializeToString(), threads=1))(images) for source in (shipped_source, again)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert shipped_source.shipped
    assert json.loads(stored(shipped_source.model)["edgekit.model"])["architecture"] == "mobilenet_v1"
