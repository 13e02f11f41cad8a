"""Rounding weights with what the layer's inputs say about which errors matter.

A rounding error in one weight is made up for by the weights that are not rounded yet, as far as their inputs go
together. With H the second moments of the inputs, rounding weight j and moving the later ones by
-(error / U[j, j]) * U[j, j+1:], U the upper Cholesky factor of the inverse of H, keeps the layer's output nearest.

Source: Frantar et al., Optimal Brain Compression, NeurIPS 2022, and GPTQ, ICLR 2023.
"""

from __future__ import annotations

import torch

DAMPING = 1e-3
BLOCK = 64


def round_second_order(
    weights: torch.Tensor, moments: torch.Tensor, scales: torch.Tensor, largest: int
) -> torch.Tensor:
    """Return the integers, float64 (B, R, K), of weights that are read through the same inputs in each of B groups.

    Args:
        weights: Real weights, float64 (B, R, K): R output channels over K inputs in each group.
        moments: Second moments of the inputs of each group, float64 (B, K, K).
        scales: Step of each channel, float64 (B, R).
        largest: Largest integer that a weight may become.
    """
    factor, order = _factor(moments)
    batch, rows, columns = weights.shape
    gather = order[:, None, :].expand(batch, rows, columns)
    left = weights.gather(2, gather)
    integers = torch.zeros_like(left)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        block, errors = left[:, :, start:end].clone(), torch.zeros_like(left[:, :, start:end])
        upper = factor[:, start:end, start:end]
        for column in range(end - start):
            chosen = (block[:, :, column] / scales).round().clamp(-largest, largest)
            integers[:, :, start + column] = chosen
            error = (block[:, :, column] - chosen * scales) / upper[:, column, column, None]
            block[:, :, column + 1 :] -= error[:, :, None] * upper[:, None, column, column + 1 :]
            errors[:, :, column] = error
        left[:, :, end:] -= errors @ factor[:, start:end, end:]
    return torch.empty_like(integers).scatter_(2, gather, integers)


def _factor(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return U and the order, inputs that matter most first, in which its columns stand."""
    diagonal = moments.diagonal(dim1=1, dim2=2)
    order = diagonal.argsort(dim=1, descending=True, stable=True)
    columns = moments.shape[1]
    permuted = moments.gather(1, order[:, :, None].expand(-1, -1, columns))
    permuted = permuted.gather(2, order[:, None, :].expand(-1, columns, -1))
    damping = DAMPING * diagonal.mean(1) + 1e-12
    permuted = permuted + damping[:, None, None] * torch.eye(columns, dtype=moments.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(permuted))
    return torch.linalg.cholesky(inverse, upper=True), order
