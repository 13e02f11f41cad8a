"""How to train through the rounding, and what is kept of such a training so that it can go on."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from edgekit.files import write_bytes

# Often enough that little is lost, seldom enough that writing costs nothing beside the steps.
SAVED_EVERY = 25
_DIGEST_BYTES = 32


@dataclasses.dataclass(frozen=True)
class Awareness:
    """How to train through the rounding.

    Attributes:
        steps: Batches to train on; the learning rate follows a cosine down to zero over them.
        learning_rate: What a weight moves at most in one step, in steps of its own grid.
        label_weight: Share of the loss that comes from labels; the rest is divergence from the float model.
        learned_scales: Scales of activations are trained too (Esser et al. 2020, LSQ, arXiv 1902.08153).
    """

    steps: int
    learning_rate: float = 0.02
    label_weight: float = 0.0
    learned_scales: bool = False


class AwareState:
    """A training in a file: its tensors and its optimizer after so many steps, for the same start and no other.

    Args:
        path: The file; None keeps nothing.
        how: How is trained.
        tensors: What is trained, as it is at the start.
        optimizer: What trains it.
    """

    def __init__(
        self, path: Path | None, how: Awareness, tensors: Sequence[torch.Tensor], optimizer: torch.optim.Optimizer
    ) -> None:
        self._path, self._steps, self._tensors, self._optimizer = path, how.steps, tensors, optimizer
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(how)).encode())
        for tensor in tensors:
            digest.update(tensor.detach().contiguous().numpy().tobytes())
        self._start = digest.hexdigest()

    def restore(self) -> int:
        """Bring tensors and optimizer to where the file has them; returns the steps done, 0 where it has none."""
        content = self._read()
        if content is None or content["start"] != self._start:
            return 0
        with torch.no_grad():
            for tensor, stored in zip(self._tensors, content["tensors"], strict=True):
                tensor.copy_(stored)
        self._optimizer.load_state_dict(content["optimizer"])
        return int(content["step"])

    def save(self, step: int) -> None:
        """Write the state after a step, whole or not at all, every so many of them; raises UsageError EK003."""
        if self._path is None or step % SAVED_EVERY or step == self._steps:
            return
        buffer = io.BytesIO()
        tensors = [tensor.detach() for tensor in self._tensors]
        state = {"start": self._start, "step": step, "tensors": tensors, "optimizer": self._optimizer.state_dict()}
        torch.save(state, buffer)
        content = buffer.getvalue()
        write_bytes(self._path, hashlib.sha256(content).digest() + content)

    def _read(self) -> dict[str, Any] | None:
        """Return the content of the file; None where there is none, or it is damaged, for then nothing is lost."""
        if self._path is None or not self._path.is_file():
            return None
        stored = self._path.read_bytes()
        digest, content = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return state
