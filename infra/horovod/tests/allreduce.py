"""Run by every rank: sums rank-coded values with the framework named on the command line."""

from __future__ import annotations

import sys


def main(framework: str, ranks: int) -> None:
    """Fails unless the sum over ranks of (rank + 1) * [0, 1, 2] is what it must be."""
    if framework == "torch":
        import horovod.torch as hvd
        import torch

        hvd.init()
        values = torch.arange(3.0) * (hvd.rank() + 1)
    else:
        import horovod.tensorflow as hvd
        import tensorflow

        hvd.init()
        values = tensorflow.range(3.0) * (hvd.rank() + 1)
    assert hvd.size() == ranks
    summed = hvd.allreduce(values, op=hvd.Sum, name="values")
    # PyTorch works without NumPy, TensorFlow brings it.
    total = summed.tolist() if framework == "torch" else summed.numpy().tolist()
    factor = ranks * (ranks + 1) / 2
    assert total == [0.0, factor, 2 * factor], total
    sys.stdout.write(f"rank {hvd.rank()} of {ranks}: {total}\n")
    hvd.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
