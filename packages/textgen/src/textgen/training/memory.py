"""The peak memory of a training run, counted before it: what each rank holds, phase by phase.

Parameters, gradients, optimizer state, what ranks send each other and the copy for checkpoints
follow from the layout of the optimizer. Activations, logits and the optimizer's work space are
counted by running the real model, loss and optimizer on tensors without memory. What the framework
takes by itself cannot be counted, and is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hvdcore.torch.buckets import Item
from hvdcore.torch.collectives import PIECE_BYTES
from hvdcore.torch.heap import Heap
from hvdcore.torch.live_bytes import LiveBytes, fake_tensors
from hvdcore.torch.sharded_memory import ShardedMemory, layout_of
from hvdcore.torch.topology import is_hierarchical
from textgen.model.language_model import LanguageModel, rows_at_once
from textgen.training.optimizer import (
    OptimizerConfig,
    build_optimizer,
    is_elementwise,
    update_cost,
)

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from textgen.config import TrainConfig

__all__ = ["MemoryPlan", "Phase", "RunMemory"]

PARAMETERS, GRADIENTS, STATE = "parameters", "gradients", "optimizer state"
ACTIVATIONS, LOGITS, UPDATE = "activations", "logits and loss", "work space of the update"
NORM = "gradient norm in float64"
EXCHANGE, CHECKPOINT = "communication", "checkpoint copy"
TOKEN_BYTES = 4 * 8
"""Of a token and its target, int64, as an array and as a tensor."""


REHEARSED_STEPS = 4
"""After which the heap has found its size."""
REHEARSED_PASSES = 8
"""Of a step, at most."""
SMALL_OBJECTS = 300
"""Alive between passes: with so many the heap grew as that of real runs of two to eight passes a
step (PyTorch 2.13, glibc); with none it stayed up to a quarter too small. One pass needs none."""
CHECKPOINT_STEPS = (0, 2)
"""Of the rehearsal: the first checkpoint's copies are still there when the second one begins."""


@dataclass(frozen=True)
class Phase:
    """What a rank holds at the peak of one phase of training: term to bytes."""

    name: str
    terms: Mapping[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.terms.values())


@dataclass(frozen=True)
class MemoryPlan:
    """The phases of one rank."""

    rank: int
    rows: int
    """Sequences per forward pass."""
    phases: tuple[Phase, ...]
    heap: int = 0
    """What the allocator takes beyond the peak's terms, in holes that fit no new tensor."""

    @property
    def bytes(self) -> int:
        """The peak, without the framework itself."""
        return self.peak.bytes + self.heap

    @property
    def peak(self) -> Phase:
        """The phase that takes the most."""
        return max(self.phases, key=lambda phase: phase.bytes)


