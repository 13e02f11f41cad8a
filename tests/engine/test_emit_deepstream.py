"""The DeepStream configuration: every number is the model's own, and what nvinfer makes of it too."""

from __future__ import annotations

import configparser
import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgekit.calibrate import collect, ranges
from edgekit.cli._main import run
from edgekit.data import crop, normalise, sample
from edgekit.engine import lower, with_one_std, with_softmax
from edgekit.errors import TargetError, UsageError
from edgekit.models import Overrides, load
from edgekit.pipeline.emitting import EmitRequest, Emitted, emit, largest_difference, require_same
from edgekit.pipeline.lowering import plan_for
from edgekit.pipeline.sources import open_source
from edgekit.quantize import FLAVOURS, quantize_static, tensors_to_calibrate
from edgekit.quantize import plan as plan_quantization
from edgekit.spec import Preprocessing

Floats = npt.NDArray[np.float32]
SMALL_V2 = Overrides(width=0.35, input_size=64, num_classes=5, resize=72)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    """The configuration of the model that ships."""
    return emit(EmitRequest(None, "jetson-nano", "deepstream", tmp_path_factory.mktemp("cifar") / "out"))


@pytest.fixture(scope="module")
def v2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MobileNetV2 with ImageNet's preprocessing, as a file."""
    path = tmp_path_factory.mktemp("v2") / "small v2.onnx"
    onnx.save(open_source("mobilenet_v2", SMALL_V2, 13).model, path)
    return path


@pytest.fixture(scope="module")
def v2(v2_file: Path) -> Emitted:
    """Its configuration."""
    return emit(EmitRequest(str(v2_file), "jetson-orin-nano", "deepstream", v2_file.parent / "out", jetpack="5.1"))


def configuration(emitted: Emitted) -> dict[str, str]:
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None, strict=True)
    parser.read_string((emitted.folder / "config_infer_primary.txt").read_text())
    assert parser.sections() == ["property"]
    return dict(parser["property"])


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(";")]


def own_preprocessing(model: onnx.ModelProto) -> Preprocessing:
    stored = {entry.key: entry.value for entry in model.metadata_props}
    return Preprocessing.from_json(stored["edgekit.preprocessing"])


def outputs(model: onnx.ModelProto | Path, images: Floats) -> Floats:
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[np.newaxis]})[0] for image in images])


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def as_nvinfer_sees(pixels: npt.NDArray[np.uint8], written: dict[str, str]) -> Floats:
    """y = net-scale-factor · (x - offset), channel by channel, as DeepStream's documentation states it."""
    scale, offsets = float(written["net-scale-factor"]), numbers(written["offsets"])
    assert written["model-color-format"] == "0"
    planes = [np.float32(scale) * (pixels[..., c].astype(np.float32) - np.float32(offsets[c])) for c in range(3)]
    return np.stack(planes, axis=1)


def test_the_model_that_ships_is_described_number_by_number(cifar: Emitted) -> None:
    written, own = configuration(cifar), load(None).preprocessing
    assert (own.mean, own.std) == ((0.5,) * 3, (0.5,) * 3)
    assert numbers(written["offsets"]) == [127.5] * 3
    assert float(written["net-scale-factor"]) == pytest.approx(1 / 127.5, rel=1e-12)
    expected = {
        "process-mode": "1", "network-type": "1", "batch-size": "1", "network-mode": "2", "workspace-size": "1024",
        "infer-dims": f"3;{own.input_size};{own.input_size}", "network-input-order": "0",
        "model-color-format": "0", "scaling-filter": "1",
        "maintain-aspect-ratio": "1", "symmetric-padding": "1", "output-blob-names": "probabilities",
        "onnx-file": "model.onnx", "labelfile-path": "labels.txt", "classifier-threshold": "0",
        "model-engine-file": "model.onnx_b1_gpu0_fp16.engine",
    }  # fmt: skip
    assert expected.items() <= written.items()
    assert set(cifar.files) == {path.name for path in cifar.folder.iterdir()}
    labels = (cifar.folder / "labels.txt").read_text().splitlines()
    assert labels == [";".join(sample().evaluation.class_names or ())]


