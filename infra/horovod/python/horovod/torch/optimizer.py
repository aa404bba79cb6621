"""DistributedOptimizer: gradients are combined over the ranks while `backward` computes them.

After horovod/torch/optimizer.py of Horovod 0.28.1, copyright 2019 Uber Technologies, Inc.,
Microsoft and NVIDIA Corporation, Apache License 2.0. The arguments and methods are the same; what
differs is written where it differs.
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from horovod.common.util import split_list
from horovod.torch.adasum_optimizer import DistributedAdasumOptimizer
from horovod.torch.compiled import keep_out
from horovod.torch.compression import Compression
from horovod.torch.functions import broadcast_object
from horovod.torch.grad_scaler import wait_in_grad_scaler
from horovod.torch.mpi_ops import (
    Adasum,
    Average,
    allreduce,
    allreduce_async_,
    global_process_set,
    grouped_allreduce_async_,
    size,
    sparse_allreduce_async,
    synchronize,
)
from horovod.torch.wrapping import parameter_names, unique_names, wrap

import torch


class _DistributedOptimizer:
    """What a wrapped optimizer does before its own class's methods."""

    def _start(self, options: dict[str, Any]) -> None:
        """Called once the object has the wrapped optimizer's groups and state."""
        self._options = {**options, "named_parameters": None}
        self._compression = options["compression"]
        self.backward_passes_per_step = options["backward_passes_per_step"]
        self.op = options["op"]
        self.gradient_predivide_factor = options["gradient_predivide_factor"]
        self.sparse_as_dense = options["sparse_as_dense"]
        self.process_set = options["process_set"]
        self._groups = options["groups"]
        names = parameter_names(self, options["named_parameters"])
        self._parameter_names = names if self._copied else unique_names(names)
        self._handles = {}
        self._sent = {}
        self._versions = {}
        self._sparse_dims = {}
        self._grad_accs = []
        self._requires_update = set()
        self._synchronized = False
        self._unscaled = False
        self._should_synchronize = True
        self._p_to_group = {}
        self._group_counts = {}
        self._allreduce_delay = dict.fromkeys(self._parameter_names, self.backward_passes_per_step)
        if self._communicates():
            self._form_groups()
            self._watch_new_parameters()

    def _communicates(self) -> bool:
        several = size() > 1 or os.environ.get("HOROVOD_ELASTIC") == "1"
        return bool(self.process_set.included() and several)

    # ---- Groups

    def _form_groups(self) -> None:
        """Groups parameters as asked for, in the order that rank 0 has them in."""
        if self._groups is None:
            return
        trained = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        order = [self._parameter_names[p] for p in trained]
        first = min(self.process_set.ranks) if self.process_set.ranks else 0
        order = broadcast_object(order, first, process_set=self.process_set)
        place = {name: i for i, name in enumerate(order)}
        trained.sort(key=lambda p: place[self._parameter_names[p]])
        for group in _split(trained, self._groups):
            self._group_counts[group] = 0
            self._p_to_group.update(dict.fromkeys(group, group))

    # ---- Hooks

    def _watch_new_parameters(self) -> None:
        """Sees to parameters that became trainable or were added after the optimizer was wrapped.

        Upstream knows only those of the start, and trains later ones without averaging.
        """
        for i, group in enumerate(self.param_groups):
            for j, p in enumerate(group["params"]):
                if p.requires_grad and p not in self._requires_update:
                    self._watch(p, f"allreduce.noname.{i}.{j}")

    def _watch(self, p: torch.Tensor, name: str) -> None:
        self._parameter_names.setdefault(p, name)
        self._allreduce_delay.setdefault(p, self.backward_passes_per_step)
        self._requires_update.add(p)
        accumulator = p.expand_as(p).grad_fn.next_functions[0][0]
        accumulator.register_hook(self._make_hook(p))
        self._grad_accs.append(accumulator)

    def _make_hook(self, p: torch.Tensor):
        # A weak reference, so that an optimizer that was dropped does not go on communicating.
        optimizer = weakref.ref(self)

        def hook(*_unused):
            alive = optimizer()
            if alive is not None:
                alive._gradient_is_ready(p)

        return hook

    def _gradient_is_ready(self, p: torch.Tensor) -> None:
        assert not p.grad.requires_grad
        self._forget_dropped_gradient(p)
        if self._allreduce_delay[p] <= 0:
            raise AssertionError(
                "Gradients were computed more than backward_passes_per_step times before call to"
                " step(). Increase backward_passes_per_step to accumulate gradients locally, or"
                " call this optimizer's zero_grad() to drop those of a backward pass that was"
                " meant for another model."
            )
        self._allreduce_delay[p] -= 1
        self._sent[p] = p.grad
        self._synchronized = self._unscaled = False
        group = self._p_to_group.get(p)
        if self._allreduce_delay[p] > 0:
            if group is None or group not in self._handles:
                self._handles[p] = (None, None)
        elif group is None:
            self._handles[p] = self._allreduce_grad_async(p)
        else:
            self._count_in_group(p, group)

    def _count_in_group(self, p: torch.Tensor, group: tuple) -> None:
        self._handles[p] = (None, None)
        self._group_counts[group] += 1
        if self._group_counts[group] == len(group):
            self._send_group(group)

    def _forget_dropped_gradient(self, p: torch.Tensor) -> None:
        """Starts anew if the gradient that was counted or sent is the parameter's no more.

        `model.zero_grad()` drops gradients behind the optimizer's back, in a GAN those that the
        generator's loss left in the discriminator.
        """
        sent = self._sent.get(p)
        if sent is None or sent is p.grad or sent.is_sparse or p.grad.is_sparse:
            return
        self._wait_and_drop(p)

    def _wait_and_drop(self, p: torch.Tensor) -> None:
        group = self._p_to_group.get(p)
        key = group if group in self._handles else p
        handle, _context = self._handles.pop(key, (None, None))
        if handle is not None:
            synchronize(handle)
        for member in key if key is group else (p,):
            self._sent.pop(member, None)
            self._versions.pop(member, None)
            self._allreduce_delay[member] = self.backward_passes_per_step
        if group is not None:
            self._group_counts[group] = sum(self._allreduce_delay[member] == 0 for member in group)

    # ---- Sending

    def _scaling(self) -> dict[str, float]:
        """gradient_predivide_factor divides before the sum and multiplies after it."""
        factor = self.gradient_predivide_factor if self.op == Average else 1.0
        return {"prescale_factor": 1.0 / factor, "postscale_factor": factor}

    def _ensure_gradient(self, p: torch.Tensor) -> None:
        """Zeros where this rank has no gradient, as another rank may have one."""
        if p.grad is not None:
            return
        dims = self._sparse_dims.get(p)
        if dims is not None and not self.sparse_as_dense:
            nowhere = torch.empty(dims, 0, dtype=torch.int64)
            nothing = torch.empty(0, *p.shape[dims:], dtype=p.dtype)
            p.grad = torch.sparse_coo_tensor(nowhere, nothing, p.shape, check_invariants=False)
        else:
            p.grad = torch.zeros_like(p)

    def _allreduce_grad_async(self, p: torch.Tensor):
        self._ensure_gradient(p)
        name, gradient = self._parameter_names[p], p.grad
        self._versions[p] = (gradient, gradient._version)
        if gradient.is_sparse:
            self._sparse_dims[p] = gradient.sparse_dim()
            if not self.sparse_as_dense:
                return self._sparse_allreduce_grad_async(p, name)
            gradient = gradient.to_dense()
        compressed, context = self._compression.compress(gradient)
        handle = allreduce_async_(
            compressed, name=name, op=self.op, process_set=self.process_set, **self._scaling()
        )
        return handle, context

    def _sparse_allreduce_grad_async(self, p: torch.Tensor, name: str):
        # Accumulation leaves an index several times; summed up here, less is sent.
        return sparse_allreduce_async(
            p.grad.coalesce(), name=name, op=self.op, process_set=self.process_set
        ), None

    def _send_group(self, group: tuple) -> None:
        for p in group:
            self._ensure_gradient(p)
            self._handles.pop(p, None)
        self._versions.update((p, (p.grad, p.grad._version)) for p in group)
        pairs = [self._compression.compress(p.grad) for p in group]
        handle = grouped_allreduce_async_(
            [compressed for compressed, _ in pairs],
            name=self._parameter_names[group[0]],
            op=self.op,
            process_set=self.process_set,
            **self._scaling(),
        )
        self._handles[group] = (handle, [context for _, context in pairs])
        self._group_counts[group] = 0

    # ---- The public methods

    def synchronize(self):
        """Waits until all gradients are combined; afterwards `p.grad` holds the result.

        A gradient that this rank did not compute, or for fewer passes than
        `backward_passes_per_step` as at the end of an epoch, is sent as it is.
        """
        if self._communicates():
            self._watch_new_parameters()
            self._send_what_is_missing()
            for key, (handle, context) in self._handles.items():
                self._receive(key, handle, context)
            self._handles.clear()
            self._sent.clear()
        self._synchronized, self._unscaled = True, False

    def _before_unscaling(self) -> None:
        """Called by GradScaler before it divides gradients and looks for infinite ones."""
        if self._unscaled or not self._synchronized:
            self.synchronize()
        self._unscaled = True

    def _send_what_is_missing(self) -> None:
        for group in self._group_counts:
            if group not in self._handles:
                self._send_group(group)
        for p in self._requires_update:
            if p not in self._p_to_group and self._handles.get(p, (None, None))[0] is None:
                self._handles[p] = self._allreduce_grad_async(p)

    def _receive(self, key, handle, context) -> None:
        self._check_unchanged(key if isinstance(key, tuple) else (key,))
        outputs = synchronize(handle)
        if isinstance(key, tuple):
            for p, output, of_p in zip(key, outputs, context, strict=True):
                self._take_over(p, output, of_p)
        else:
            self._take_over(key, outputs, context)

    def _check_unchanged(self, parameters: tuple) -> None:
        """RuntimeError if the script wrote to a gradient while it was being sent.

        Upstream lets it: what is sent is then neither the old value nor the new one, and what is
        received may be changed on one rank and not on another.
        """
        for p in parameters:
            gradient, version = self._versions.pop(p, (p.grad, None))
            if p.grad is not gradient or (version is not None and gradient._version != version):
                raise RuntimeError(
                    f"the gradient of {self._parameter_names[p]} was changed (clipped?) between"
                    " backward() and step(), while it was being combined over the ranks. Call"
                    " optimizer.synchronize() after backward(), then change gradients, then make"
                    " the step inside `with optimizer.skip_synchronize():`"
                )

    def _take_over(self, p: torch.Tensor, output: torch.Tensor, context) -> None:
        self._allreduce_delay[p] = self.backward_passes_per_step
        combined = output if output.is_sparse else self._compression.decompress(output, context)
        if p.grad.is_sparse:
            # A sparse tensor cannot be given other values in place.
            p.grad = combined if combined.is_sparse else combined.to_sparse(p.grad.sparse_dim())
        elif combined is not p.grad:
            p.grad.set_(combined)

    @contextmanager
    def skip_synchronize(self):
        """Has `step` apply the gradients as they are, after `synchronize` was called.

        optimizer.synchronize()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with optimizer.skip_synchronize():
            optimizer.step()
        """
        self._should_synchronize = False
        try:
            yield
        finally:
            self._should_synchronize = True

    def step(self, closure=None):
        """Combines the gradients and makes the wrapped optimizer's step.

        A closure may be called several times (LBFGS): the gradients of each call are combined,
        and the loss that it returns is averaged over the ranks, so that all go the same way.
        """
        waits = self._should_synchronize
        if waits and closure is not None and self._communicates():
            return self._step_with_closure(closure)
        if waits and not self._unscaled:
            if self._synchronized:
                warnings.warn(
                    "optimizer.step() called without optimizer.skip_synchronize() context after"
                    " optimizer.synchronize(). This can cause training slowdown. You may want to"
                    " consider using optimizer.skip_synchronize() context if you use"
                    " optimizer.synchronize() in your code.",
                    stacklevel=2,
                )
            else:
                self.synchronize()
        self._synchronized = self._unscaled = False
        return super().step(closure)

    def _step_with_closure(self, closure):
        computed_before = bool(self._handles)
        if computed_before:
            self.synchronize()

        def combined_closure():
            with torch.enable_grad():
                loss = closure()
            if self._handles or not computed_before:
                self.synchronize()
            return self._averaged(loss)

        self._synchronized = False
        result = super().step(combined_closure)
        self._synchronized = False
        return result

    def _averaged(self, loss):
        if loss is None:
            return None
        is_tensor = torch.is_tensor(loss)
        value = loss.detach() if is_tensor else torch.tensor(loss, dtype=torch.float64)
        value = allreduce(
            value, name="horovod.closure_loss", op=Average, process_set=self.process_set
        )
        return value if is_tensor else value.item()

    def zero_grad(self, *args, **kwargs):
        """Drops the gradients; arguments as the wrapped optimizer has them.

        Gradients under way are waited for first, so that nothing writes to them afterwards. All
        ranks must call it then.
        """
        for key in list(self._handles):
            self._wait_and_drop(key[0] if isinstance(key, tuple) else key)
        for p in self._allreduce_delay:
            self._allreduce_delay[p] = self.backward_passes_per_step
        self._group_counts = dict.fromkeys(self._group_counts, 0)
        self._sent.clear()
        self._versions.clear()
        self._synchronized = self._unscaled = False
        return super().zero_grad(*args, **kwargs)

    def set_backward_passes_per_step(self, passes):
        """Changes how many backward passes are accumulated before gradients are combined."""
        self.backward_passes_per_step = passes
        for p in self._allreduce_delay:
            self._allreduce_delay[p] = passes

    def load_state_dict(self, *args, **kwargs):
        """Loads the wrapped optimizer's state; passes that were counted are forgotten."""
        self._handles = {}
        self._sent = {}
        self._versions = {}
        self._synchronized = self._unscaled = False
        self._should_synchronize = True
        self.set_backward_passes_per_step(self.backward_passes_per_step)
        super().load_state_dict(*args, **kwargs)


