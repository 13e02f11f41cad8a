"""Which runtime is meant, and whether it is here."""

from __future__ import annotations

import importlib.util

from edgekit.errors import ComparisonError, UsageError
from edgekit.validate._session import Provider
from edgekit.validate.backends._backend import Backend, BackendName


def choose_backend(name: BackendName, provider: Provider = "cpu") -> Backend:
    """Return a runtime; it is imported when it opens a model.

    Raises:
        ComparisonError: EK610 when its package is not installed.
        UsageError: EK001 when another provider than the CPU is asked of a runtime that has none.
    """
    if importlib.util.find_spec(name) is None:
        raise ComparisonError("EK610", f"{name} is not installed", where="--backend", hint=f"pip install {name}")
    if name == "onnxruntime":
        from edgekit.validate.backends._onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(provider)
    if provider != "cpu":
        raise UsageError(
            "EK001", f"{name} runs on the CPU alone here", where="--provider", hint="take --backend onnxruntime for it"
        )
    if name == "openvino":
        from edgekit.validate.backends._openvino import OpenVinoBackend

        return OpenVinoBackend()
    from edgekit.validate.backends._torch import TorchBackend

    return TorchBackend()
