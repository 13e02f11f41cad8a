"""The metadata that a model file carries: read back as written, and refused by key and value when wrong."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ModelError
from edgekit.models import registry
from edgekit.models._metadata import (
    class_names_from_metadata,
    preprocessing_from_metadata,
    spec_from_metadata,
    to_metadata,
)
from edgekit.spec import ModelSpec, Preprocessing

positive = st.floats(1e-6, 1e6)
sizes = st.integers(32, 4096)
specs = st.builds(
    ModelSpec,
    architecture=st.sampled_from(registry.names()),
    width=positive,
    num_classes=st.integers(1, 30_000),
    input_size=sizes,
    padding=st.sampled_from(["torch", "tf_same"]),
    bn_eps=st.none() | positive,
    stem_stride=st.sampled_from([1, 2]),
    output_stride=st.none() | st.sampled_from([8, 16, 32]),
    activation=st.sampled_from(["relu6", "relu"]),
    conv_bias=st.booleans(),
)
means = st.tuples(*[st.floats(-10, 10)] * 3)
preprocessings = st.builds(
    Preprocessing,
    input_size=sizes,
    resize=sizes,
    mean=means,
    std=st.tuples(*[positive] * 3),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)


@given(specs, preprocessings, st.lists(st.text(), min_size=1))
def test_what_is_written_is_read_back(spec: ModelSpec, preprocessing: Preprocessing, names: list[str]) -> None:
    spec = dataclasses.replace(spec, num_classes=len(names), input_size=preprocessing.input_size)
    metadata = to_metadata(spec, preprocessing, tuple(names), {"source": "somewhere"})
    assert all(isinstance(value, str) for value in metadata.values())
    assert metadata["source"] == "somewhere"
    assert ModelSpec(**spec_from_metadata(metadata)) == spec
    assert Preprocessing(**preprocessing_from_metadata(metadata)) == preprocessing
    assert class_names_from_metadata(metadata) == tuple(names)


def test_what_is_not_given_is_left_out_and_unknown_keys_are_ignored() -> None:
    metadata = {"format": "pt", "width": "0.25"}
    assert spec_from_metadata(metadata) == {"width": 0.25}
    assert preprocessing_from_metadata(metadata) == {}
    assert class_names_from_metadata(metadata) is None


def test_the_metadata_of_the_real_imagenet_checkpoints_is_understood() -> None:
    metadata = {"mean": "0.5,0.5,0.5", "std": "0.5, 0.5, 0.5", "resize": "256", "input_size": "224", "bn_eps": "0.001"}
    assert spec_from_metadata(metadata) == {"input_size": 224, "bn_eps": 0.001}
    halves = (0.5, 0.5, 0.5)
    assert preprocessing_from_metadata(metadata) == {"input_size": 224, "resize": 256, "mean": halves, "std": halves}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "resnet50"), ("width", "wide"), ("width", "0"), ("width", "inf"), ("width", "nan"),
        ("num_classes", "0"), ("num_classes", "10.5"), ("num_classes", "²"), ("input_size", "31"),
        ("padding", "same"), ("bn_eps", "-0.001"), ("stem_stride", "0"), ("output_stride", "many"),
        ("activation", "gelu"), ("conv_bias", "yes"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_the_model_is_ek107(key: str, value: str) -> None:
    assert_refused(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", "0.5,0.5"), ("mean", "0.5,nan,0.5"), ("mean", "grey"), ("std", "0.5,0,0.5"),
        ("resize", "-1"), ("interpolation", "nearest"), ("input_size", "1"),
    ],
)  # fmt: skip
def test_a_wrong_value_of_the_preprocessing_is_ek107(key: str, value: str) -> None:
    assert_refused(key, value)


def assert_refused(key: str, value: str) -> None:
    read = preprocessing_from_metadata if key in {"mean", "std", "resize", "interpolation"} else spec_from_metadata
    with pytest.raises(ModelError) as caught:
        read({key: value}, where="model.safetensors")
    assert str(caught.value).startswith(f"EK107 model.safetensors: the metadata says {key} = {value!r}, ")
    assert repr(key) in caught.value.hint


@pytest.mark.parametrize("classes", ["cat,dog", "{}", '["cat", 1]', '["cat", "dog", "cow"]'])
def test_wrong_class_names_are_ek107(classes: str) -> None:
    with pytest.raises(ModelError, match=r"EK107 .*classes = "):
        class_names_from_metadata({"classes": classes, "num_classes": "2"})


def test_class_names_are_a_json_list() -> None:
    metadata = to_metadata(ModelSpec("mobilenet_v2", num_classes=2), Preprocessing(224, 256), ("cat", "dog, wet"))
    assert json.loads(metadata["classes"]) == ["cat", "dog, wet"]


def test_writing_refuses_what_it_could_not_read_back() -> None:
    with pytest.raises(ValueError, match="input size 224 of the model, 192 of the preprocessing"):
        to_metadata(ModelSpec("mobilenet_v1"), Preprocessing(192, 224))
    with pytest.raises(ValueError, match="reserved metadata keys: mean, width"):
        to_metadata(ModelSpec("mobilenet_v1"), Preprocessing(224, 256), None, {"width": "2", "mean": "0"})
