"""Owns `ShardedOptimizer`: gradients summed over ranks, the update's work shared among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from hvdcore.torch.collectives import gather_rows, sum_in_place
from hvdcore.torch.engine import current_world
from hvdcore.torch.extras import NUM_EXTRAS, read_extras, write_extras
from hvdcore.torch.flat import FlatBuffers
from hvdcore.torch.layout import plan_layout
from hvdcore.torch.optimizer_state import SavedState, gather_state, load_state

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

    Attributes:
        update_seconds: spent so far in the updates of what this rank owns, collectives left out.
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
        self.update_seconds = 0.0

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
    def step(self, sums: Sequence[float] = (), stop: bool = False) -> StepOutcome:
        """Sum gradients over ranks, clip, update, and share the updated parameters.

        Args:
            sums: up to 8 numbers to add up over ranks (a loss sum, a token count), at no cost.
            stop: this rank wants to stop; all ranks learn it in the same step.
        """
        self._flat.collect_gradients()
        write_extras(self._flat.extras, sums, stop)
        sum_in_place(self._flat.gradients, "hvdcore.gradients")
        totals, any_stop = read_extras(self._flat.extras, len(sums))
        norm = self._clip()
        self._update()
        self._share_parameters()
        return StepOutcome(norm, totals, any_stop)

    def _clip(self) -> float:
        gradients = self._flat.gradients[: self.layout.numel]
        norm = float(torch.linalg.vector_norm(gradients))
        if self.clip_norm is not None and norm > self.clip_norm:
            gradients[self._own_part].mul_(self.clip_norm / norm)
        return norm

    def _update(self) -> None:
        if self.optimizer is None:
            return
        started = perf_counter()
        self.optimizer.step()
        if self._flat.parameters.is_cuda:  # the ranks wait for it next, whoever has the clock
            torch.cuda.synchronize(self._flat.parameters.device)
        self.update_seconds += perf_counter() - started

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