def test_a_v2_with_imagenets_preprocessing_is_described_number_by_number(v2: Emitted, v2_file: Path) -> None:
    written, own = configuration(v2), own_preprocessing(onnx.load(v2_file))
    assert (own.mean, own.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert numbers(written["offsets"]) == pytest.approx([255 * mean for mean in own.mean], rel=1e-12)
    assert float(written["net-scale-factor"]) == pytest.approx(1 / (255 * 0.225), rel=1e-12)
    assert written["infer-dims"] == f"3;{own.input_size};{own.input_size}"
    assert "labelfile-path" not in written
    assert v2.files == ("config_infer_primary.txt", "model.onnx")
    described = own_preprocessing(onnx.load(v2.folder / "model.onnx"))
    assert described == dataclasses.replace(own, std=(0.225, 0.225, 0.225))


@pytest.mark.parametrize("case", ["cifar", "v2"])
def test_configuration_and_model_give_the_models_own_answer(
    case: str, cifar: Emitted, v2: Emitted, v2_file: Path
) -> None:
    emitted = cifar if case == "cifar" else v2
    original = open_source(None if case == "cifar" else v2_file, Overrides(), 13)
    images = sample().evaluation.spread(12)
    pixels = np.stack([crop(images.read(index), original.preprocessing) for index in range(len(images))])
    expected = softmax(outputs(original.model, normalise(pixels, original.preprocessing)))
    actual = outputs(emitted.folder / "model.onnx", as_nvinfer_sees(pixels, configuration(emitted)))
    np.testing.assert_allclose(actual, expected, atol=2e-5)
    assert np.array_equal(actual.argmax(1), expected.argmax(1))
    if case == "cifar":
        return  # One standard deviation for all channels: nothing had to be folded.
    # Without the fold the same images would get other answers, so the comparison can tell.
    unfolded = lower(original.model, emitted.plan)[0]
    wrong = softmax(outputs(unfolded, as_nvinfer_sees(pixels, configuration(emitted))))
    assert np.abs(wrong - expected).max() > 1e-4


def test_the_notes_say_what_was_done_and_what_differs(cifar: Emitted, v2: Emitted) -> None:
    text = "\n".join(note.text for note in cifar.notes)
    assert "their ratio" not in text
    assert "compared with the model's own on 4 images of noise: the logits differ by" in text
    assert "a Softmax stands at the end" in text
    assert "src-crop=452:32:1016:1016" in text
    others = "\n".join(note.text for note in v2.notes)
    assert "their ratio is in the weights of" in others
    assert "64/72 of the short side" in others
    assert "src-crop=480:60:960:960" in others
    assert "one line with semicolons" in others


def test_a_strongly_typed_target_takes_the_precision_from_the_file(v2_file: Path, tmp_path: Path) -> None:
    emitted = emit(EmitRequest(str(v2_file), "jetson-agx-orin", "deepstream", tmp_path / "out"))
    written = configuration(emitted)
    assert (written["network-mode"], written["strongly-typed"]) == ("0", "1")
    assert written["model-engine-file"] == "model.onnx_b1_gpu0_fp32.engine"
    model = onnx.load(emitted.folder / "model.onnx")
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    assert "DeepStream 9" in "\n".join(note.text for note in emitted.notes)


def test_a_quantized_model_is_scaled_before_its_q_dq_and_needs_its_engine_built_first(tmp_path: Path) -> None:
    target, path = "jetson-agx-xavier", tmp_path / "int8.onnx"
    model = open_source("mobilenet_v1", Overrides(width=0.25, input_size=32, num_classes=5), 13).model
    flavour = FLAVOURS["tensorrt8"]
    images = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
    summaries = collect(model, iter([images]), tensors_to_calibrate(model, flavour), threads=1)
    quantization = plan_quantization(model, ranges(summaries, "minmax", symmetric=True), flavour)
    onnx.save(quantize_static(model, quantization)[0], path)
    emitted = emit(EmitRequest(str(path), target, "deepstream", tmp_path / "out"))
    written = configuration(emitted)
    assert (written["network-mode"], written["model-engine-file"]) == ("1", "model.onnx_b1_gpu0_int8.engine")
    text = "\n".join(note.text for note in emitted.notes)
    assert "a Mul behind the input" in text
    assert "trtexec --onnx=model.onnx --int8 --fp16 --saveEngine=model.onnx_b1_gpu0_int8.engine" in text
    first = onnx.load(emitted.folder / "model.onnx").graph.node[0]
    assert (first.op_type, list(first.input)) == ("Mul", ["input", "input_std_ratio"])


STANDARD_DEVIATIONS = st.tuples(*[st.floats(0.01, 2.0)] * 3)


def convolution(reader: str) -> onnx.ModelProto:
    """A padded convolution that reads the input, alone or behind or beside something else."""
    weights = np.random.default_rng(7).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["input", "w"], ["y"], "conv", pads=[1, 1, 1, 1])]
    if reader == "behind another":
        nodes = [helper.make_node("Pad", ["input", "pads"], ["padded"], "pad"),
                 helper.make_node("Conv", ["padded", "w"], ["y"], "conv")]  # fmt: skip
    elif reader == "weights used twice":
        nodes.append(helper.make_node("Conv", ["input", "w"], ["y2"], "conv2", pads=[1, 1, 1, 1]))
    nodes += [
        helper.make_node("GlobalAveragePool", ["y"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["out"]),
    ]
    pads = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "pads")
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(weights, "w"), pads],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