class RunMemory:
    """Counts the memory of a run for any number of sequences per forward pass.

    Args:
        build: makes the model without memory, given the context of `fake_tensors`.
        settings: of the optimizer.
        size, local_size: ranks in all, and on each host.
        dtype: of the matrix products.
    """

    HELD_BY_OPTIMIZER = (GRADIENTS, STATE)
    """Terms beside the model, from the first step on."""

    def __init__(
        self,
        build: Callable[[Any], LanguageModel],
        config: TrainConfig,
        settings: OptimizerConfig,
        *,
        size: int = 1,
        local_size: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._fake = fake_tensors()
        self._model = build(self._fake)
        self._config, self._settings, self._size, self._dtype = config, settings, size, dtype
        self._local_size = local_size or size
        tables = self._model.table_names
        cost, elementwise = update_cost(settings, tables), is_elementwise(settings, tables)
        trained = [(n, p) for n, p in self._model.named_parameters() if p.requires_grad]
        items = [Item(n, tuple(p.shape), cost(n, p), elementwise(n, p)) for n, p in trained]
        self._layout = layout_of(items, size, self._local_size)
        self._frozen = sum(_bytes(self._model.parameters())) - sum(_bytes(p for _, p in trained))
        self._buffers = sum(_bytes(self._model.buffers()))
        self._trained = sum(_bytes(p for _, p in trained))
        self._alone = layout_of(items, 1, 1)
        self._updates: dict[tuple[int, int], tuple[int, int]] = {}
        self._passes: dict[tuple[int, bool], Mapping[str, int]] = {}
        self._heaps: dict[tuple[int, int], int] = {}

    @property
    def share(self) -> int:
        """Sequences of a global batch on the rank with the most."""
        return -(-self._config.global_batch_size // self._size)

    @property
    def model_bytes(self) -> int:
        """Of the model by itself, before there is an optimizer."""
        return self._trained + self._frozen + self._buffers

    def plan(self, rows: int | None = None, *, with_heap: bool = True) -> MemoryPlan:
        """The rank with the highest peak.

        Args:
            rows: sequences per forward pass; None for the whole share, where the logits are not
                too many for that.
            with_heap: also find out what the allocator takes beside, which takes longer.
        """
        rows = rows_at_once(self._model, self._config.context_length, rows or self.share)
        rows = min(rows, self.share)
        plans = [self._plan_of(rank, rows) for rank in self._ranks_to_look_at()]
        if with_heap:
            plans = [replace(plan, heap=self._heap_beyond(plan)) for plan in plans]
        return max(plans, key=lambda plan: plan.bytes)

    def _heap_beyond(self, plan: MemoryPlan) -> int:
        key = plan.rank, plan.rows
        if key not in self._heaps:
            taken = self._rehearse(self._memory(plan.rank), plan.rows)
            self._heaps[key] = max(0, taken - plan.peak.bytes)
        return self._heaps[key]

    def _rehearse(self, own: ShardedMemory, rows: int) -> int:
        """The heap's peak over the first steps of a run, in the order of the real one.

        Evaluation, steps, and a checkpoint between them: what stays from one phase leaves holes
        in the next one's.
        """
        heap = Heap(SMALL_OBJECTS if rows < self.share else 0)
        try:
            self._rehearse_start(own, heap)
            with self._fake:
                named = own.pieces()
                known = [tensor for _, p in named for tensor in (p, p.grad) if tensor is not None]
                known += [*self._model.parameters(), *self._model.buffers()]
                optimizer = build_optimizer(named, self._settings, self._model.table_names)
                with LiveBytes(known, heap=heap):
                    for step in range(REHEARSED_STEPS):
                        self._rehearse_step(own, rows, optimizer, heap, step)
                del optimizer
        finally:
            heap.close()
        return heap.peak

    def _rehearse_start(self, own: ShardedMemory, heap: Heap) -> None:
        model = [heap.allocate(count) for count in _bytes(self._model.parameters())]
        for _ in range(2):
            heap.allocate(own.flat)
        heap.allocate(self._frozen + self._buffers)
        for block in model:
            heap.free(block)

    def _rehearse_step(
        self, own: ShardedMemory, rows: int, optimizer: Optimizer, heap: Heap, step: int
    ) -> None:
        is_first = step == 0
        if is_first:
            self._run_pass(self._eval_rows(), training=False)
        for start in range(0, self.share, rows)[:REHEARSED_PASSES]:
            self._run_pass(min(rows, self.share - start), training=True)
        _allocate_and_free(heap, own.gradient_exchange, own.second_layout if is_first else 0)
        _allocate_and_free(heap, own.gradient_norm)
        optimizer.step()
        _allocate_and_free(heap, own.parameter_exchange)
        if step in CHECKPOINT_STEPS:
            self._run_pass(self._eval_rows(), training=False)
            gathered = self._rehearse_gathering(own, heap)
            if own.rank == 0 and is_first:  # kept; the second one overwrites them
                for size in self._state_sizes() + [4 * slot.numel for slot in self._alone.slots]:
                    heap.allocate(size)
            for block in gathered:
                heap.free(block)

    def _rehearse_gathering(self, own: ShardedMemory, heap: Heap) -> list[int]:
        """The blocks of the gathered state on rank 0: each rank's bytes, then tensor by tensor."""
        if self._size == 1:
            return []
        whole = self._whole_state()
        sent = heap.allocate(self._update(own)[0])
        if own.rank != 0:
            heap.free(sent)
            return []
        received = [heap.allocate(self._update(self._memory(r))[0]) for r in range(self._size)]
        _allocate_and_free(heap, min(whole, self._size * PIECE_BYTES))
        heap.free(sent)
        tensors, sizes = [], self._state_sizes()
        for number, block in enumerate(received):
            tensors += [heap.allocate(size) for size in sizes[number :: self._size]]
            heap.free(block)
        return tensors

    def _state_sizes(self) -> list[int]:
        """Bytes of the whole optimizer's state, parameter by parameter."""
        sizes = [4 * slot.numel for slot in self._alone.slots]
        factor = self._whole_state() / max(1, sum(sizes))
        return [round(size * factor) for size in sizes]

    def _ranks_to_look_at(self) -> list[int]:
        """Rank 0, which writes checkpoints, and the one that owns the most of the optimizer."""
        own = [self._memory(rank) for rank in range(self._size)]
        largest = max(range(self._size), key=lambda rank: own[rank].own_elements)
        return sorted({0, largest})

    def _memory(self, rank: int) -> ShardedMemory:
        wire = getattr(torch, self._config.gradient_dtype)
        hierarchical = is_hierarchical(self._config.hierarchical, "cpu")
        return ShardedMemory(self._layout, rank, self._size, wire, self._local_size, hierarchical)

    def _plan_of(self, rank: int, rows: int) -> MemoryPlan:
        own = self._memory(rank)
        state, work = self._update(own)
        held = {
            PARAMETERS: own.flat + self._frozen + self._buffers,
            GRADIENTS: own.flat,
            STATE: state,
            CHECKPOINT: self._checkpoint_copy(rank),
        }
        tokens = self.share * self._config.context_length * TOKEN_BYTES
        step = self._pass(rows, training=True)
        phases = [
            _phase("forward and backward", held, step, {ACTIVATIONS: tokens}),
            _phase("sending gradients", held, {EXCHANGE: own.gradient_exchange}),
            _phase("gradient norm", held, {NORM: own.gradient_norm}),
            _phase("update", held, {UPDATE: work}),
            _phase("sending parameters", held, {EXCHANGE: own.parameter_exchange}),
            _phase("evaluation", held, self._pass(self._eval_rows(), training=False)),
            self._gathering(rank, held, own),
            self._starting(own),
        ]
        return MemoryPlan(rank, rows, tuple(phases))

    def _checkpoint_copy(self, rank: int) -> int:
        """Weights and the whole optimizer's state, in the memory of rank 0."""
        return self._trained + self._whole_state() if rank == 0 else 0

    def _whole_state(self) -> int:
        return self._update(self._whole())[0]

    def _whole(self) -> ShardedMemory:
        """One rank that owns everything."""
        return ShardedMemory(self._alone, 0, 1)

    def _gathering(self, rank: int, held: Mapping[str, int], own: ShardedMemory) -> Phase:
        """A later checkpoint: with several ranks their state comes as bytes first."""
        if self._size == 1:
            return _phase("checkpoint", held)
        whole, mine = self._whole_state(), held[STATE]
        piece = min(whole, self._size * PIECE_BYTES)
        copies = held[CHECKPOINT] + mine + whole + piece if rank == 0 else mine
        return _phase("checkpoint", {**held, CHECKPOINT: copies})

    def _starting(self, own: ShardedMemory) -> Phase:
        """The optimizer's buffers beside the model's first ones, or laid out anew."""
        first = own.second_layout or own.flat
        terms = {PARAMETERS: own.flat + self._frozen + self._buffers, GRADIENTS: own.flat}
        half = first // 2 if own.second_layout else 0
        return _phase("start", terms, {PARAMETERS: first - half, GRADIENTS: half})

    def _eval_rows(self) -> int:
        config = self._config
        return rows_at_once(self._model, config.context_length, config.eval_batch_size)

    def _pass(self, rows: int, *, training: bool) -> Mapping[str, int]:
        """Activations and logits at the peak of one forward pass, and of the backward pass."""
        key = rows, training
        if key not in self._passes:
            self._passes[key] = self._count_pass(rows, training)
        return self._passes[key]

    def _count_pass(self, rows: int, training: bool) -> Mapping[str, int]:
        vocab_size = self._model.config.vocab_size

        def label(tensor: Tensor) -> str:
            return LOGITS if tensor.shape and tensor.shape[-1] == vocab_size else ACTIVATIONS

        known = [*self._model.parameters(), *self._model.buffers()]
        with self._fake, LiveBytes(known, label) as live:
            self._run_pass(rows, training=training)
        return live.at_peak

    def _run_pass(self, rows: int, *, training: bool) -> None:
        tokens = torch.zeros(rows, self._config.context_length, dtype=torch.int64)
        if training:
            self._train_pass(tokens)
        else:
            with torch.inference_mode():
                self._model.loss(tokens, tokens, reduction="none").double().sum()

    def _train_pass(self, tokens: Tensor) -> None:
        """As in a step; the optimizer copies each gradient to its buffer as soon as it is there."""
        handles = [
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
            for parameter in self._model.parameters()
            if parameter.requires_grad
        ]
        half = self._dtype == torch.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = self._model.loss(tokens, tokens, temperature=self._config.train_temperature)
        (loss / tokens.numel()).backward()
        for handle in handles:
            handle.remove()

    def _update(self, own: ShardedMemory) -> tuple[int, int]:
        """A rank's optimizer state, and the work space of a step."""
        key = own.rank, own.size
        if key not in self._updates:
            self._updates[key] = self._count_update(own)
        return self._updates[key]

    def _count_update(self, own: ShardedMemory) -> tuple[int, int]:
        with self._fake:
            named = own.pieces()
            if not named:
                return 0, 0
            known = [tensor for _, p in named for tensor in (p, p.grad) if tensor is not None]
            optimizer = build_optimizer(named, self._settings, self._model.table_names)
            with LiveBytes(known) as live:
                optimizer.step()  # makes the state
                state = live.now
                live.reset_peak()
                optimizer.step()
        return state, live.peak - state


def _allocate_and_free(heap: Heap, *sizes: int) -> None:
    for block in [heap.allocate(size) for size in sizes if size]:
        heap.free(block)


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _phase(name: str, held: Mapping[str, int], *more: Mapping[str, int]) -> Phase:
    terms = dict(held)
    for other in more:
        for term, count in other.items():
            terms[term] = terms.get(term, 0) + count
    return Phase(name, {term: count for term, count in terms.items() if count})


def _bytes(tensors: Iterable[Tensor]) -> list[int]:
    return [tensor.numel() * tensor.element_size() for tensor in tensors]
