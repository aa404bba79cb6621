"""The weights of a model over ranks: broadcast at the start, checked for equality, statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from hvdcore.errors import UserError
from hvdcore.keras.collectives import allgather_rows, allreduce_sum, engine, waiting

__all__ = ["average_statistics", "broadcast_model", "check_same_weights", "weights_sha256"]

_SEED_STRIDE = 1_000_003
_SEED_LIMIT = 2**31 - 2  # Keras takes seeds modulo this number on TensorFlow


def broadcast_model(model: Any, root_rank: int = 0) -> None:
    """Give every rank the root's model: weights, moving statistics, optimizer. All must call.

    Seed generators (dropout, augmentation) are the exception: each rank derives its own from the
    root's, so that ranks do not drop the same units; the same root always gives the same ranks.

    `horovod.tensorflow.broadcast_variables` fails on Keras 3 variables (horovod issue 4290).

    Raises:
        UserError: the model is not built, or ranks hold models of different shapes.
    """
    if not model.built:
        raise UserError("model: not built; call it on a batch, or give it an Input, first")
    hvd = engine()
    if hvd.size() == 1:
        return
    shared = [*model.weights, *_optimizer_variables(model)]
    seeds = seed_states(model)
    _check_same_structure([*shared, *seeds])
    _broadcast([*shared, *seeds], root_rank)
    for state in seeds:
        spread_seed(state, hvd.rank() - root_rank)


def weights_sha256(model: Any) -> str:
    """SHA-256 over types, shapes and bytes of `model.weights`, in order.

    Names are left out, for Keras numbers them by what else the process has built; so are seed
    generators, which differ between ranks.
    """
    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(weight.numpy())
        digest.update(f"{values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def check_same_weights(model: Any) -> str:
    """The hash of the weights, after making sure that it is every rank's. All must call.

    Raises:
        RuntimeError: naming the ranks whose weights differ from rank 0's.
    """
    mine = weights_sha256(model)
    hashes = [row.decode("ascii") for row in allgather_rows(mine.encode("ascii"))]
    others = [str(rank) for rank, found in enumerate(hashes) if found != hashes[0]]
    if others:
        raise RuntimeError(f"weights: rank {', '.join(others)} differs from rank 0")
    return mine


def average_statistics(model: Any) -> None:
    """Average the weights that no gradient changes (moving mean and variance) over ranks.

    Each rank's batch normalization has seen other batches. Call it before evaluation and before a
    checkpoint. Sums are float64, so that equal values (a frozen layer) stay equal to the bit.
    Every rank must call.
    """
    weights = [w for w in model.non_trainable_weights if "float" in str(w.dtype)]
    if not weights or engine().size() == 1:
        return
    values = [w.numpy() for w in weights]
    flat = np.concatenate([v.astype(np.float64).ravel() for v in values])
    mean = allreduce_sum(flat) / engine().size()
    ends = np.cumsum([v.size for v in values])[:-1]
    for weight, value, part in zip(weights, values, np.split(mean, ends), strict=True):
        weight.assign(part.reshape(value.shape).astype(value.dtype))


def _optimizer_variables(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    return list(optimizer.variables) if optimizer is not None else []


def seed_states(model: Any) -> list[Any]:
    weights = {id(w) for w in model.weights}
    return [v for v in model.variables if id(v) not in weights and v.name == "seed_generator_state"]


def spread_seed(state: Any, distance: int) -> None:
    seed, *rest = (int(number) for number in state.numpy())
    state.assign(np.array([(seed + distance * _SEED_STRIDE) % _SEED_LIMIT, *rest]))


def _check_same_structure(variables: Sequence[Any]) -> None:
    text = "\n".join(f"{v.dtype} {tuple(v.shape)}" for v in variables)
    rows = allgather_rows(hashlib.sha256(text.encode()).digest())
    others = [str(rank) for rank, row in enumerate(rows) if row != rows[0]]
    if others:
        raise UserError(
            f"model: rank {', '.join(others)} built it differently from rank 0 (number or shapes "
            "of its variables); build the same model and optimizer on every rank"
        )


def _broadcast(variables: Sequence[Any], root_rank: int) -> None:
    hvd = engine()

    def run() -> None:
        for i, variable in enumerate(variables):
            # Names by position: those of the layers depend on what else a rank has built.
            value = hvd.broadcast(
                variable.value, root_rank, name=f"hvdcore_broadcast_{i}", ignore_name_scope=True
            )
            variable.value.assign(value)

    # In one graph all broadcasts are negotiated together.
    together = tf.function(run, autograph=False).get_concrete_function()
    with waiting("hvdcore_broadcast"):
        together()