def _split(parameters: list, groups: int | Sequence) -> list[tuple]:
    """The parameters in groups: as many as said, or those listed and each other one alone."""
    if not isinstance(groups, list):
        return [tuple(group) for group in split_list(parameters, groups) if group]
    known = set(parameters)
    listed = [tuple(p for p in group if p in known) for group in groups]
    in_list = {p for group in listed for p in group}
    return [group for group in listed if group] + [(p,) for p in parameters if p not in in_list]


def _check_groups(groups) -> None:
    if groups is None:
        return
    if not (isinstance(groups, list) or groups > 0):
        raise ValueError(
            "groups should be a non-negative integer or a list of list of torch.Tensor."
        )
    seen = set()
    for p in (p for group in groups for p in group) if isinstance(groups, list) else ():
        if not isinstance(p, torch.Tensor):
            raise ValueError("groups must consist of torch.Tensor.")
        if p in seen:
            raise ValueError("A parameter can only appear once in groups.")
        seen.add(p)


def DistributedOptimizer(
    optimizer,
    named_parameters=None,
    compression=Compression.none,
    backward_passes_per_step=1,
    op=Average,
    gradient_predivide_factor=1.0,
    num_groups=0,
    groups=None,
    sparse_as_dense=False,
    process_set=global_process_set,
):
    """Wraps an optimizer so that its steps apply gradients combined over all ranks.

    The result is of a class derived from the optimizer's, shares its parameter groups and state,
    and takes its place. The reduction of each gradient starts as soon as `loss.backward()` has
    computed it; `step()` waits for all of them.

    Args:
        optimizer: any `torch.optim.Optimizer`.
        named_parameters: names for the reductions, usually `model.named_parameters()`; all of the
            optimizer's parameters or none must be named.
        compression: how gradients are sent, one of `Compression`.
        backward_passes_per_step: backward passes whose gradients are accumulated before they are
            reduced. Gradients add up: divide the loss to average over passes.
        op: Average, Sum or Adasum.
        gradient_predivide_factor: with Average, gradients are divided by it before the sum and
            multiplied by it and divided by the number of ranks afterwards.
        num_groups: deprecated; use `groups`.
        groups: how many groups of gradients are reduced together, or lists of the parameters of
            each group.
        sparse_as_dense: reduce sparse gradients as dense ones.
        process_set: the ranks over which gradients are reduced.

    Raises:
        ValueError: an argument is not as described.
    """
    if gradient_predivide_factor != 1.0 and op != Average:
        raise ValueError("gradient_predivide_factor not supported with op != Average")
    if num_groups != 0:
        warnings.warn(
            "Parameter `num_groups` has been replaced by `groups` and will be removed in v0.23.0.",
            DeprecationWarning,
            stacklevel=2,
        )
        groups = num_groups if groups is None else groups
    if backward_passes_per_step <= 0:
        raise ValueError("backward_passes_per_step must be > 0")
    _check_groups(groups)
    options = {
        "named_parameters": named_parameters,
        "compression": compression,
        "backward_passes_per_step": backward_passes_per_step,
        "op": op,
        "gradient_predivide_factor": gradient_predivide_factor,
        "groups": groups,
        "sparse_as_dense": sparse_as_dense,
        "process_set": process_set,
    }
    if op == Adasum and size() > 1:
        if process_set.process_set_id != 0:
            raise NotImplementedError("Adasum does not support non-global process sets yet.")
        return wrap(optimizer, DistributedAdasumOptimizer, options)
    return wrap(optimizer, _DistributedOptimizer, options)


wait_in_grad_scaler()
keep_out(globals())
