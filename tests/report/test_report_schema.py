"""`report.json`: what it holds, what it refuses, and that its documents are current."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from report_examples import DRIFT, LATENCY, LAYERS, example

from edgekit.errors import ModelError, UsageError
from edgekit.report import (
    DriftSection,
    Estimate,
    LatencySection,
    ModelFile,
    QuantizationSection,
    Report,
    Specification,
    json_schema,
    read,
    write,
)
from edgekit.results import ModelLatency, Percentiles
from edgekit.spec import ModelSpec


def as_json(report: Report) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(report.model_dump_json(by_alias=True))
    return content


def written(content: Any, folder: Path) -> Path:
    path = folder / "report.json"
    path.write_text(json.dumps(content))
    return path


def without_int8() -> Report:
    report = example()
    alone = ModelLatency(Percentiles(7.0, 7.4, 9.1), 2, "onnxruntime 1.31.1", 200)
    quantization = QuantizationSection.of(
        "none", method=None, calibration_images=[], excluded_from_evaluation=0, layers=[]
    )
    update = {"int8": None, "drift": None, "latency": LatencySection.of(alone), "quantization": quantization}
    return report.model_copy(update=update)


@pytest.mark.parametrize("report", [example(), without_int8()], ids=["int8", "fp32 only"])
def test_a_report_is_read_back_as_it_was_written(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(report, path)
    assert read(path) == report
    assert json.loads(path.read_text())["schema"] == "edgekit.report/1"


@pytest.mark.parametrize("report", [example(), without_int8()], ids=["int8", "fp32 only"])
def test_a_report_follows_its_json_schema(report: Report) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.Draft202012Validator(json_schema()).validate(as_json(report))


def test_the_parts_that_product_scripts_rely_on_are_where_they_were_promised() -> None:
    content = as_json(example())
    for part in ("model", "target", "fp32", "int8", "drift", "latency", "quantization", "environment"):
        assert content[part]
    assert {"path", "sha256", "size_bytes", "top1", "top5", "n"} == set(content["fp32"]) == set(content["int8"])
    assert set(content["drift"]["agreement"]) == {"value", "low", "high"}
    assert content["latency"]["speedup_ci"] == [8.5, 8.91]
    assert content["quantization"]["layers"][1]["precision"] == "float32"


def test_the_committed_json_schema_is_current(repository: Path) -> None:
    committed = json.loads((repository / "docs" / "report.schema.json").read_text())
    assert committed == json_schema(), "docs/report.md says how to write docs/report.schema.json again"


def fields(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in node.get("properties", {}).items():
        yield prefix + name, field
        for choice in [field, *field.get("anyOf", [])]:
            array = choice.get("type") == "array" and "items" in choice
            reference = (choice["items"] if array else choice).get("$ref")
            if reference and not reference.endswith(("/Estimate", "/Precision")):
                inner = schema["$defs"][reference.rsplit("/", 1)[-1]]
                yield from fields(schema, inner, f"{prefix}{name}{'[]' if array else ''}.")


def test_every_field_is_described_in_the_schema_and_in_the_page(repository: Path) -> None:
    page = (repository / "docs" / "report.md").read_text()
    described = dict(fields(json_schema(), json_schema(), ""))
    assert len(described) > 80
    for path, field in described.items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{path}` |")), None)
        assert row is not None, f"docs/report.md does not explain {path}"
        assert field["description"].replace("|", "\\|") in row, f"docs/report.md explains {path} otherwise"


def test_every_field_is_required() -> None:
    for definition in [json_schema(), *json_schema()["$defs"].values()]:
        assert set(definition.get("properties", {})) == set(definition.get("required", []))


def test_the_specification_has_exactly_the_fields_of_a_model_spec() -> None:
    assert list(Specification.model_fields) == [field.name for field in dataclasses.fields(ModelSpec)]


@given(
    st.builds(
        ModelSpec,
        architecture=st.text(min_size=1),
        width=st.floats(0.1, 4),
        num_classes=st.integers(1, 9999),
        input_size=st.integers(32, 999),
        padding=st.sampled_from(["torch", "tf_same"]),
        bn_eps=st.none() | st.floats(1e-6, 1e-2),
        stem_stride=st.integers(1, 2),
        output_stride=st.none() | st.sampled_from([4, 8, 16, 32]),
        activation=st.sampled_from(["relu6", "relu"]),
        conv_bias=st.booleans(),
        channels=st.none() | st.lists(st.integers(1, 999), min_size=1).map(tuple),
    )
)
def test_any_model_spec_survives_the_report(spec: ModelSpec) -> None:
    there = Specification.of(spec)
    back = Specification.model_validate_json(there.model_dump_json())
    assert ModelSpec(**back.model_dump()) == spec


def test_drift_and_latency_keep_their_numbers() -> None:
    drift, latency = DriftSection.of(DRIFT), LatencySection.of(LATENCY)
    assert drift.top1_delta_pp is not None
    assert drift.top1_delta_pp.interval() == DRIFT.top1_delta_pp
    assert drift.sqnr_db.interval() == DRIFT.sqnr_db
    assert latency.int8_ms is not None
    assert (latency.fp32_ms.p99, latency.int8_ms.p50, latency.speedup) == (9.1, 0.8, 8.765)


def test_float_nodes_are_counted_by_reason_with_the_largest_group_first() -> None:
    section = QuantizationSection.of(
        "static", method="minmax", calibration_images=[], excluded_from_evaluation=0, layers=reversed(LAYERS)
    )
    found = [(group.reason, group.count, group.nodes) for group in section.float_nodes.by_reason]
    assert section.float_nodes.count == 3
    assert found == [
        ("onnxruntime has no integer kernel for it", 2, ("block2/HardSigmoid", "block1/HardSigmoid")),
        ("stands between two float nodes", 1, ("block2/Mul",)),
    ]


def test_a_model_that_was_not_evaluated_has_no_accuracy() -> None:
    file = ModelFile.of("model.onnx", sha256="0" * 64, size_bytes=1, accuracy=None)
    assert (file.top1, file.top5, file.n) == (None, None, 0)


def test_a_report_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        example().target = "jetson-nano"


def test_an_estimate_outside_its_interval_is_refused() -> None:
    with pytest.raises(ValidationError, match="outside its interval"):
        Estimate(value=3.0, low=1.0, high=2.0)


def change(content: Any, path: str, value: Any) -> Any:
    *parents, last = path.split(".")
    node = content
    for parent in parents:
        node = node[parent]
    if value is KeyError:
        del node[last]
    else:
        node[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "edgekit.report/2"),
        ("schema", KeyError),
        ("target", KeyError),
        ("extra", 1),
        ("fp32.extra", 1),
        ("fp32.sha256", "B" * 64),
        ("fp32.sha256", "b" * 65),
        ("fp32.size_bytes", "3412345"),
        ("fp32.size_bytes", -1),
        ("fp32.top1", 101.0),
        ("fp32.n", 1.5),
        ("drift.kl", None),
        ("drift.agreement.low", 99.9),
        ("latency.int8_ms", None),
        ("latency.speedup_ci", [1.0]),
        ("latency.speedup", 0.0),
        ("quantization.mode", "int4"),
        ("int8", None),
    ],
)
def test_a_report_that_breaks_a_rule_is_ek107(path: str, value: Any, tmp_path: Path) -> None:
    file = written(change(as_json(example()), path, value), tmp_path)
    with pytest.raises(ModelError, match=r"EK107 .*report\.json: not a report that this edgekit reads") as caught:
        read(file)
    assert "\n" not in str(caught.value)
    if path != "int8":  # the one rule between parts names no single field
        assert path.split(".")[0] in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'{"schema": NaN}'],
    ids=["empty", "text", "not UTF-8", "a list", "null", "deep", "NaN"],
)
def test_a_file_that_is_no_report_is_ek107(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="EK107"):
        read(path)


def test_nan_in_a_number_is_ek107(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(example().model_dump_json(by_alias=True).replace("0.0021", "NaN"))
    with pytest.raises(ModelError, match=r"EK107 .*drift\.kl\.value"):
        read(path)


def test_a_missing_file_and_a_huge_one_are_ek107(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"EK107 .*No such file"):
        read(tmp_path / "none.json")
    monkeypatch.setattr("edgekit.report._files._LARGEST_BYTES", 1 << 20)
    path = tmp_path / "report.json"
    path.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(ModelError, match=r"EK107 .*larger than 1 MiB"):
        read(path)


def test_a_report_that_cannot_be_written_is_ek003(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="EK003"):
        write(example(), tmp_path / "file" / "report.json")
