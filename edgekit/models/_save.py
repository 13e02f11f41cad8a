"""Writing a checkpoint that carries its own description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from edgekit.files import write_bytes


def save_checkpoint(path: Path, module: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write the weights of a module as `.safetensors`, whole or not at all; raises UsageError EK003.

    Args:
        path: File to write.
        module: The module.
        metadata: What `to_metadata` returns.
    """
    tensors = {
        name: tensor.detach().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    write_bytes(path, safetensors.torch.save(tensors, dict(metadata)))
