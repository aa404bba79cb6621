"""The reduction of a step's gradients, sparse rows included: one grouped collective, or buckets.

Over a network the sums take as long as the backward pass, and should not begin only at its end.
Buckets are reduced in the order in which the backward pass makes their gradients, while it goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import tensorflow as tf

from hvdcore.keras.collectives import beat_once, engine, inside_collective
from hvdcore.keras.internals import compute_in_order

__all__ = ["BUCKET_BYTES", "GradientReduction", "ReduceOp", "sum_equal_rows"]

ReduceOp = Literal["average", "sum"]

BUCKET_BYTES = 1 << 20
"""Least size of a bucket: some eight milliseconds of a link of 1 Gbit/s."""
_EXACT_ELEMENTS = 16
"""Smaller tensors are never narrowed: sums of losses and counts ride along with the gradients."""
_numbers = itertools.count()


class GradientReduction:
    """Averages or sums gradients over ranks. Also carries the ranks' wish to stop.

    The wish travels as one more float in the same collective, so that agreeing at every step
    costs no further round between ranks.

    Args:
        op: "average" (mean over ranks), or "sum" (the caller has scaled the loss by the global
            number of samples).
        sparse_as_dense: reduce `tf.IndexedSlices` as full tensors. Cheaper when
            size x (rows a rank touches) exceeds about twice the rows of the table. None: so on a
            GPU, which adds equal rows in no fixed order, and ranks would drift apart.
        wire_dtype: what float32 gradients are rounded to before they are sent: "float32" leaves
            them, "bfloat16" and "float16" halve the bytes. Sums are rounded to it too; all ranks
            get the same. Float16 overflows at 65,504.
        overlap: whether `__call__` in a graph sums while the graph computes gradients. None: where
            ranks are on several hosts. False where the gradients come from another graph.
    """

    def __init__(
        self,
        op: ReduceOp,
        sparse_as_dense: bool | None,
        wire_dtype: str = "float32",
        *,
        overlap: bool | None = None,
    ) -> None:
        self.op = op
        self._wire_dtype = tf.as_dtype(wire_dtype)
        self.sparse_as_dense = sparse_as_dense
        self.overlap = overlap
        self._on_gpu = bool(tf.config.get_visible_devices("GPU"))
        # Horovod pairs tensors by name. Names made from layers differ as soon as one rank has
        # built a model more than the others (rank 0 loading a checkpoint, say), and then all hang.
        self._name = f"hvdcore_gradients_{next(_numbers)}"
        self._stop_wished = tf.Variable(0.0, trainable=False, name="hvdcore_stop_wished")
        self._stop_agreed = tf.Variable(0.0, trainable=False, name="hvdcore_stop_agreed")

    def __call__(self, gradients: Sequence[Any], *, dense: bool | None = None) -> list[Any]:
        """Reduce. Every rank must call, with gradients of the same shapes; None stays None.

        Args:
            gradients: tensors, `tf.IndexedSlices` or None, one for each variable.
            dense: overrides `sparse_as_dense` for this call, whose gradients exist already.

        Returns:
            Tensors, `tf.IndexedSlices` with each row once, or None, in the same order.
        """
        as_dense = next(c for c in (dense, self.sparse_as_dense, self._on_gpu) if c is not None)
        ready = [tf.convert_to_tensor(g) if as_dense and _is_sparse(g) else g for g in gradients]
        if dense is None and self._overlaps():
            reduced, times = self.overlapped(ready)
            with tf.control_dependencies([times]):
                return [None if g is None else _identity(g) for g in reduced]
        return self._in_turn(ready)

    def _overlaps(self) -> bool:
        hvd = engine()
        if tf.executing_eagerly() or hvd.size() == 1:
            return False
        return bool(hvd.local_size() < hvd.size()) if self.overlap is None else self.overlap

    def _in_turn(self, gradients: Sequence[Any]) -> list[Any]:
        """One collective, after the last gradient."""
        reduced = list(gradients)
        sparse = [i for i, g in enumerate(reduced) if _is_sparse(g)]
        full = [i for i, g in enumerate(reduced) if g is not None and not _is_sparse(g)]
        with inside_collective([g for g in reduced if g is not None]) as waiting:
            for i, g in zip(full, self._reduce_full([reduced[i] for i in full]), strict=True):
                reduced[i] = g
            for i, g in zip(sparse, self._gather([reduced[i] for i in sparse]), strict=True):
                reduced[i] = g
            waiting.extend(g for g in reduced if g is not None)
        return [sum_equal_rows(g) if _is_sparse(g) else g for g in reduced]

    def overlapped(
        self, gradients: Sequence[Any], bucket_bytes: int = BUCKET_BYTES
    ) -> tuple[list[Any], Any]:
        """Reduce as `__call__` does, each bucket once its gradients exist. Every rank must call.

        To be called inside of the function that computes the gradients. A bucket waits for the one
        before: two collectives in flight could be joined on some steps and not on others, and sums
        over more than two ranks would then be rounded differently.

        Args:
            gradients: as for `__call__`, in the order of the model; the backward pass makes them in
                the reverse order.

        Returns:
            What `__call__` returns; and when the last gradient was computed and the last sum was
            there, float64 [2], in seconds of `time.perf_counter`.
        """
        reduced = list(gradients)
        before: list[Any] = []
        # Without full gradients the wish to stop still has to travel.
        buckets = list(self._buckets(gradients, bucket_bytes)) or [[]]
        compute_in_order([[gradients[i] for i in bucket] for bucket in buckets])
        for bucket in buckets:
            with tf.control_dependencies(before):
                before = self._reduce_full([gradients[i] for i in bucket])
            for i, total in zip(bucket, before, strict=True):
                reduced[i] = total
        sparse = [i for i, g in enumerate(gradients) if _is_sparse(g)]
        with tf.control_dependencies(before):
            for i, rows in zip(sparse, self._gather([gradients[i] for i in sparse]), strict=True):
                reduced[i] = sum_equal_rows(rows)
        computed = beat_once("communicate", [g for g in gradients if g is not None])
        done = beat_once("compute", [computed, *(g for g in reduced if g is not None)])
        return reduced, tf.stack([computed, done])

    def _buckets(self, gradients: Sequence[Any], least: int) -> Iterator[list[int]]:
        """Places of full gradients from last to first, in groups of at least so many bytes."""
        bucket, size = [], 0
        for i in reversed(range(len(gradients))):
            gradient = gradients[i]
            if gradient is None or _is_sparse(gradient):
                continue
            bucket.append(i)
            elements = gradient.shape.num_elements()  # None where only the graph's run decides
            size += least if elements is None else self._narrow(gradient).size * elements
            if size >= least:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket

    def wish_stop(self) -> None:
        """This rank wants to stop; the next reduction tells the others."""
        self._stop_wished.assign(1.0)

    def forget_stop(self) -> None:
        """Begin a new training: nobody wants to stop."""
        self._stop_wished.assign(0.0)
        self._stop_agreed.assign(0.0)

    def stop_agreed(self) -> bool:
        """Whether some rank wanted to stop before the last reduction; equal on every rank."""
        if engine().size() == 1:
            return bool(self._stop_wished.numpy() > 0)
        return bool(self._stop_agreed.numpy() > 0)

    def _reduce_full(self, tensors: list[Any]) -> list[Any]:
        hvd = engine()
        if hvd.size() == 1:
            return tensors
        sent = [tf.cast(tensor, self._narrow(tensor)) for tensor in tensors]
        wish = tf.cast(self._stop_wished, sent[0].dtype if sent else tf.float32)
        *reduced, stop = self._grouped(
            hvd.grouped_allreduce,
            [*sent, wish],
            op=hvd.Average if self.op == "average" else hvd.Sum,
        )
        self._stop_agreed.assign(tf.cast(stop, tf.float32))
        return [tf.cast(total, t.dtype) for total, t in zip(reduced, tensors, strict=True)]

    def _narrow(self, tensor: Any) -> Any:
        """The type in which a tensor is sent."""
        elements = tensor.shape.num_elements()
        if tensor.dtype != tf.float32 or (elements is not None and elements < _EXACT_ELEMENTS):
            return tensor.dtype
        return self._wire_dtype

    def _gather(self, slices: list[Any]) -> list[Any]:
        # Not left to hvd.grouped_allreduce: mixed with dense tensors it pairs sparse results with
        # the wrong tensors' shapes and fails (horovod issue 3994, open).
        hvd = engine()
        if hvd.size() == 1 or not slices:
            return slices
        values = [tf.cast(s.values, self._narrow(s.values)) for s in slices]
        rows = values + [s.indices for s in slices]
        gathered = self._grouped(hvd.grouped_allgather, rows)
        share = 1.0 / hvd.size() if self.op == "average" else 1.0
        return [
            tf.IndexedSlices(
                tf.cast(values, s.values.dtype) * tf.cast(share, s.values.dtype),
                indices,
                s.dense_shape,
            )
            for values, indices, s in zip(
                gathered[: len(slices)], gathered[len(slices) :], slices, strict=True
            )
        ]

    def _grouped(
        self, collective: Callable[..., Any], tensors: list[Any], **options: Any
    ) -> list[Any]:
        """One call for each element type, for a group must be of one; usually that is one call."""
        results: list[Any] = [None] * len(tensors)
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            places = [i for i, t in enumerate(tensors) if t.dtype == dtype]
            name = f"{self._name}_{collective.__name__}_{dtype.name}"
            group = [tensors[i] for i in places]
            done = collective(group, name=name, ignore_name_scope=True, **options)
            for i, tensor in zip(places, done, strict=True):
                results[i] = tensor
        return results


def sum_equal_rows(slices: Any) -> Any:
    """`tf.IndexedSlices` with each index once, its rows summed; Horovod's own.

    Keras 3 squares sparse values row by row, so an index that occurs twice (two ranks, or one
    batch, using a word twice) would give Adam a^2 + b^2 in place of (a + b)^2.
    """
    engine()
    from horovod._keras.connection import sum_equal_rows as summed

    return summed(slices)


def _is_sparse(gradient: Any) -> bool:
    return isinstance(gradient, tf.IndexedSlices)


def _identity(gradient: Any) -> Any:
    if not _is_sparse(gradient):
        return tf.identity(gradient)
    values, indices = tf.identity(gradient.values), tf.identity(gradient.indices)
    return tf.IndexedSlices(values, indices, gradient.dense_shape)
