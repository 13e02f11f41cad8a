"""Folding batch normalisation into convolutions, in torch, before the graph is exported."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

from edgekit.errors import ModelError
from edgekit.export._notes import counted, note
from edgekit.spec import Note

if TYPE_CHECKING:
    import torch
    from torch import nn


def fold_batch_norm(module: nn.Module) -> tuple[nn.Module, tuple[Note, ...]]:
    """Return a copy in eval mode in which convolutions do the work of the batch normalisations after them.

    W' = W · γ / √(σ² + ε), b' = (b - μ) · γ / √(σ² + ε) + β, channel by channel (Jacob et al. 2018, section
    3.2). Folded normalisations become `nn.Identity`, so that the other modules keep their names; exporters do
    not write those out.

    Raises:
        ModelError: EK110 when a weight is NaN or infinite, or becomes so.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    folded = copy.deepcopy(module).eval()
    require_finite(folded)
    pairs = _pairs(folded)
    if pairs is None:
        return folded, (note("left batch normalisation to the graph passes: the module cannot be traced"),)
    count = 0
    for convolution_path, norm_path in pairs:
        convolution = cast("nn.Conv2d", folded.get_submodule(convolution_path))
        norm = cast("nn.BatchNorm2d", folded.get_submodule(norm_path))
        fused = fuse_conv_bn_eval(convolution, norm)
        if not _agree(convolution, norm, fused):
            continue
        _replace(folded, convolution_path, fused)
        _replace(folded, norm_path, nn.Identity())
        count += 1
    require_finite(folded)
    return folded, counted(count, "folded {} BatchNorm2d into Conv2d")


def require_finite(module: nn.Module) -> None:
    """Raise ModelError EK110 for the first parameter or buffer that holds NaN or infinity."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ModelError(
                "EK110",
                "the weights hold NaN or infinity",
                where=name,
                hint="training diverged or the file is damaged: take an earlier checkpoint",
            )


def _pairs(module: nn.Module) -> list[tuple[str, str]] | None:
    """Return paths of (convolution, batch normalisation) where the second is the only reader of the first."""
    from torch import fx

    class Tracer(fx.Tracer):
        # A module without children is one step of computation: what happens inside (padding that depends on
        # the image size, say) is its own affair and need not be traceable.
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return not any(m.children()) or super().is_leaf_module(m, module_qualified_name)

    try:
        graph = Tracer().trace(module)
    except Exception:  # tracing runs the model's own code, which may raise anything on symbolic values
        return None
    calls = [node for node in graph.nodes if node.op == "call_module"]
    paths = [str(node.target) for node in calls]
    pairs = []
    for node in calls:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        first, second = str(source.target), str(node.target)
        if paths.count(first) == paths.count(second) == 1 and _foldable(module, first, second):
            pairs.append((first, second))
    return pairs


def _foldable(module: nn.Module, first: str, second: str) -> bool:
    from torch import nn

    convolution, norm = module.get_submodule(first), module.get_submodule(second)
    return (
        isinstance(convolution, nn.Conv2d)
        and not isinstance(convolution, nn.LazyConv2d)
        and isinstance(norm, nn.BatchNorm2d)
        and norm.running_mean is not None
        and norm.running_var is not None
        and norm.weight is not None
    )


def _agree(convolution: nn.Conv2d, norm: nn.BatchNorm2d, fused: nn.Conv2d) -> bool:
    """Whether a fold is right for a subclass of Conv2d, whose `forward` may do more than convolve."""
    import torch
    from torch import nn

    if type(convolution).forward is nn.Conv2d.forward:
        return True
    size = [
        2 * dilation * (kernel - 1) + 3
        for kernel, dilation in zip(convolution.kernel_size, convolution.dilation, strict=True)
    ]
    images = torch.randn(2, convolution.in_channels, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, actual = norm(convolution(images)), fused(images)
    # NaN is not a disagreement: it comes from the weights, and `require_finite` names the layer.
    return torch.allclose(expected, actual, rtol=1e-3, atol=1e-3 * _largest(expected), equal_nan=True)


def _largest(values: torch.Tensor) -> float:
    return max(1e-6, float(values.abs().nan_to_num().max()))


def _replace(module: nn.Module, path: str, replacement: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, replacement)
