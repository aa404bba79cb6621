"""PyTorch's operations on lists of tensors, which have no public names yet.

Without them each parameter costs several kernel launches. Used with PyTorch 2.9 to 2.13.
"""

from __future__ import annotations

from torch import Tensor, _foreach_add_, _foreach_lerp, _foreach_lerp_, _foreach_mul_

__all__ = ["add_", "lerp", "lerp_", "mul_"]


def lerp(starts: list[Tensor], ends: list[Tensor], weight: float) -> list[Tensor]:
    """start + weight * (end - start) of each pair."""
    return list(_foreach_lerp(starts, ends, weight))


def lerp_(starts: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """As `lerp`, in place."""
    _foreach_lerp_(starts, ends, weight)


def mul_(tensors: list[Tensor], factor: float) -> None:
    """Multiply each tensor by the factor, in place."""
    _foreach_mul_(tensors, factor)


def add_(tensors: list[Tensor], others: list[Tensor], alpha: float) -> None:
    """Add alpha times the other to each tensor, in place."""
    _foreach_add_(tensors, others, alpha=alpha)