@given(std=STANDARD_DEVIATIONS, reader=st.sampled_from(["alone", "behind another", "weights used twice"]))
@settings(max_examples=25, deadline=None)
def test_one_standard_deviation_for_all_channels_keeps_the_function(
    std: tuple[float, float, float], reader: str
) -> None:
    model = convolution(reader)
    before = model.SerializeToString(deterministic=True)
    given_ = Preprocessing(8, 8, (0.4, 0.5, 0.6), std)
    adapted, preprocessing, notes = with_one_std(model, given_)
    assert model.SerializeToString(deterministic=True) == before
    assert preprocessing.std == (sorted(std)[1],) * 3
    assert preprocessing.mean == given_.mean
    pixels = np.random.default_rng(3).integers(0, 256, (2, 8, 8, 3), np.uint8)
    expected = outputs(model, normalise(pixels, given_))
    actual = outputs(adapted, normalise(pixels, preprocessing))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    if len(set(std)) > 1:
        folded = not any(node.op_type == "Mul" for node in adapted.graph.node)
        assert folded == (reader == "alone")
        assert ("the weights of conv" in notes[0].text) == folded


def test_one_standard_deviation_leaves_a_model_that_has_it() -> None:
    model, given_ = convolution("alone"), Preprocessing(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert with_one_std(model, given_) == (model, given_, ())


def test_a_model_that_ends_in_a_softmax_gets_no_second_one() -> None:
    once = with_softmax(convolution("alone"))
    assert with_softmax(once) is once


def test_a_wrong_preprocessing_is_found_and_ek730(v2_file: Path) -> None:
    planned = plan_for(str(v2_file), "jetson-nano")
    adapted, preprocessing, _ = with_one_std(planned.source.model, planned.source.preprocessing)
    model, _ = lower(adapted, planned.plan)
    assert largest_difference(planned, model, preprocessing) < 1e-5
    wrong = largest_difference(planned, model, dataclasses.replace(preprocessing, mean=(0.5, 0.5, 0.5)))
    with pytest.raises(TargetError, match=r"EK730 v2: with nvinfer's preprocessing its logits differ by"):
        require_same(wrong, planned.plan.precision, "v2")
    with pytest.raises(TargetError, match=r"EK730 v2: .*nan %"):
        require_same(float("nan"), planned.plan.precision, "v2")


def test_a_class_name_cannot_break_the_label_line(v2_file: Path, tmp_path: Path) -> None:
    model = onnx.load(v2_file)
    names = ["tench, Tinca tinca", "semi;colon", "line\nbreak", "crêpe", "e"]
    model.metadata_props.add(key="edgekit.classes", value=json.dumps(names))
    onnx.save(model, tmp_path / "named.onnx")
    emitted = emit(EmitRequest(str(tmp_path / "named.onnx"), "jetson-nano", "deepstream", tmp_path / "out"))
    labels = (emitted.folder / "labels.txt").read_text(encoding="utf-8")
    assert labels == "tench, Tinca tinca;semi,colon;line?break;crêpe;e\n"


def test_it_replaces_an_earlier_one_and_nothing_else(v2_file: Path, tmp_path: Path) -> None:
    request = EmitRequest(str(v2_file), "jetson-nano", "deepstream", tmp_path / "out")
    emit(request)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "model.onnx_b1_gpu0_fp16.engine").write_bytes(b"of the model before")
    emit(request)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(UsageError, match=r"EK003 .*not a DeepStream configuration; .*--output"):
        emit(dataclasses.replace(request, folder=thesis.parent))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]
    assert [path.name for path in thesis.parent.iterdir()] == ["thesis.txt"]


def test_nvidias_parser_reads_the_model(cifar: Emitted) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason="needs tensorrt-rtx-cu13-bindings, which is for x86 Linux")
    from edgekit.engine import check

    result = check(cifar.folder / "model.onnx")
    assert (result.unsupported, result.built) == ((), True)


def test_the_command_writes_says_and_refuses(v2_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", str(v2_file), "--target", "jetson-nano", "--emit", "deepstream", "--output", str(tmp_path / "o")]
    assert run(words) == 0
    assert f"wrote to {tmp_path / 'o'}/: config_infer_primary.txt, model.onnx" in capsys.readouterr().out
    assert run([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["files"], facts["plan"]["precision"]) == (["config_infer_primary.txt", "model.onnx"], "fp16")
    assert run([*words[:-3], "openvino"]) == 2
    assert "EK001 --emit: 'openvino' is not known; take one of deepstream, triton" in capsys.readouterr().err
    assert run([*words[:3], "cpu", *words[4:]]) == 2
    assert "EK002 --target: cpu has no TensorRT" in capsys.readouterr().err
