"""Muon's update: momentum, then the nearest (semi-)orthogonal matrix, for many matrices at once.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

# Quintic Newton-Schulz steps: the odd polynomial a x + b x^3 + c x^5 on the singular values.
COEFFICIENTS = ((3.4445, -4.7750, 2.0315),) * 5


def orthogonalize(
    matrices: Tensor, coefficients: Sequence[tuple[float, float, float]] = COEFFICIENTS
) -> Tensor:
    """Bring the singular values of each of matrices [N, rows <= columns] near 1."""
    x: Tensor = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for a, b, c in coefficients:
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


def muon_updates(gradients: list[Tensor], momenta: list[Tensor], momentum: float) -> list[Tensor]:
    """Advance `momenta` in place by `gradients`; return the updates to subtract, times the rate.

    Each update has the root mean square 0.2 of AdamW's (Liu et al. 2025, arXiv 2502.16982), so
    that a learning rate means the same under both. Matrices of one shape, or its transpose, are
    orthogonalised together; a matrix's update depends on the others only by rounding.
    """
    torch._foreach_lerp_(momenta, gradients, 1 - momentum)
    lookahead = torch._foreach_lerp(gradients, momenta, momentum)  # Nesterov
    by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, gradient in enumerate(gradients):
        rows, columns = sorted(gradient.shape)
        by_shape[rows, columns].append(index)
    updates = list(lookahead)
    for (_, columns), indices in by_shape.items():
        wide = [_wide(lookahead[index]) for index in indices]
        scale = 0.2 * columns**0.5
        results = orthogonalize(torch.stack(wide)).mul_(scale)
        for index, result in zip(indices, results, strict=True):
            updates[index] = result if updates[index].shape == result.shape else result.mT
    return updates


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
