"""Where a loss of accuracy comes from. Nothing here runs."""

from __future__ import annotations

import dataclasses
from typing import Literal

Cause = Literal[
    "clipped-range",
    "wide-range",
    "outlier-channel",
    "per-tensor-weights",
    "bias-shift",
    "hard-swish-tail",
    "squeeze-excite-product",
    "dead-channel",
    "integer-kernel",
    "preprocessing-mismatch",
]


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How much one layer of the candidate adds to the error.

    Attributes:
        layer: Its name in the candidate.
        op_type: Its operator.
        sqnr_db: Signal to noise of its output against FP32, with all error that came before it, in dB.
        own_sqnr_db: The same when its input is that of FP32: the error that the layer adds itself.
        restored_kl: Mean KL of the whole model, in nats, when this layer alone runs in float; None where it was not
            tried.
    """

    layer: str
    op_type: str
    sqnr_db: float
    own_sqnr_db: float
    restored_kl: float | None


@dataclasses.dataclass(frozen=True)
class Finding:
    """A cause of the loss, what speaks for it, and what to do about it.

    Attributes:
        cause: Stable id of the cause.
        layer: Layer or tensor that it concerns; empty when it concerns the model as a whole.
        evidence: The numbers that speak for it, in one sentence.
        fix: The edgekit option that fixes it, in one sentence.
        share: Share of the mean KL that goes away when the layer runs in float, in percent; None where not measured.
    """

    cause: Cause
    layer: str
    evidence: str
    fix: str
    share: float | None


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Where the loss comes from; `kl` is the mean KL of the candidate on the images looked at, in nats."""

    kl: float
    images: int
    layers: tuple[LayerError, ...]
    findings: tuple[Finding, ...]
