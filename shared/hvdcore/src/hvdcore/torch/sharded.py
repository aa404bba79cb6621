"""`ShardedOptimizer`: gradients are summed over ranks, and the update is shared among them.

Gradients are sent in buckets during the backward pass, and updated parameters during the next
forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import isfinite, sqrt
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from hvdcore.torch.buckets import (
    BUCKET_ELEMENTS,
    PART_ELEMENTS,
    FlatBuffers,
    Item,
    Layout,
    Piece,
    default_bucket_elements,
    plan_layout,
)
from hvdcore.torch.collectives import broadcast_object, current_world, sum_in_place
from hvdcore.torch.exchange import WIRE_DTYPES, Exchange
from hvdcore.torch.hierarchical import HierarchicalExchange
from hvdcore.torch.optimizer_state import SavedState, gather_state, load_state
from hvdcore.torch.streams import Readback, StreamTimer
from hvdcore.torch.topology import is_hierarchical, read_hosts

MAX_SUMS = 8
MakeOptimizer = Callable[[list[tuple[str, nn.Parameter]]], torch.optim.Optimizer]
Cost = Callable[[str, nn.Parameter], float]
Rule = Callable[[str, nn.Parameter], bool]
_NUMBERS = count()
"""Names collectives apart: every rank constructs its optimizers in the same order."""


@dataclass(frozen=True)
class StepOutcome:
    """What a step learned from all ranks; the same on each."""

    gradient_norm: float
    """Of the summed gradients, before clipping."""
    sums: tuple[float, ...]
    """The caller's `sums`, added up over ranks."""
    stop: bool
    """Whether some rank asked to stop."""


def pack_extras(square: Tensor, stop: bool, sums: Sequence[float | Tensor]) -> Tensor:
    """This rank's numbers, [2 + len(sums)] in float64, where `square` is; a GPU's stay there."""
    extras = torch.zeros(2 + len(sums), dtype=torch.float64, device=square.device)
    extras[0] = square
    extras[1] = float(stop)
    for place, value in enumerate(sums, start=2):
        extras[place] = value
    return extras


