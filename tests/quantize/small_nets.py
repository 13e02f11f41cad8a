"""Small networks of the family, as FP32 ONNX."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgekit.spec import Range

SIZE = 32
Array = npt.NDArray[np.float32]


class Block(nn.Module):
    """Convolution with its batch normalisation folded, then an activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: str = "relu6"
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        norm = nn.BatchNorm2d(outputs)
        norm.running_mean = torch.randn(outputs) * 0.2
        norm.running_var = torch.rand(outputs) + 0.5
        self.conv = fuse_conv_bn_eval(conv.eval(), norm.eval())
        self.act = act

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = self.conv(images)
        if self.act == "relu6":
            return F.relu6(images)
        if self.act == "relu":
            return F.relu(images)
        return F.hardswish(images) if self.act == "hardswish" else images


class Residual(nn.Module):
    """Inverted residual block, as in MobileNetV2 and V3."""

    def __init__(self, channels: int, act: str = "relu6", *, squeeze: bool = False) -> None:
        super().__init__()
        wide = 2 * channels
        self.expand = Block(channels, wide, 1, act=act)
        self.depthwise = Block(wide, wide, 3, groups=wide, act=act)
        self.squeeze = Squeeze(wide) if squeeze else nn.Identity()
        self.project = Block(wide, channels, 1, act="none")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = images + self.project(self.squeeze(self.depthwise(self.expand(images))))
        return result


class Squeeze(nn.Module):
    """Squeeze and excitation, as in MobileNetV3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, 8, 1)
        self.restore = nn.Conv2d(8, channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = F.adaptive_avg_pool2d(images, 1)
        return images * F.hardsigmoid(self.restore(F.relu(self.reduce(pooled))))


def mobilenet(act: str = "relu6", *, squeeze: bool = False, opset: int = 17) -> onnx.ModelProto:
    """A stem, a separable block, a residual block and a classifier of 10 classes, on 32x32 images."""
    torch.manual_seed(0)
    net = nn.Sequential(
        Block(3, 16, 3, stride=2, act=act),
        Block(16, 16, 3, groups=16, act=act),
        Block(16, 24, 1, act=act),
        Residual(24, act, squeeze=squeeze),
        Residual(24, "relu" if act == "hardswish" else act, squeeze=squeeze),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    return exported(net, opset)


def exported(net: nn.Module, opset: int = 17) -> onnx.ModelProto:
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", DeprecationWarning)
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 3, SIZE, SIZE),),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        )
        return onnx.load(path)


def graph(text: str, opset: int = 17, **constants: npt.NDArray[np.generic] | np.generic) -> onnx.ModelProto:
    """A model written in ONNX's text form, `agraph (...) => (...) {...}`, with its constants."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()
    )
    return model


def weights(*shape: int, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.2).astype(np.float32)


def images(count: int, channels: int = 3, size: int = SIZE) -> Array:
    generator = np.random.default_rng(1)
    coarse = generator.standard_normal((count, channels, size // 4, size // 4))
    return np.kron(coarse, np.ones((1, 1, 4, 4))).astype(np.float32)


def run(model: onnx.ModelProto, batch: Array) -> Array:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: batch})
    result: Array = output
    return result


def observed(model: onnx.ModelProto, tensors: tuple[str, ...], batch: Array) -> dict[str, Range]:
    """The smallest and largest value of each tensor, straight from onnxruntime."""
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [tensor for tensor in tensors if tensor != model.graph.input[0].name]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, {model.graph.input[0].name: batch}), strict=True))
    values[model.graph.input[0].name] = batch
    return {tensor: Range(float(values[tensor].min()), float(values[tensor].max())) for tensor in tensors}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def sqnr(reference: Array, other: Array) -> float:
    """Signal over error, in dB."""
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))
