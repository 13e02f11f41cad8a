"""A DeepStream configuration: what Gst-nvinfer needs to run a classifier on whole frames, and the model it reads.

nvinfer computes `net-scale-factor · (x - offset)` with one scale for all channels, scales whole frames without a crop,
takes the largest output for a confidence, and reads the labels of a classifier from one line. Source: the keys and
their meaning in docs.nvidia.com/metropolis/deepstream, Gst-nvinfer, and its source at github.com/NVIDIA/DeepStream,
src/gst-plugins/gst-nvinfer and src/utils/nvdsinfer.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.engine._folder import write_folder
from edgekit.spec import Interpolation, Note, Preprocessing
from edgekit.targets import BuildPlan, EnginePrecision

CONFIGURATION, LABELS, MODEL = "config_infer_primary.txt", "labels.txt", "model.onnx"
PROBABILITIES = "probabilities"
LARGEST_PIXEL = 255
_NETWORK_MODES: dict[EnginePrecision, int] = {"fp32": 0, "int8": 1, "fp16": 2}
# NvBufSurfTransform_Inter: 1 is bilinear, 2 is cubic on a GPU and 5-tap on a Jetson's VIC.
_SCALING_FILTERS: dict[Interpolation, int] = {"bilinear": 1, "bicubic": 2}


@dataclasses.dataclass(frozen=True)
class DeepStream:
    """What a DeepStream configuration is made of.

    Attributes:
        model: The lowered model for a batch of one, whose output are probabilities.
        plan: How it gets onto the target.
        preprocessing: How images become its input; one standard deviation for all channels.
        class_names: Names of its classes; None where they are not known.
        edgekit: Version of edgekit.
    """

    model: onnx.ModelProto
    plan: BuildPlan
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None
    edgekit: str


def with_one_std(
    model: onnx.ModelProto, preprocessing: Preprocessing
) -> tuple[onnx.ModelProto, Preprocessing, tuple[Note, ...]]:
    """Return a model of the same function whose input is normalised with one standard deviation for all channels.

    Where they differ, σ becomes the middle one, and the model multiplies channel c by σ / σ_c: in the weights of its
    first convolution where that alone reads the input, else in a Mul. The padding of a convolution stays right, since
    0 times a factor is 0; the means stay outside, since they would not.

    Args:
        model: An FP32 or quantized model.
        preprocessing: How images become its input.

    Returns:
        The model, the preprocessing for it, and what was done.
    """
    std = sorted(preprocessing.std)[1]
    if preprocessing.std == (std, std, std):
        return model, preprocessing, ()
    result = onnx.ModelProto()
    result.CopyFrom(model)
    factors = np.array([std / own for own in preprocessing.std]).reshape(1, 3, 1, 1)
    place = _scale_weights(result.graph, factors) or _scale_input(result.graph, factors)
    text = f"the channels have different standard deviations, and nvinfer one scale: their ratio is in {place}"
    return result, dataclasses.replace(preprocessing, std=(std, std, std)), (Note("deepstream", text),)


def _scale_weights(graph: onnx.GraphProto, factors: np.ndarray) -> str | None:
    """Scale the weights of the convolution that alone reads the input; None when there is no such convolution."""
    readers = [node for node in graph.node if graph.input[0].name in node.input]
    if len(readers) != 1 or readers[0].op_type != "Conv" or readers[0].input[0] != graph.input[0].name:
        return None
    name = readers[0].input[1]
    tensor = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    shared = sum(name in node.input for node in graph.node) > 1
    if tensor is None or tensor.data_type != TensorProto.FLOAT or tensor.dims[1] != factors.shape[1] or shared:
        return None
    scaled = numpy_helper.to_array(tensor).astype(np.float64) * factors
    tensor.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), name))
    return f"the weights of {readers[0].name or name}"


def _scale_input(graph: onnx.GraphProto, factors: np.ndarray) -> str:
    """Multiply the input before anything reads it."""
    source = graph.input[0].name
    constant, scaled = _unused(graph, f"{source}_std_ratio"), _unused(graph, f"{source}_with_own_std")
    for node in graph.node:
        node.input[:] = [scaled if name == source else name for name in node.input]
    graph.initializer.append(numpy_helper.from_array(factors.astype(np.float32), constant))
    graph.node.insert(0, helper.make_node("Mul", [source, constant], [scaled], constant))
    return "a Mul behind the input, since a convolution's weights cannot take it"


def _unused(graph: onnx.GraphProto, wanted: str) -> str:
    taken = {name for node in graph.node for name in (*node.input, *node.output, node.name)}
    while wanted in taken:
        wanted += "_"
    return wanted


def with_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a classifier whose output are probabilities: nvinfer takes the largest one for the confidence."""
    logits, name = model.graph.output[0], _unused(model.graph, PROBABILITIES)
    if any(node.op_type == "Softmax" and logits.name in node.output for node in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.node.append(helper.make_node("Softmax", [logits.name], [name], name, axis=1))
    shape = [dim.dim_value for dim in logits.type.tensor_type.shape.dim]
    del result.graph.output[:]
    result.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(result, full_check=True)
    return result


def nvinfer_scale(preprocessing: Preprocessing) -> tuple[float, tuple[float, ...]]:
    """Return net-scale-factor and offsets of a preprocessing with one standard deviation, in units of 0..255."""
    return 1 / (LARGEST_PIXEL * preprocessing.std[0]), tuple(LARGEST_PIXEL * mean for mean in preprocessing.mean)


def emit_deepstream(content: DeepStream, folder: Path) -> tuple[str, ...]:
    """Write a configuration for Gst-nvinfer, its labels and its model, whole or not at all.

    Args:
        content: What it is made of.
        folder: Where to: a new or empty folder, or one with an earlier configuration, which is replaced.

    Returns:
        The names of the files, sorted.

    Raises:
        UsageError: EK003 when the folder holds something else, or cannot be written.
    """
    files = {MODEL: content.model.SerializeToString(deterministic=True)}
    if content.class_names is not None:
        files[LABELS] = (";".join(map(_label, content.class_names)) + "\n").encode()
    settings = "".join(f"{key}={value}\n" for key, value in _settings(content).items())
    plan = content.plan
    heading = f"# edgekit {content.edgekit}: {plan.precision} for {plan.target}, TensorRT {plan.tensorrt}\n"
    files[CONFIGURATION] = f"{heading}[property]\n{settings}".encode()
    return write_folder(folder, files, mark=CONFIGURATION, kind="a DeepStream configuration", option="--output")


def engine_name(plan: BuildPlan) -> str:
    """Return the name that nvinfer gives the engine it builds of the model: with its batch, GPU and network mode."""
    mode = next(name for name, number in _NETWORK_MODES.items() if number == _network_mode(plan))
    return f"{MODEL}_b1_gpu0_{mode}.engine"


def _network_mode(plan: BuildPlan) -> int:
    # With strong typing the file says what computes in what, and a flag besides is an error.
    return 0 if plan.typing == "strong" else _NETWORK_MODES[plan.precision]


def _settings(content: DeepStream) -> dict[str, object]:
    plan, preprocessing = content.plan, content.preprocessing
    scale, offsets = nvinfer_scale(preprocessing)
    shape = [dim.dim_value for dim in content.model.graph.input[0].type.tensor_type.shape.dim]
    settings: dict[str, object] = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "network-type": 1,
        "onnx-file": MODEL,
        "model-engine-file": engine_name(plan),
        "labelfile-path": LABELS,
        "batch-size": shape[0],
        "network-mode": _network_mode(plan),
        "strongly-typed": 1,
        "workspace-size": plan.workspace_mib,
        "infer-dims": ";".join(map(str, shape[1:])),
        "network-input-order": 0,
        "model-color-format": 0,
        "net-scale-factor": repr(scale),
        "offsets": ";".join(map(repr, offsets)),
        # Whole frames keep their proportions and are centred, as the model saw its images in training.
        "maintain-aspect-ratio": 1,
        "symmetric-padding": 1,
        "scaling-filter": _SCALING_FILTERS[preprocessing.interpolation],
        "output-blob-names": content.model.graph.output[0].name,
        "classifier-threshold": 0,
    }
    if plan.typing != "strong":
        del settings["strongly-typed"]
    if content.class_names is None:
        del settings["labelfile-path"]
    return settings


def _label(name: str) -> str:
    """Return a class name as nvinfer can read it: labels of a classifier are separated by semicolons."""
    return "".join(letter if letter.isprintable() else "?" for letter in name).replace(";", ",")
