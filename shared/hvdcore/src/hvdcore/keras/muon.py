"""Muon for the kernels of 2-D convolutions, AdamW for all other weights.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a
matrix by the nearest matrix with orthonormal rows or columns, by Newton-Schulz iterations. A kernel
[h, w, in, out] is the matrix [h w in, out]. `keras.optimizers.Muon` has no place for kernels: it
takes matrices alone.

Two things make it cheap enough for a small network on a CPU. The iterations run on the Gram matrix
of the short side, so the long side is read twice and not in each iteration. And a matrix is
orthogonalized in blocks of at most `BLOCK` outputs, as Khaled et al. 2025 (MuonBP) do between steps
on the whole: the cost of a kernel then grows with its number of weights.

The update is a function of the summed gradient alone, so every rank computes the same.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from hvdcore.keras.adamw import RowwiseAdamW

__all__ = ["BLOCK", "ConvolutionMuon", "orthogonalized"]

BLOCK = 64
"""Outputs of a kernel that are orthogonalized together."""
MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_SCALE = 0.2
"""Root mean square of Adam's update (Liu et al. 2025), so that one learning rate suits both."""


@keras.saving.register_keras_serializable(package="hvdcore")
class ConvolutionMuon(RowwiseAdamW):
    """`RowwiseAdamW`, but of weights with four dimensions, which move by Muon.

    The learning rate and the decoupled weight decay are those of AdamW.
    """

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """One step of one weight."""
        if len(variable.shape) != 4:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[self._get_variable_index(variable)]
        gradient = tf.cast(gradient, variable.dtype)
        mean = MOMENTUM * tf.convert_to_tensor(momentum) + gradient
        self.assign(momentum, mean)
        matrix = tf.reshape(gradient + MOMENTUM * mean, [-1, variable.shape[-1]])
        step = tf.cast(learning_rate, variable.dtype) * tf.reshape(_update(matrix), variable.shape)
        self.assign_sub(variable, step)


def _update(matrix: Any) -> Any:
    """The direction for [rows, columns], as large as Adam's."""
    blocks = [
        _SCALE * math.sqrt(max(block.shape)) * orthogonalized(block) for block in _blocks(matrix)
    ]
    return tf.concat(blocks, axis=1)


def _blocks(matrix: Any) -> list[Any]:
    columns = matrix.shape[1]
    sizes = [min(BLOCK, columns - start) for start in range(0, columns, BLOCK)]
    return list(tf.split(matrix, sizes, axis=1))


def orthogonalized(matrix: Any) -> Any:
    """About the nearest matrix with orthonormal rows or columns: singular values near 1.

    Five iterations of Jordan's quintic leave them in 0.68 to 1.13, whatever they were, down to a
    thousandth of the norm. Zeros stay zeros.

    Args:
        matrix: float32 [rows, columns].
    """
    if matrix.shape[0] < matrix.shape[1]:
        return tf.transpose(orthogonalized(tf.transpose(matrix)))
    matrix /= tf.norm(matrix) + 1e-7
    gram = tf.matmul(matrix, matrix, transpose_a=True)
    identity = tf.eye(matrix.shape[1], dtype=matrix.dtype)
    linear, cubic, quintic = _COEFFICIENTS
    product = identity
    for iteration in range(_ITERATIONS):
        # X (a + b G + c G^2) with G = X'X; all of these matrices commute.
        factor = linear * identity + tf.matmul(cubic * identity + quintic * gram, gram)
        product = tf.matmul(product, factor) if iteration else factor
        gram = tf.matmul(tf.matmul(factor, gram), factor)
    return tf.matmul(matrix, product)
