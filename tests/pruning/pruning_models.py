"""Small models of every architecture that the tests of pruning share."""

from __future__ import annotations

import copy
import functools

import torch

from edgekit.models import MobileNet, build, names
from edgekit.spec import ModelSpec

ARCHITECTURES = names()


def small(architecture: str, padding: str = "torch") -> tuple[MobileNet, ModelSpec]:
    """A narrow model whose normalisations have seen noise, so that signals reach its end; each call gives a copy."""
    module, spec = _made(architecture, padding)
    return copy.deepcopy(module), spec


@functools.cache
def _made(architecture: str, padding: str) -> tuple[MobileNet, ModelSpec]:
    spec = ModelSpec(architecture, 0.5, 10, 32, "tf_same" if padding == "tf_same" else "torch", stem_stride=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(spec)
        module.train()
        with torch.no_grad():
            for _ in range(20):
                module(torch.randn(16, 3, 32, 32))
    return module.eval(), spec


def noise(count: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