class ShardedOptimizer:
    """An optimizer whose ranks each update a part of the parameters and then share the results.

    The optimizer's state of each part lives on one rank, its owner (Rajbhandari et al. 2020, ZeRO
    stage 1). All ranks end a step with the same bits, because a part is updated in one place.

    Gradients are SUMMED over ranks: divide the loss by the global number of tokens or samples.
    They are sent in buckets, in the order in which the first step's backward pass computed them.
    With `zero_grad(backward_passes=...)` each bucket is sent during the last of these passes, as
    soon as it is complete (Li et al. 2020, PyTorch Distributed). A step also sums a few numbers:
    the square of the norm, the caller's `sums`, the stop flag. Then the buckets of updated
    parameters are sent to all ranks; with `step(wait=False)` each module waits for its own ones at
    the beginning of its next forward pass.

    Parameters and their `.grad` become views of flat buffers. A parameter that a step did not use
    has a gradient of zero, not None. Every rank must construct it and call its methods.

    Args:
        model: all its trainable parameters, of one type and device. Equal on all ranks:
            `broadcast_parameters` first.
        make_optimizer: builds the optimizer of the given (name, parameter) pairs. Not called on a
            rank that owns none; called again in the first step if the backward pass does not
            follow the order of the model.
        clip_norm: scale gradients down to this global norm, if above it.
        cost: of updating one parameter, in any unit; shares the work out. Its size by default.
        elementwise: whether a parameter is updated element by element, so that ranks may share
            its rows: `make_optimizer` is then given a parameter of some of them. By default, and
            where all ranks share a host, each parameter has one owner, as optimizers of whole
            matrices need.
        wire_dtype: dtype in which gradients and parameter updates are sent: float32, or bfloat16
            or float16 for half the bytes. Sums and weights stay float32, and equal on all ranks.
        compiled: modules whose forward pass `torch.compile` compiles. Each waits for all
            parameters inside of it before it begins; nothing of this gets into what is compiled.
        bucket_elements: approximate size of a bucket. By default one bucket where all ranks share
            a host, and 4 MB otherwise.
        hierarchical: whether each bucket is added up within hosts before it is sent between them,
            so that a host's link carries it once, where there are several hosts with the same
            number of ranks each, two or more. By default on CPUs. On GPUs, where it has not been
            run yet, only if True; False sends straight to the owners.

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
        elementwise: Rule | None = None,
        wire_dtype: torch.dtype = torch.float32,
        compiled: Iterable[nn.Module] = (),
        bucket_elements: int | None = None,
        hierarchical: bool | None = None,
    ) -> None:
        self._world = current_world()
        self._name = f"hvdcore.sharded.{next(_NUMBERS)}"
        self._named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        _check_parameters(self._named)
        if wire_dtype not in WIRE_DTYPES:
            raise ValueError(f"wire_dtype: got {wire_dtype}; give float32, bfloat16 or float16")
        self.clip_norm = clip_norm
        self._make_optimizer = make_optimizer
        self._wire_dtype = wire_dtype
        self._items = [
            Item(
                name,
                tuple(p.shape),
                cost(name, p) if cost else float(p.numel()),
                elementwise is not None and elementwise(name, p),
            )
            for name, p in self._named
        ]
        self._has_one_bucket = (
            bucket_elements is None and self._world.local_size == self._world.size
        )
        self._bucket_elements = bucket_elements or default_bucket_elements(
            sum(item.numel for item in self._items), self._world.size, self._world.local_size
        )
        self._is_hierarchical = is_hierarchical(hierarchical, self._named[0][1].device.type)
        self._hosts = read_hosts(self._world) if self._is_hierarchical else None
        self._update_seconds = 0.0
        self._update_timer = StreamTimer()
        self._order: list[int] | None = []
        """Of gradients in the first step's backward pass; None afterwards."""
        self._forwards: dict[str, list[int]] = {}
        """Modules called in the first step, and the parameters that each waits for."""
        self._unheld: list[int] = []
        """Parameters that no called module contains."""
        self._loaded: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None
        self._fraction: float | None = None
        self._holders = _holders(model, [parameter for _, parameter in self._named])
        self._build(self._plan(None))
        self._begin(None)
        self._hook(model, _inside(compiled))

    def _plan(self, order: Sequence[int] | None) -> Layout:
        items = self._items
        if self._has_one_bucket:  # tensors with one owner each all fit into it
            items = [replace(item, elementwise=False) for item in items]
        return plan_layout(items, self._world.size, order, self._bucket_elements)

    def _build(self, layout: Layout) -> None:
        """Buffers, optimizer and exchange of a layout."""
        self.layout = layout
        self._flat = FlatBuffers(self._named, layout)
        self._exchange = self._new_exchange()
        self._pieces: list[Piece] = self._flat.pieces(self._world.rank)
        owned = [(piece.name, piece.parameter) for piece in self._pieces]
        self.optimizer = self._make_optimizer(owned) if owned else None

    def _new_exchange(self) -> Exchange:
        of = (self._flat, self._world, self._wire_dtype, self._name)
        return HierarchicalExchange(*of, self._hosts) if self._hosts else Exchange(*of)

    def _hook(self, model: nn.Module, inside: set[nn.Module]) -> None:
        # Plain functions: a copy of the model must not copy this optimizer.
        def gradient_hook(index: int) -> Callable[[Tensor], None]:
            return lambda _: self._gradient_added(index)

        def forward_hook(name: str) -> Callable[..., None]:
            return lambda *_: self._forward_begins(name)

        for index, (_, parameter) in enumerate(self._named):
            parameter.register_post_accumulate_grad_hook(gradient_hook(index))  # type: ignore[no-untyped-call]
        if self._world.size == 1:
            return
        for name, module in model.named_modules():
            if module not in inside:
                module.register_forward_pre_hook(forward_hook(name))
        model.register_state_dict_pre_hook(lambda *_: self.synchronize())  # type: ignore[no-untyped-call]
        model.register_load_state_dict_pre_hook(lambda *_: self.synchronize())  # type: ignore[no-untyped-call]

    @property
    def update_seconds(self) -> float:
        """Spent so far in the updates of what this rank owns, without collectives."""
        return self._update_seconds + self._update_timer.seconds()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of the parameters that this rank owns."""
        return self.optimizer.param_groups if self.optimizer else []

    @property
    def communication(self) -> dict[str, Any]:
        """Bytes of a step's collectives, whatever the number of ranks, for report.json; and whether
        hosts of several ranks, as many on each, add up gradients before they send them."""
        wide = self._flat.parameters.element_size()
        item = min(wide, self._wire_dtype.itemsize)
        return {
            "reduce_scatter_bytes": item * self.layout.numel,
            "allgather_bytes": item * self.layout.numel,
            "largest_tensor_bytes": item
            * max((i.numel for i in self._items if not i.elementwise), default=0),
            "bucket_bytes": item * BUCKET_ELEMENTS,
            "part_bytes": item * PART_ELEMENTS,
            "hierarchical": self._is_hierarchical,
        }

    def scale_learning_rate(self, fraction: float) -> None:
        """Give every group its first learning rate (`initial_lr`) times `fraction`."""
        self._fraction = fraction
        for group in self.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * fraction

    def zero_grad(self, backward_passes: int | None = None) -> None:
        """Drop all gradients, before the first backward pass of a step.

        Args:
            backward_passes: of this step, on this rank. Gradients are sent during the last one,
                as soon as they are complete. By default they are sent in `step`.
        """
        self._flat.drop_gradients()
        # The first step records the order, so its gradients must not be sent before that.
        self._begin(backward_passes if self._order is None else None)

    def _begin(self, backward_passes: int | None) -> None:
        self._passes = backward_passes
        self._added = [0] * len(self._named)
        self._unsent = set(range(len(self.layout.buckets)))
        self._missing = [0] * len(self.layout.buckets)
        """Gradients of each bucket that are not complete yet."""
        for slot in self.layout.slots:
            self._missing[slot.bucket] += 1

    def _gradient_added(self, index: int) -> None:
        name, bucket = self._named[index][0], self.layout.slots[index].bucket
        if self._exchange.is_under_way(bucket):
            raise RuntimeError(
                f"{name}: read before its last update had arrived, by something other than the "
                "forward pass of its own module; call step(wait=True)"
            )
        if self._order is not None and index not in self._order:
            self._order.append(index)
        self._flat.take_gradient(index)
        self._added[index] += 1
        if self._passes is None or self._added[index] < self._passes:
            return
        if self._added[index] > self._passes:
            raise RuntimeError(
                f"{name}: its gradient was sent, and then a backward pass added to it; "
                f"zero_grad(backward_passes={self._passes}) is too few"
            )
        self._missing[bucket] -= 1
        if self._missing[bucket] == 0:
            self._send_gradients(bucket)

    def _send_gradients(self, bucket: int) -> None:
        self._unsent.discard(bucket)
        if self._world.size > 1:
            self._exchange.send_gradients(bucket)

    @torch.no_grad()
    def step(
        self, sums: Sequence[float | Tensor] = (), stop: bool = False, wait: bool = True
    ) -> StepOutcome:
        """Sum gradients over ranks, clip, update, and share the updated parameters.

        Where their norm is not finite, parameters on CPUs stay as they were; a GPU updates them,
        for nothing waits for the norm there.

        Args:
            sums: up to 8 numbers to add up over ranks (a loss sum, a token count), at no cost;
                tensors without dimensions on the parameters' device are not waited for.
            stop: this rank asks to stop; all ranks learn it in the same step.
            wait: for all updated parameters. If False, each module's forward pass waits for its
                own; before anything else reads parameters, call `synchronize`.
        """
        if len(sums) > MAX_SUMS:
            raise ValueError(f"at most {MAX_SUMS} sums can be carried, not {len(sums)}")
        numbers = self._queue_step(sums, stop)
        if wait:
            self.synchronize()
        else:
            self._receive_parameters(self._unheld)
        square, wishes, *totals = numbers.values()
        return StepOutcome(sqrt(square), tuple(totals), wishes > 0)

    def _queue_step(self, sums: Sequence[float | Tensor], stop: bool) -> Readback:
        """A step of which the host reads nothing: the numbers of `pack_extras` over all ranks."""
        self.synchronize()
        if self._order is not None:
            self._settle_order()
        self._flat.take_gradients()
        for bucket in sorted(self._unsent):
            self._send_gradients(bucket)
        extras = pack_extras(self._receive_squares(), stop, sums)
        sum_in_place(extras, f"{self._name}.extras.{len(sums)}")
        numbers = Readback(extras)  # before the update is queued, which need not be waited for
        if extras.is_cpu and not isfinite(extras[0]):  # the same on all ranks
            self._begin(None)
            return numbers
        self._clip(extras[0].sqrt())
        self._update_and_share()
        self._begin(None)
        return numbers

    def _settle_order(self) -> None:
        """Lay everything out again, in the order of gradients in rank 0's first backward pass."""
        found, self._order = self._order or [], None
        loaded, self._loaded = self._loaded, None
        if self._world.size == 1:
            return
        self._settle_forwards()
        unused = set(range(len(self._named))) - set(found)
        layout = self._plan(broadcast_object([*found, *sorted(unused, reverse=True)]))
        if layout == self.layout:
            return
        self._flat.take_gradients()
        before = self.param_groups
        self._build(layout)
        self._begin(None)
        for old, new in zip(before, self.param_groups, strict=False):
            new.update({key: value for key, value in old.items() if key != "params"})
        if self._fraction is not None:
            self.scale_learning_rate(self._fraction)
        if loaded is not None:
            self._load(*loaded)

    def _settle_forwards(self) -> None:
        """Parameters of a module without a forward pass are waited for by its parent."""
        called = set(self._forwards)
        for index, holders in enumerate(self._holders):
            for name in holders:
                reader = name
                while reader not in called and reader:
                    reader = reader.rpartition(".")[0]
                if reader in called:
                    self._forwards[reader].append(index)
                else:
                    self._unheld.append(index)

    def _own_parts(self, flat: Tensor) -> list[Tensor]:
        """What this rank owns of a flat buffer, by bucket."""
        return [flat[bucket.part(self._world.rank)] for bucket in self.layout.buckets]

    def _receive_squares(self) -> Tensor:
        """Wait for the sums of what this rank owns; the sum of their squares, float64."""
        norms = []
        for bucket, own in enumerate(self._own_parts(self._flat.gradients)):
            if self._world.size > 1:
                self._exchange.receive_gradients(bucket)
            # In float64, so that the norm does not depend on where parts and buckets begin.
            norms.append(torch.linalg.vector_norm(own, dtype=torch.float64))
        return torch.stack(norms).square().sum()

    def _clip(self, norm: Tensor) -> None:
        if self.clip_norm is None or (norm.is_cpu and float(norm) <= self.clip_norm):
            return
        # A GPU multiplies by one where there is nothing to clip, and nobody waits for it.
        scale = (self.clip_norm / norm).clamp(max=1.0)
        for own in self._own_parts(self._flat.gradients):
            own.mul_(scale)

    def _update_and_share(self) -> None:
        own = self._own_parts(self._flat.parameters)
        if self._world.size == 1:
            self._update()
        elif self._exchange.is_narrow:
            before = [part.clone() for part in own]
            self._update()
            for bucket in reversed(range(len(own))):  # roughly as the next forward pass reads them
                update = own[bucket] - before[bucket]
                own[bucket].copy_(before[bucket])
                self._exchange.send_parameters(bucket, update)
        else:
            self._update()
            for bucket in reversed(range(len(own))):
                self._exchange.send_parameters(bucket)

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

    def synchronize(self) -> None:
        """Wait until all parameters are those of the last step."""
        if self._exchange.has_parameters_under_way:
            for bucket in reversed(range(len(self.layout.buckets))):
                self._exchange.receive_parameters(bucket)

    def _forward_begins(self, name: str) -> None:
        if self._order is not None:
            if torch.is_grad_enabled():  # else this is no training
                self._forwards.setdefault(name, [])
        elif self._exchange.has_parameters_under_way:
            self._receive_parameters(self._forwards.get(name, ()))

    def _receive_parameters(self, indices: Sequence[int]) -> None:
        for index in indices:
            self._exchange.receive_parameters(self.layout.slots[index].bucket)

    def gather_state(self, memory: dict[str, Tensor] | None = None) -> SavedState:
        """The whole optimizer's state on rank 0, whatever the number of ranks; elsewhere empty.

        Args:
            memory: kept by the caller between calls; the copies of the call before may then be
                overwritten.
        """
        return gather_state(self.optimizer, self._pieces, memory)

    def load_state(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        """Load a state from `gather_state`, of any number of ranks.

        Every rank must be given all of it; each keeps what it owns, from the first step on.

        Raises:
            UserError: the state belongs to a model of other parameters.
        """
        self._load(tensors, description)
        self._loaded = (tensors, description) if self._order is not None else None

    def _load(self, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
        shapes = {slot.name: slot.shape for slot in self.layout.slots}
        load_state(self.optimizer, self._pieces, shapes, tensors, description)


def _holders(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[list[str]]:
    """The names of the modules that hold each parameter: several where it is tied."""
    found: dict[int, list[str]] = {id(parameter): [] for parameter in parameters}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in found:
                found[id(parameter)].append(name)
    return list(found.values())


def _inside(compiled: Iterable[nn.Module]) -> set[nn.Module]:
    """The modules below those that are compiled."""
    return {inner for module in compiled for inner in module.modules() if inner is not module}


def _check_parameters(named: Sequence[tuple[str, nn.Parameter]]) -> None:
    if not named:
        raise ValueError("model: it has no trainable parameters")
    kinds = {(p.dtype, p.device) for _, p in named}
    if len(kinds) > 1:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ValueError(f"model: its parameters must be of one type and device, not {found}")
