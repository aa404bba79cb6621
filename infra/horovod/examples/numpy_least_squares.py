"""NumPy alone: least squares by gradient descent, the rows of the data spread over ranks.

Start: horovodrun -np 2 python numpy_least_squares.py
"""

import hashlib

import horovod.numpy as hvd
import numpy as np


def made_data() -> tuple[np.ndarray, np.ndarray]:
    """256 samples of y = x a, with a = [1, 2, 3, 4]."""
    x = np.random.default_rng(0).normal(size=(256, 4))
    return x, x @ np.array([1.0, 2.0, 3.0, 4.0])


def main() -> None:
    hvd.init()
    x, y = (array[hvd.rank() :: hvd.size()] for array in made_data())
    weights = np.random.default_rng(hvd.rank()).normal(size=4)  # other weights on each rank
    weights = hvd.broadcast(weights, root_rank=0)

    losses = []
    for _ in range(100):
        error = x @ weights - y
        losses.append(float(hvd.allreduce(np.mean(error**2, keepdims=True))[0]))
        gradient = 2 * x.T @ error / len(x)
        gradient = hvd.allreduce(gradient)
        weights = weights - 0.1 * gradient
    digest = hashlib.sha256(weights.tobytes()).hexdigest()
    print(f"rank {hvd.rank()} of {hvd.size()}: loss {losses[0]:.4f} -> {losses[-1]:.4f}, {digest}")


if __name__ == "__main__":
    main()
