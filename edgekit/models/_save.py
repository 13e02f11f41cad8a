"""Writing a checkpoint that carries its own description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from edgekit.files import write_bytes

_LENGTH_BYTES = 8


def save_checkpoint(path: Path, module: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write the weights of a module as `.safetensors`, whole or not at all; the same content gives the same bytes.

    Args:
        path: File to write.
        module: The module.
        metadata: What `to_metadata` returns.

    Raises:
        UsageError: EK003 when it cannot be written.
    """
    tensors = {
        name: tensor.detach().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    write_bytes(path, _in_order(safetensors.torch.save(tensors, dict(metadata))))


def _in_order(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which the library writes in another order each time.

    The file is the length of the header in eight bytes, the header as JSON, and the tensors, whose places count from
    the end of the header.
    """
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # The tensors stay aligned.
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + content[start:]
