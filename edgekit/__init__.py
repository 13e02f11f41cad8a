"""edgekit: quantize MobileNets to int8 for edge devices, and prove what it cost.

The verbs below are what the commands of the same name call; everything else is reached through its own folder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.errors import EdgekitError
    from edgekit.models import LoadedModel, Overrides
    from edgekit.models import load as load_model
    from edgekit.pipeline.bench import BenchRequest, bench_models
    from edgekit.pipeline.export import export_model
    from edgekit.pipeline.inspect import inspect_model
    from edgekit.pipeline.job import ExportRequest
    from edgekit.pipeline.profile import profile_model
    from edgekit.pipeline.train import TrainRequest, train_model
    from edgekit.pipeline.validate import ValidateRequest, validate_models

__version__ = "0.1.0"

# Name here → where it lives; loaded when first used, so that `import edgekit` stays light.
_PUBLIC = {
    "BenchRequest": ("edgekit.pipeline.bench", "BenchRequest"),
    "EdgekitError": ("edgekit.errors", "EdgekitError"),
    "ExportRequest": ("edgekit.pipeline.job", "ExportRequest"),
    "LoadedModel": ("edgekit.models", "LoadedModel"),
    "Overrides": ("edgekit.models", "Overrides"),
    "TrainRequest": ("edgekit.pipeline.train", "TrainRequest"),
    "ValidateRequest": ("edgekit.pipeline.validate", "ValidateRequest"),
    "bench_models": ("edgekit.pipeline.bench", "bench_models"),
    "export_model": ("edgekit.pipeline.export", "export_model"),
    "inspect_model": ("edgekit.pipeline.inspect", "inspect_model"),
    "load_model": ("edgekit.models", "load"),
    "profile_model": ("edgekit.pipeline.profile", "profile_model"),
    "train_model": ("edgekit.pipeline.train", "train_model"),
    "validate_models": ("edgekit.pipeline.validate", "validate_models"),
}

__all__ = [
    "BenchRequest",
    "EdgekitError",
    "ExportRequest",
    "LoadedModel",
    "Overrides",
    "TrainRequest",
    "ValidateRequest",
    "bench_models",
    "export_model",
    "inspect_model",
    "load_model",
    "profile_model",
    "train_model",
    "validate_models",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)
