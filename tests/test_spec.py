"""The shared types: what a file says about preprocessing is read back as written, or refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ModelError
from edgekit.spec import ModelSpec, Preprocessing

numbers = st.floats(-1e3, 1e3)
positive = st.floats(1e-6, 1e3)
preprocessings = st.builds(
    Preprocessing,
    input_size=st.integers(1, 4096),
    resize=st.integers(1, 4096),
    mean=st.tuples(numbers, numbers, numbers),
    std=st.tuples(positive, positive, positive),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
GOOD: dict[str, Any] = json.loads(Preprocessing(32, 36).to_json())


@given(preprocessings)
def test_preprocessing_is_read_back_as_written(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


def test_what_an_older_file_leaves_out_has_its_default() -> None:
    fields = {name: GOOD[name] for name in ("input_size", "resize", "mean", "std")}
    assert Preprocessing.from_json(json.dumps(fields)) == Preprocessing(32, 36)


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "7", '"mean"', "{}", "[" * 100_000, '{"mean": ' + "9" * 5000 + "}"],
    ids=lambda text: f"{len(text)} letters",
)
def test_text_that_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        Preprocessing.from_json(text, where="model.onnx")
    assert (caught.value.code, caught.value.where) == ("EK107", "model.onnx")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_size", 0),
        ("input_size", 32.5),
        ("input_size", True),
        ("input_size", "32"),
        ("resize", -1),
        ("resize", None),
        ("mean", "123"),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("mean", [0.5, 0.5, 10**400]),
        ("std", [0.2, 0.2, float("inf")]),
        ("std", [0.2, 0.0, 0.2]),
        ("std", [0.2, "0.2", 0.2]),
        ("interpolation", "nearest"),
        ("interpolation", []),
        ("layout", "NHWC"),
        ("colour", "bgr"),
    ],
)
def test_a_field_that_images_cannot_go_through_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ModelError, match="EK107") as caught:
        Preprocessing.from_json(json.dumps({**GOOD, field: value}))
    assert field in str(caught.value) or value == [0.5, 0.5, 10**400]


@pytest.mark.parametrize("field", ["input_size", "resize", "mean", "std"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(ModelError, match=f"EK107.*{field}.*missing"):
        Preprocessing.from_json(json.dumps({name: value for name, value in GOOD.items() if name != field}))


@pytest.mark.parametrize("value", [ModelSpec("mobilenet_v1"), Preprocessing(32, 32)])
def test_shared_types_are_values(value: Any) -> None:
    assert value == dataclasses.replace(value)
    assert hash(value) == hash(dataclasses.replace(value))
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.input_size = 64
