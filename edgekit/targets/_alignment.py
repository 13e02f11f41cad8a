"""How many channels a target computes at once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from edgekit.targets._card import Card, numbers
from edgekit.targets._estimate import FIRST_TENSOR_CORES

# What suits every CPU and every GPU: eight FP32 lanes of AVX2, and 128 bits of FP16.
CHANNEL_MULTIPLE: Final = 8
# 128 bits of int8 for a tensor core, sixteen int32 lanes of a 512-bit register for VNNI.
_WIDE_MULTIPLE: Final = 16


def channel_multiple(card: Card, cpu_int8: Collection[str]) -> int:
    """Return the multiple that channel counts should be of, so that no lane of the target's int8 kernels idles.

    Args:
        card: The target.
        cpu_int8: Int8 instructions of this machine's CPU, for a target that is this machine.

    Source: NVIDIA, "Deep Learning Performance: Convolutional Layers", for tensor cores; CUTLASS's 128-bit alignment.
    """
    if not card.is_gpu:
        return _WIDE_MULTIPLE if card.name == "cpu" and "avx512_vnni" in cpu_int8 else CHANNEL_MULTIPLE
    capability = card.facts.compute_capability
    tensor_cores = capability is not None and numbers(capability.value) >= FIRST_TENSOR_CORES
    return _WIDE_MULTIPLE if tensor_cores and card.facts.int8.value else CHANNEL_MULTIPLE
