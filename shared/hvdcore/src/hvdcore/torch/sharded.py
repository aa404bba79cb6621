"""`ShardedOptimizer`: gradients are summed over ranks, and the update is shared among them.

Parameters and gradients become views of two flat buffers. Where each parameter lies and which rank
updates it follows from names, shapes and costs alone, the same on every rank. A few numbers travel
in the gradients' collective: sums to report and a stop flag. They share the gradients' float32, so
each sum travels as a rounded value and the rounding error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from hvdcore.torch.collectives import current_world, gather_rows, sum_in_place
from hvdcore.torch.optimizer_state import SavedState, gather_state, load_state
from hvdcore.torch.streams import Readback, StreamTimer

ALIGNMENT = 16
"""Elements: tensors start at 64 bytes in float32, as vector loads and cache lines like it."""


@dataclass(frozen=True)
class Slot:
    """A parameter's place: elements offset .. offset + numel of the flat buffer."""

    name: str
    shape: tuple[int, ...]
    offset: int
    owner: int

    @property
    def numel(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """All slots, in the order of the model, and the part of the buffer that each rank owns."""

    slots: tuple[Slot, ...]
    ends: tuple[int, ...]
    """Rank r owns elements ends[r - 1] .. ends[r] (from 0 for rank 0)."""

    @property
    def numel(self) -> int:
        return self.ends[-1]

    def part(self, rank: int) -> slice:
        """The elements that `rank` owns."""
        return slice(self.ends[rank - 1] if rank else 0, self.ends[rank])


def assign_owners(costs: Sequence[float], size: int) -> list[int]:
    """The owner of each item: the dearest first, each to the rank with the least so far.

    (Graham 1969, LPT: the busiest rank has at most 4/3 of the best possible.)
    """
    loads = [0.0] * size
    owners = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        owner = min(range(size), key=lambda rank: (loads[rank], rank))
        owners[index] = owner
        loads[owner] += costs[index]
    return owners


def plan_layout(
    shapes: Sequence[tuple[str, tuple[int, ...]]], costs: Sequence[float], size: int
) -> Layout:
    """Lay tensors out owner by owner, each owner's in the order given, aligned."""
    owners = assign_owners(costs, size)
    slots: list[Slot | None] = [None] * len(shapes)
    ends: list[int] = []
    offset = 0
    for rank in range(size):
        for index, (name, shape) in enumerate(shapes):
            if owners[index] == rank:
                slots[index] = Slot(name, shape, offset, rank)
                offset += -(-prod(shape) // ALIGNMENT) * ALIGNMENT
        ends.append(offset)
    return Layout(tuple(slot for slot in slots if slot is not None), tuple(ends))


class FlatBuffers:
    """One contiguous tensor for all parameters, and one for all gradients and a few extras.

    A collective then moves one tensor, straight from where autograd wrote it.

    Attributes:
        parameters: [layout.numel]; each parameter is a view of it.
        gradients: [layout.numel + num_extras]; each `.grad` is a view of it, the extras its tail.
        extras: [num_extras], the tail of `gradients`.
    """

    def __init__(self, named: Sequence[tuple[str, nn.Parameter]], layout: Layout, num_extras: int):
        first = named[0][1]
        self.layout = layout
        self.parameters = first.detach().new_zeros(layout.numel)
        self.gradients = first.detach().new_zeros(layout.numel + num_extras)
        self.extras = self.gradients[layout.numel :]
        self._pairs: list[tuple[nn.Parameter, Tensor]] = []
        for (_, parameter), slot in zip(named, layout.slots, strict=True):
            view = _view(self.parameters, slot)
            view.copy_(parameter.detach())
            parameter.data = view
            self._pairs.append((parameter, _view(self.gradients, slot)))
        self.zero_gradients()

    def zero_gradients(self) -> None:
        """Zero every gradient, and tie `.grad` to the buffer again where someone untied it."""
        self.gradients.zero_()
        for parameter, view in self._pairs:
            parameter.grad = view

    def collect_gradients(self) -> None:
        """Copy in gradients that no longer are views: `zero_grad(set_to_none=True)` unties them."""
        for parameter, view in self._pairs:
            if parameter.grad is not view:
                view.zero_() if parameter.grad is None else view.copy_(parameter.grad)
                parameter.grad = view


def _view(flat: Tensor, slot: Slot) -> Tensor:
    return flat[slot.offset : slot.offset + slot.numel].view(slot.shape)


MAX_SUMS = 8
NUM_EXTRAS = 1 + 2 * MAX_SUMS


def write_extras(extras: Tensor, sums: Sequence[float | Tensor], stop: bool) -> None:
    """Put this rank's numbers into extras [NUM_EXTRAS]. Sums that are on a GPU stay there."""
    if len(sums) > MAX_SUMS:
        raise ValueError(f"at most {MAX_SUMS} sums can be carried, not {len(sums)}")
    values = torch.zeros(MAX_SUMS, dtype=torch.float64, device=extras.device)
    for place, value in enumerate(sums):
        values[place] = value
    rounded = values.to(extras.dtype)
    extras[0] = float(stop)
    extras[1 : 1 + MAX_SUMS] = rounded
    extras[1 + MAX_SUMS :] = values - rounded.double()


def read_extras(extras: Tensor | Sequence[float], num_sums: int) -> tuple[tuple[float, ...], bool]:
    """The numbers summed over ranks, and whether some rank asked to stop."""
    values = extras.double().tolist() if isinstance(extras, Tensor) else extras
    rounded, lost = values[1 : 1 + MAX_SUMS], values[1 + MAX_SUMS :]
    return tuple(a + b for a, b in zip(rounded, lost, strict=True))[:num_sums], values[0] > 0


MakeOptimizer = Callable[[list[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
Cost = Callable[[str, nn.Parameter], float]


@dataclass(frozen=True)
class StepOutcome:
    """What a step learned from all ranks; the same on each."""

    gradient_norm: float
    """Of the summed gradients, before clipping."""
    sums: tuple[float, ...]
    """The caller's `sums`, added up over ranks."""
    stop: bool
    """Whether some rank asked to stop."""


class ShardedOptimizer:
    """An optimizer whose ranks each update some whole tensors and then share the results.

    A step is two collectives: one sums the gradients (and a few numbers of the caller's), one
    gathers the updated parameters. Each tensor's optimizer state lives on one rank, its owner
    (Rajbhandari et al. 2020, ZeRO stage 1), and whole tensors suit optimizers that need the whole
    matrix. All ranks end a step with the same bits, because a tensor is updated in one place.

    Gradients are SUMMED over ranks: divide the loss by the global number of tokens or samples.
    Parameters and their `.grad` become views of flat buffers. A parameter that a step did not use
    has a gradient of zero, not None. Every rank must construct it and call its methods.

    Args:
        model: all its trainable parameters, of one type and device. Equal on all ranks:
            `broadcast_parameters` first.
        make_optimizer: builds the optimizer of the given (name, parameter) pairs. Not called on a
            rank that owns none.
        clip_norm: scale gradients down to this global norm, if above it.
        cost: of updating one parameter, in any unit; shares the work out. Its size by default.

    On a GPU nothing waits in the middle of a step: `step` returns when the sums are known, with
    the update still under way.
    """

    def __init__(
        self,
        model: nn.Module,
        make_optimizer: MakeOptimizer,
        *,
        clip_norm: float | None = None,
        cost: Cost | None = None,
    ) -> None:
        self._world = current_world()
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        _check_parameters(named)
        self.clip_norm = clip_norm
        self.layout = plan_layout(
            [(name, tuple(p.shape)) for name, p in named],
            [cost(name, p) if cost else float(p.numel()) for name, p in named],
            self._world.size,
        )
        self._flat = FlatBuffers(named, self.layout, NUM_EXTRAS)
        self._own_part = self.layout.part(self._world.rank)
        self._owned = [
            pair
            for pair, slot in zip(named, self.layout.slots, strict=True)
            if slot.owner == self._world.rank
        ]
        self.optimizer = make_optimizer(list(self._owned)) if self._owned else None
        self._update_seconds = 0.0
        self._update_timer = StreamTimer()

    @property
    def update_seconds(self) -> float:
        """Spent so far in the updates of what this rank owns, collectives left out."""
        return self._update_seconds + self._update_timer.seconds()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of the parameters that this rank owns."""
        return self.optimizer.param_groups if self.optimizer else []

    @property
    def communication(self) -> dict[str, int]:
        """Bytes of a step's collectives, whatever the number of ranks, for report.json."""
        item = self._flat.parameters.element_size()
        return {
            "allreduce_bytes": item * self._flat.gradients.numel(),
            "allgather_bytes": item * self._flat.parameters.numel(),
            "largest_tensor_bytes": item * max(slot.numel for slot in self.layout.slots),
        }

    def scale_learning_rate(self, fraction: float) -> None:
        """Give every group its first learning rate (`initial_lr`) times `fraction`."""
        for group in self.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * fraction

    def zero_grad(self) -> None:
        """Zero all gradients, before the first backward pass of a step."""
        self._flat.zero_gradients()

    @torch.no_grad()
    def step(self, sums: Sequence[float | Tensor] = (), stop: bool = False) -> StepOutcome:
        """Sum gradients over ranks, clip, update, and share the updated parameters.

        Args:
            sums: up to 8 numbers to add up over ranks (a loss sum, a token count), at no cost;
                tensors without dimensions on the parameters' device are not waited for.
            stop: this rank wants to stop; all ranks learn it in the same step.
        """
        numbers = self._queue_step(sums, stop)
        *extras, norm = numbers.values()
        totals, any_stop = read_extras(extras, len(sums))
        return StepOutcome(norm, totals, any_stop)

    def _queue_step(self, sums: Sequence[float | Tensor], stop: bool) -> Readback:
        """The whole step; the host reads nothing of it. Gives the extras and the norm."""
        self._flat.collect_gradients()
        write_extras(self._flat.extras, sums, stop)
        sum_in_place(self._flat.gradients, "hvdcore.gradients")
        norm = torch.linalg.vector_norm(self._flat.gradients[: self.layout.numel])
        # Before the update is queued, which the host then need not wait for.
        numbers = Readback(torch.cat([self._flat.extras.double(), norm.double().reshape(1)]))
        self._clip(norm)
        self._update()
        self._share_parameters()
        return numbers

    def _clip(self, norm: Tensor) -> None:
        if self.clip_norm is None:
            return
        own = self._flat.gradients[self._own_part]
        if norm.is_cpu:
            if float(norm) > self.clip_norm:
                own.mul_(self.clip_norm / float(norm))
        else:
            own.mul_((self.clip_norm / norm).clamp(max=1.0))

    def _update(self) -> None:
        if self.optimizer is None:
            return
        if self._flat.parameters.is_cuda:
            with self._update_timer.timing():
                self.optimizer.step()
            return
        started = perf_counter()
        self.optimizer.step()
        self._update_seconds += perf_counter() - started

    def _share_parameters(self) -> None:
        if self._world.size > 1:
            own = self._flat.parameters[self._own_part]
            self._flat.parameters.copy_(gather_rows(own, "hvdcore.parameters"))

    def gather_state(self) -> SavedState:
        """The whole optimizer's state on rank 0, whatever the number of ranks; elsewhere empty."""
        return gather_state(self.optimizer, self._owned)

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Take up a state from `gather_state`, of any number of ranks.

        Every rank must be given all of it; each keeps what it owns.

        Raises:
            UserError: the state belongs to a model of other parameters.
        """
        shapes = {slot.name: slot.shape for slot in self.layout.slots}
        load_state(self.optimizer, self._owned, shapes, tensors, description)


def _check_parameters(named: Sequence[tuple[str, nn.Parameter]]) -> None:
    if not named:
        raise ValueError("model: it has no trainable parameters")
    kinds = {(p.dtype, p.device) for _, p in named}
    if len(kinds) > 1:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ValueError(f"model: its parameters must be of one type and device, not {found}")
