"""An ONNX file from somebody else: accepted when it is an image classifier, refused in words when it is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgekit.errors import ModelError
from edgekit.export import load_onnx
from edgekit.spec import Note

Exporter = Callable[[str], tuple[onnx.ModelProto, tuple[Note, ...]]]

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def classifier() -> onnx.ModelProto:
    model = parse(f"""{HEADER}
        net (float[n, 3, 8, 8] pixels) => (float[n, 4] logits) {{
            features = Conv <kernel_shape: ints = [1, 1]> (pixels, weight)
            means = GlobalAveragePool (features)
            logits = Flatten (means)
        }}""")
    weight = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    return model


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_onnx(path)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value


def test_an_exported_model_loads_as_it_was_written(tmp_path: Path, architecture: str, exported: Exporter) -> None:
    model, _ = exported(architecture)
    assert load_onnx(saved(model, tmp_path)) == model


def test_a_batch_of_one_is_accepted(tmp_path: Path) -> None:
    model = classifier()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert load_onnx(saved(model, tmp_path)) == model


def test_ek101_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.onnx").code == "EK101"
    assert refusal(tmp_path).code == "EK101"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"PK\x03\x04" + bytes(64),
    ],
)
def test_ek102_a_file_that_is_no_onnx(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert refusal(path).code == "EK102"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_ek104_a_download_that_stopped(share: float, tmp_path: Path) -> None:
    path = saved(classifier(), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path).code == "EK104"


def test_ek104_a_weight_that_is_shorter_than_its_shape(tmp_path: Path) -> None:
    model = classifier()
    model.graph.initializer[0].dims[0] = 1 << 40
    error = refusal(saved(model, tmp_path))
    assert error.code == "EK104"
    assert "weight" in error.what


def test_ek104_a_graph_that_onnx_rejects(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node[1].input[0] = "nowhere"
    assert refusal(saved(model, tmp_path)).code == "EK104"


def external(model: onnx.ModelProto, **entries: str) -> TensorProto:
    tensor: TensorProto = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    model = classifier()
    weight = numpy_helper.to_array(model.graph.initializer[0])
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "data.bin").write_bytes(b"12345678" + weight.tobytes())
    external(model, location="weights/data.bin", offset="8", length="48")
    loaded = load_onnx(saved(model, tmp_path))
    np.testing.assert_array_equal(numpy_helper.to_array(loaded.graph.initializer[0]), weight)
    assert loaded.graph.initializer[0].data_location == TensorProto.DEFAULT


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret.bin",
        "weights/../../secret.bin",
        "C:\\secret.bin",
        "..\\secret.bin",
        "\\\\host\\secret",
    ],
)
def test_ek109_a_path_out_of_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(48))
    model = classifier()
    external(model, location=location)
    error = refusal(saved(model, folder))
    assert error.code == "EK109"
    assert "'weight'" in error.what


@pytest.mark.parametrize("of_folder", [True, False])
def test_ek109_a_link_out_of_the_folder_is_refused(of_folder: bool, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "data.bin").write_bytes(bytes(48))
    if of_folder:
        (folder / "data").symlink_to(tmp_path / "outer")
        location = "data/data.bin"
    else:
        (folder / "data.bin").symlink_to(tmp_path / "outer" / "data.bin")
        location = "data.bin"
    model = classifier()
    external(model, location=location)
    assert refusal(saved(model, folder)).code == "EK109"


def test_ek109_holds_for_tensors_inside_attributes_too(tmp_path: Path) -> None:
    model = classifier()
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["unread"], value=tensor))
    assert refusal(saved(model, tmp_path)).code == "EK109"


def test_ek109_the_entry_that_is_judged_is_the_entry_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(48))
    model = classifier()
    tensor = external(model, location="data.bin")
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert refusal(saved(model, tmp_path)).code == "EK109"


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "absent.bin"},
        {"location": ""},
        {"location": "."},
        {"location": "data.bin", "offset": "40"},
        {"location": "data.bin", "offset": "-1"},
        {"location": "data.bin", "offset": "0", "length": "4096"},
        {"location": "data.bin", "length": "many"},
    ],
)
def test_ek104_external_weights_that_are_not_there(entries: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(48))
    model = classifier()
    external(model, **entries)
    assert refusal(saved(model, tmp_path)).code == "EK104"


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (
            "(float[n, 8, 8, 3] x) => (float[n, 8] y) { m = GlobalAveragePool (x)\n y = Flatten (m) }",
            "channels come last",
        ),
        ("(float[n, 1, 8, 8] x) => (float[n, 1] y) { m = GlobalAveragePool (x)\n y = Flatten (m) }", "three channels"),
        (
            "(double[n, 3, 8, 8] x) => (double[n, 3] y) { m = GlobalAveragePool (x)\n y = Flatten (m) }",
            "DOUBLE, not FLOAT",
        ),
        ("(float[n, 3] x) => (float[n, 3] y) { y = Relu (x) }", r"shape \(n, 3\), not \(N, 3, H, W\)"),
        ("(float[8, 3, 4, 4] x) => (float[8, 3] y) { m = GlobalAveragePool (x)\n y = Flatten (m) }", "fixed to 8"),
        (
            "(float[n, 3, 8, 8] x) => (float[n, 3, 1, 1] y) { y = GlobalAveragePool (x) }",
            r"\(n, 3, 1, 1\), not \(N, classes\)",
        ),
        (
            "(float[n, 3, 8, 8] x, float[n, 3, 8, 8] z) => (float[n, 192] y) { m = Add (x, z)\n y = Flatten (m) }",
            r"2 inputs \(x, z\)",
        ),
        (
            "(float[n, 3, 8, 8] x) => (float[n, 192] y, float[n, 192] z) { y = Flatten (x)\n z = Relu (y) }",
            r"2 outputs \(y, z\)",
        ),
        (
            "(float[n, 3, 8, 8] x) => (int64[n, 1] y) { f = Flatten (x)\n y = ArgMax <axis = 1> (f) }",
            "INT64, not FLOAT",
        ),
    ],
)
def test_ek108_a_model_of_another_form_is_refused_with_the_reason(graph: str, reason: str, tmp_path: Path) -> None:
    path = saved(parse(f"{HEADER} net {graph}"), tmp_path)
    with pytest.raises(ModelError, match=reason) as caught:
        load_onnx(path)
    assert caught.value.code == "EK108"


def test_ek108_an_operator_of_one_runtime_is_named(tmp_path: Path) -> None:
    model = parse("""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
        net (float[n, 3, 8, 8] x) => (float[n, 192] y) {
            a = com.microsoft.Gelu (x)
            y = Flatten (a)
        }""")
    model.graph.node[0].name = "features.0/Gelu"
    error = refusal(saved(model, tmp_path))
    assert error.code == "EK108"
    assert "'features.0/Gelu' uses operator com.microsoft::Gelu" in error.what


def test_an_import_that_no_node_uses_is_no_obstacle(tmp_path: Path) -> None:
    model = classifier()
    model.opset_import.add(domain="com.microsoft", version=1)
    load_onnx(saved(model, tmp_path))


@pytest.mark.parametrize("field", ["ir_version", "opset"])
def test_ek108_a_file_newer_than_the_installed_onnx(field: str, tmp_path: Path) -> None:
    model = classifier()
    if field == "opset":
        model.opset_import[0].version = 999
    else:
        model.ir_version = 999
    error = refusal(saved(model, tmp_path))
    assert error.code == "EK108"
    assert "upgrade onnx" in error.hint


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ek110_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    model = classifier()
    weight = np.full((4, 3, 1, 1), value, np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    assert refusal(saved(model, tmp_path)).code == "EK110"


def test_loading_and_converting_do_not_import_torch(tmp_path: Path) -> None:
    path = saved(classifier(), tmp_path)
    program = (
        "import sys; from pathlib import Path; from edgekit.export import load_onnx, with_opset;"
        "with_opset(load_onnx(Path(sys.argv[1])), 13);"
        "print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
