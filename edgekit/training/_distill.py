"""Learning from another model's outputs beside, or instead of, labels."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A model to learn from.

    Attributes:
        module: Takes the same inputs and gives the same logits.
        sha256: Hash of its file, checked on resume.
        weight: Share of the loss that is distance from the teacher; the rest is that from the labels, of which 1.0
            needs none.
        temperature: Divides the logits of both, so that small probabilities count too.
    """

    module: nn.Module
    sha256: str
    weight: float = 0.7
    temperature: float = 4.0

    def check(self) -> None:
        """Raise UsageError EK001 for the first field that nothing can be learned with."""
        if not 0.0 < self.weight <= 1.0:
            raise UsageError(
                "EK001",
                f"the weight of the teacher is {self.weight}",
                where="--distill-weight",
                hint="take more than 0 and up to 1",
            )
        if not 0.1 <= self.temperature <= 100.0:
            raise UsageError(
                "EK001",
                f"the temperature is {self.temperature}",
                where="--temperature",
                hint="take a number from 0.1 to 100, such as 4",
            )

    @torch.no_grad()
    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the teacher's logits of preprocessed images."""
        result: torch.Tensor = self.module.eval()(images)
        return result

    def loss(self, logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """Return the mean divergence from the teacher's logits, scaled so that its gradients are those of hard labels.

        Source: Hinton et al. 2015, arXiv 1503.02531, section 2.
        """
        student = F.log_softmax(logits / self.temperature, 1)
        target = F.log_softmax(taught / self.temperature, 1)
        return F.kl_div(student, target, reduction="batchmean", log_target=True) * self.temperature**2


def loss_of(
    logits: torch.Tensor, labels: torch.Tensor, taught: torch.Tensor | None, teacher: Teacher | None, smoothing: float
) -> torch.Tensor:
    """Return the loss of a batch: from labels, from the teacher, or from both.

    Args:
        logits: Of the student, float32 (N, classes).
        labels: int64 (N,); not looked at where the teacher has all the weight.
        taught: Logits of the teacher, float32 (N, classes).
        teacher: What they came from.
        smoothing: Label smoothing.
    """
    if teacher is None or taught is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    learned = teacher.loss(logits, taught)
    if teacher.weight == 1.0:
        return learned
    told = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    return teacher.weight * learned + (1.0 - teacher.weight) * told
