"""The one place that calls torch's TorchScript-based exporter.

torch marks it deprecated, yet its successor writes opset 18 whatever it is asked for (torch 2.13: silently
for 13 and 17), and Jetson's last stack for Nano reads nothing above 13. When the successor keeps its word,
this file is what goes.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto

from edgekit.errors import ExportError

if TYPE_CHECKING:
    from torch import nn

HIGHEST = 20
"""Newest opset that it writes (`torch.onnx._constants.ONNX_TORCHSCRIPT_EXPORTER_MAX_OPSET`)."""


class UnsupportedOperatorError(Exception):
    """The exporter has no translation of a torch operator for this opset."""


def export(module: nn.Module, *, input_size: int, opset: int, input_name: str, output_name: str) -> ModelProto:
    """Export a module in eval mode with a batch axis named `batch`; prints nothing, warns of nothing.

    Raises:
        UnsupportedOperatorError: with torch's explanation.
        ExportError: EK404 when the module cannot be traced or translated for any other reason.
    """
    import torch
    from torch.onnx import errors

    images = torch.zeros(2, 3, input_size, input_size)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), _silence(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                (images,),
                buffer,  # type: ignore[arg-type]  # its annotation is the successor's, which takes no buffer
                dynamo=False,
                opset_version=opset,
                input_names=[input_name],
                output_names=[output_name],
                dynamic_axes={input_name: {0: "batch"}, output_name: {0: "batch"}},
            )
        except errors.UnsupportedOperatorError as error:
            raise UnsupportedOperatorError(_first_line(error)) from error
        except Exception as error:  # the module's own code runs here, so anything may be raised
            raise ExportError(
                "EK404",
                f"torch cannot export the module: {_first_line(error)}",
                where=type(module).__name__,
                hint="the module must take one float32 tensor (N, 3, H, W) and return one tensor",
            ) from error
    return onnx.load_from_string(buffer.getvalue())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter from printing; a graph of a thousand lines hides the one line that says what is wrong."""
    import torch

    # It means to print a graph only when asked to, but tests a function instead of calling it (torch 2.13,
    # `setup_onnx_logging`), and prints from C++, past sys.stdout.
    log = getattr(torch._C, "_jit_onnx_log", None)
    with contextlib.redirect_stdout(io.StringIO()):
        if log is None:
            yield
            return
        torch._C._jit_onnx_log = lambda *_: None
        try:
            yield
        finally:
            torch._C._jit_onnx_log = log


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"\s+", " ", lines[0]).rstrip(".")
