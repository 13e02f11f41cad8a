"""torch in eager mode, on the CPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgekit.validate.backends._backend import thread_count

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class TorchBackend:
    """Runs a module that `torch.save` wrote; such a file can run code, so that only edgekit's own is opened."""

    reads: Literal["module"] = "module"

    def open(self, model: Path, *, threads: int) -> TorchModel:
        """Open a module; the number of threads then holds for all of this process."""
        import torch

        count = thread_count(threads)
        torch.set_num_threads(count)
        return TorchModel(torch.load(model, weights_only=False), count)

    def write_smallest(self, path: Path) -> None:
        """Write a module of next to nothing."""
        import torch
        from torch import nn

        torch.save(nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), path)


class TorchModel:
    """A module in inference mode.

    Args:
        module: The module, in eval mode.
        threads: Threads that torch was given.
    """

    def __init__(self, module: nn.Module, threads: int) -> None:
        import torch

        self.threads = threads
        self.runtime = f"torch {torch.__version__}"
        self.fixed_batch: int | None = None
        self._module = module

    def __call__(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return the logits of a batch."""
        import torch

        with torch.inference_mode():
            logits: NDArray[Any] = self._module(torch.from_numpy(images)).numpy()
        return logits
