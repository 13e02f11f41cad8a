"""What a pipeline file may say; every fault is one line with file, line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines import NO_VARIABLES, write

import edgekit.pruning
from edgekit.errors import UsageError
from edgekit.models import names
from edgekit.pipeline.job import ExportRequest
from edgekit.pipeline.prune import Method
from edgekit.pipeline.run import _read, json_schema, load_pipeline
from edgekit.pipeline.run import _settings as settings
from edgekit.pipeline.run._read import pipeline_of, settings_of, tables
from edgekit.pipeline.run._settings import Pipeline
from edgekit.pipeline.toml_lines import line_of
from edgekit.quantize import FLAVOURS
from edgekit.shipped import shipped_pipeline
from edgekit.targets import names as card_names
from edgekit.training import RECIPES


def fault(folder: Path, text: str, *flags: str, **variables: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_pipeline(write(folder, text), environment=variables, flags=flags)
    return str(caught.value).replace(str(folder), "FOLDER")


def read(folder: Path, text: str, *flags: str, **variables: str) -> Pipeline:
    return load_pipeline(write(folder, text), environment=variables, flags=flags).pipeline


def test_a_stage_is_run_when_its_table_is_there(tmp_path: Path) -> None:
    pipeline = read(tmp_path, "[quantize]\n[export]\n[validate]\nenabled = false\n")
    assert pipeline.stages() == ("export", "quantize")


def test_images_may_be_shards_that_are_there_or_a_url_that_is_asked_later(tmp_path: Path) -> None:
    (tmp_path / "part-0.tar").touch()
    text = "[data]\neval = 'part-{0..0}.tar/val'\ncalibration = 's3://bucket//a.tar?x=1'\n[quantize]\n"
    assert read(tmp_path, text).data.calibration == "s3://bucket//a.tar?x=1"
    for absent in ("other-{0..0}.tar", "other-*.tar", "part-{0..1}.tar"):
        assert "EK011 FOLDER/edgekit.toml:2: data.eval" in fault(tmp_path, text.replace("part-{0..0}.tar", absent))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[export]\nopsett = 17\n", "EK010 2: export.opsett: there is no such key; did you mean opset"),
        ("\n[exprt]\n", "EK010 2: exprt: there is no such table; did you mean export"),
        ("[export]\n# an integer\nopset = '17'\n", "EK010 3: export.opset: Input should be a valid integer"),
        ("[export]\nopset = 17.0\n", "EK010 2: export.opset: Input should be a valid integer"),
        ("[export]\nopset = true\n", "EK010 2: export.opset: Input should be a valid integer"),
        ("[export]\nopset = 1979-05-27\n", "EK010 2: export.opset: Input should be a valid integer"),
        ("export.opset = 0\n", "EK010 1: export.opset: Input should be greater than or equal to 1"),
        ("export = 3\n", "EK010 1: export: Input should be an object"),
        ("[quantize]\nmethod = 'int4'\n", "EK010 2: quantize.method: Input should be 'none', "),
        ("[quantize]\nmax_drop = nan\n", "EK010 2: quantize.max_drop: Input should be a finite number"),
        ("[model]\nmean = [\n 0.5,\n 'x',\n 0.5]\n[export]\n", "EK010 2: model.mean: Input should be a valid n"),
        ("[export]\nopset = \n", "EK010 2: not TOML: Invalid value; mend the line"),
        ("[export\n", "EK010 1: not TOML: "),
        ("[export]\nx = '''\n", "EK010 2: not TOML: "),
        ("", "EK010  there is no stage: add a table of [train], [prune], "),
        ("[prune]\n", "EK010 1: prune: structured pruning has one budget: macs, params or latency"),
        ("[export]\n\n[prune]\nmethod = '2:4'\nmacs = 0.5\n", "EK010 3: prune: 2:4 is half of the weights"),
        ("[prune]\nmethod = 'unstructured'\n", "EK010 1: prune: unstructured pruning takes an amount"),
        ("[build]\nway = 'host'\n", "EK010 1: build: way = \"host\" and host = \"USER@HOST\" belong together"),
        ("[quantize]\nmethod = 'none'\n", "EK010 1: quantize: method = none quantizes nothing"),
        ("[train]\n", "EK010  [train] needs images: set train in [data]"),
        ("[recover]\n", "EK010  [recover] follows [prune], or needs original"),
        ("[export]\n[validate]\n", "EK010  [validate] has nothing to compare"),
        ("[gate]\nmax_size = 'small'\n", "EK010 2: gate.max_size: bytes as 1500000, or a ratio to "),
        ("[model]\npath = 'no.pth'\n[export]\n", "EK011 2: model.path = 'no.pth': there is no such file"),
        ("[data]\ntrain = 'no.zip/train'\n[train]\n", "EK011 2: data.train = 'no.zip/train': there is no such"),
        ("[run]\ntarget = 'mine.toml'\n[export]\n", "EK011 2: run.target = 'mine.toml': there is no such file"),
    ],
)  # fmt: skip
def test_a_fault_names_line_and_key(tmp_path: Path, text: str, expected: str) -> None:
    code, what = expected.split(" ", 1)
    assert fault(tmp_path, text).startswith(f"{code} FOLDER/edgekit.toml:{what}")


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"EK011 .*none\.toml: the pipeline file cannot be read: No such file"):
        load_pipeline(tmp_path / "none.toml", environment=NO_VARIABLES)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"EK010 .*not a text in UTF-8"):
        load_pipeline(tmp_path / "binary.toml", environment=NO_VARIABLES)


def test_a_target_that_cannot_be_built_for_is_refused_before_any_work(tmp_path: Path) -> None:
    expected = (
        "EK010 FOLDER/edgekit.toml:1: [build] needs a target with TensorRT, and cpu has none; set target in [run]"
    )
    assert fault(tmp_path, "[build]\n") == expected
    with_target = "[run]\ntarget = 'jetson-orin-nano'\n[build]\n"
    assert read(tmp_path, with_target).stages() == ("build",)
    assert fault(tmp_path, with_target, "run.jetpack=1.0").startswith("EK001 --jetpack: ")
    assert fault(tmp_path, "[export]\n", "run.target=jetson-nanoo").startswith("EK002 --target: ")
    assert read(tmp_path, "[export]\n", "run.target=tensorrt").run.target == "tensorrt"


def test_a_pruned_onnx_file_cannot_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    text = "[model]\npath = 'model.onnx'\n[prune]\nmacs = 0.5\n"
    assert fault(tmp_path, text).startswith("EK010 FOLDER/edgekit.toml: [prune] needs a checkpoint")


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(tmp_path: Path) -> None:
    def opset(text: str, *flags: str, **variables: str) -> int | None:
        table = read(tmp_path, text, *flags, **variables).export
        assert table is not None
        return table.opset

    assert opset("[export]\n") is None
    assert opset("[export]\nopset = 14\n") == 14
    assert opset("[export]\nopset = 14\n", EDGEKIT_EXPORT__OPSET="15") == 15
    assert opset("[export]\nopset = 14\n", "export.opset=16", EDGEKIT_EXPORT__OPSET="15") == 16
    assert opset("[export]\nopset = 14\n", "export.opset=16", "export.opset=18") == 18


def test_variables_and_flags_are_read_by_the_type_of_their_key(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path, "[export]\n", "model.mean=0.5, 0.25,0.125", "model.conv_bias=true", "quantize.effort=fast",
        "run.output=elsewhere", "prune.macs=0.5", EDGEKIT_DATA__EVAL_SAMPLES="7",
    )  # fmt: skip
    assert pipeline.model.mean == (0.5, 0.25, 0.125)
    assert pipeline.model.conv_bias is True
    assert pipeline.quantize is not None
    assert pipeline.quantize.effort == "fast"
    assert pipeline.run.output == Path("elsewhere")
    assert pipeline.data.eval_samples == 7
    assert pipeline.stages() == ("prune", "export", "quantize")


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    read(tmp_path, "[export]\n", EDGEKIT_TRACEBACK="1", OTHER_EXPORT__OPSET="x")


@pytest.mark.parametrize(
    ("flags", "variables", "expected"),
    [
        (("export.opset=x",), {}, "EK010 --set export.opset: export.opset = 'x': Input should be a valid integer"),
        (("export.opset",), {}, "EK010 --set: 'export.opset' is not TABLE.KEY=VALUE"),
        (("opset=17",), {}, "EK010 --set: 'opset=17' is not TABLE.KEY=VALUE"),
        (("exprt.opset=17",), {}, "EK010 --set exprt.opset: exprt.opset: there is no such table; did you mean export"),
        (("export.opsett=17",), {}, "EK010 --set export.opsett: export.opsett: there is no such key; did you"),
        (("model.mean=0.5",), {}, "EK010 --set model.mean: model.mean = '0.5': Field required"),
        (("model.path=no.onnx",), {}, "EK011 --set model.path: model.path = 'no.onnx': there is no such file"),
        ((), {"EDGEKIT_EXPORT__OPSET": "0"}, "EK010 the variable EDGEKIT_EXPORT__OPSET: export.opset = '0': Input"),
        ((), {"EDGEKIT_EXPORT__OPSE": "1"}, "EK010 the variable EDGEKIT_EXPORT__OPSE: export.opse: there is no such"),
    ],
)  # fmt: skip
def test_a_fault_names_the_variable_or_the_flag(
    tmp_path: Path, flags: tuple[str, ...], variables: dict[str, str], expected: str
) -> None:
    assert fault(tmp_path, "[export]\n", *flags, **variables).startswith(expected)


KEYS = st.sampled_from(["a", "b", "c"])


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, st.integers(0, 9), min_size=1), min_size=1), st.data())
def test_the_line_of_a_key_is_the_one_it_stands_on(content: dict[str, dict[str, int]], data: st.DataObject) -> None:
    lines: list[str] = []
    places: dict[tuple[str, str], int] = {}
    for table, keys in content.items():
        lines.append(f"[{table}]")
        for key, value in keys.items():
            lines += data.draw(st.lists(st.sampled_from(["", "# x = 1", "  "]), max_size=2))
            places[table, key] = len(lines) + 1
            lines += data.draw(st.sampled_from([[f"{key} = {value}"], [f"{key} = [", f" {value}", "]"]]))
    text = "\n".join(lines) + "\n"
    assert {place: line_of(text, place) for place in places} == places
    assert line_of(text, ("a", "missing")) is None


def test_words_that_are_repeated_here_are_those_of_the_stages() -> None:
    assert set(get_args(settings.Architecture)) == set(names())
    assert set(get_args(settings.RecipeName)) == set(RECIPES)
    assert set(_read._FORMS) == {name for name in FLAVOURS if name not in card_names()}
    assert settings.Importance == edgekit.pruning.Importance
    assert settings.Widths == edgekit.pruning.Widths
    assert settings.Repair == edgekit.pruning.Repair
    assert get_args(settings.PruneTable.model_fields["method"].annotation) == get_args(Method)


def test_defaults_are_those_of_the_commands() -> None:
    table, request = settings.QuantizeTable(), ExportRequest(None, Path())
    for name in ("effort", "max_drop", "calibration_method", "weight_bits"):
        assert getattr(table, name) == getattr(request, name)
    awareness = request.awareness
    assert (table.qat_steps, table.qat_learning_rate) == (awareness.steps, awareness.learning_rate)
    assert (table.qat_label_weight, table.learned_scales) == (awareness.label_weight, awareness.learned_scales)
    # The one default that differs: what is chosen by time has other bytes each time.
    assert (table.mixed, request.mixed) == (False, True)
    assert settings.DataTable().calibration_samples == request.calibration_samples


def test_settings_are_written_down_and_read_back(tmp_path: Path) -> None:
    pipeline = read(tmp_path, "[prune]\nmacs = 0.5\n[quantize]\n[validate]\nmax_drop = 1.0\n[gate]\nenabled = false\n")
    assert pipeline_of(json.loads(json.dumps(settings_of(pipeline)))) == pipeline.model_copy(update={"gate": None})


def test_the_committed_json_schema_is_current_and_describes_every_key(repository: Path) -> None:
    committed = json.loads((repository / "docs" / "pipeline.schema.json").read_text())
    assert committed == json_schema(), "edgekit init --schema > docs/pipeline.schema.json writes it again"
    jsonschema.Draft202012Validator.check_schema(committed)
    for name, table in tables().items():
        for key, field in table.model_fields.items():
            assert field.description, f"{name}.{key}"


@pytest.mark.parametrize(("table", "valid"), [({"opset": 17}, True), ({"opsett": 17}, False), ({"opset": "17"}, False)])
def test_an_editor_sees_what_edgekit_sees(table: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(json_schema()).is_valid({"export": table}) is valid


def test_the_page_lists_every_key(repository: Path) -> None:
    page = (repository / "docs" / "pipeline.md").read_text()
    for name, table in tables().items():
        for key in table.model_fields:
            assert f"| `{name}.{key}` |" in page or key == "enabled", f"docs/pipeline.md does not list {name}.{key}"


def test_the_file_that_ships_is_read_and_its_comments_are_keys(tmp_path: Path) -> None:
    text = shipped_pipeline().read_text()
    assert read(tmp_path, text).stages() == ("export", "quantize", "validate")
    table = ""
    for line in text.splitlines():
        words = line.lstrip("# ").split("#")[0].strip()
        if words.startswith("[") and words.endswith("]"):
            table = words.strip("[]")
        elif " = " in words and words.split(" = ")[0].isidentifier():
            assert words.split(" = ")[0] in tables()[table].model_fields, line
