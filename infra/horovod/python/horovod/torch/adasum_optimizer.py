"""The optimizer that combines the ranks' steps by Adasum, in place of their gradients.

After horovod/torch/optimizer.py of Horovod 0.28.1, copyright 2019 Uber Technologies, Inc. and
Microsoft, Apache License 2.0.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from typing import Any

from horovod.torch.compiled import keep_out
from horovod.torch.mpi_ops import Adasum, allreduce_async_, synchronize
from horovod.torch.wrapping import parameter_names, unique_names

import torch


class DistributedAdasumOptimizer:
    """What an optimizer wrapped for Adasum does before its own class's methods.

    When a parameter's gradient is there, the wrapped optimizer makes its step on that parameter
    alone; the change that it made is combined over the ranks, and added to where it started.
    """

    def _start(self, options: dict[str, Any]) -> None:
        self._options = {**options, "named_parameters": None}
        self._compression = options["compression"]
        self.backward_passes_per_step = options["backward_passes_per_step"]
        names = parameter_names(self, options["named_parameters"])
        self._parameter_names = names if self._copied else unique_names(names)
        self._allreduce_delay = dict.fromkeys(self._parameter_names, self.backward_passes_per_step)
        self._handles = {}
        self._grad_accs = []
        self._requires_update = set()
        self._starting_models = {
            p: torch.zeros_like(p, requires_grad=False) for p in self._parameter_names
        }
        self._register_hooks()

    def set_backward_passes_per_step(self, passes):
        """Changes how many backward passes are accumulated before a step."""
        self.backward_passes_per_step = passes
        for p in self._allreduce_delay:
            self._allreduce_delay[p] = passes

    def _register_hooks(self) -> None:
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.requires_grad:
                p.grad = torch.zeros_like(p)
                self._requires_update.add(p)
                accumulator = p.expand_as(p).grad_fn.next_functions[0][0]
                accumulator.register_hook(self._make_hook(p))
                self._grad_accs.append(accumulator)

    def _make_hook(self, p: torch.Tensor):
        optimizer = weakref.ref(self)

        def hook(*_unused):
            alive = optimizer()
            if alive is not None:
                alive._gradient_is_ready(p)

        return hook

    def _gradient_is_ready(self, p: torch.Tensor) -> None:
        assert not p.grad.requires_grad
        if self._allreduce_delay[p] <= 0:
            raise AssertionError(
                "Gradients were computed more than backward_passes_per_step times before call to"
                " step(). Increase backward_passes_per_step to accumulate gradients locally."
            )
        self._allreduce_delay[p] -= 1
        sends = self._allreduce_delay[p] == 0
        self._handles[p] = self._send_step_of(p) if sends else (None, None)

    def _send_step_of(self, p: torch.Tensor):
        with torch.no_grad():
            self._starting_models[p].copy_(p)
            self._step_on(p)
            p.sub_(self._starting_models[p])
            compressed, context = self._compression.compress(p.detach())
        return allreduce_async_(compressed, name=self._parameter_names[p], op=Adasum), context

    def _step_on(self, p: torch.Tensor) -> None:
        """The wrapped optimizer's step, on one parameter."""
        whole = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            group["params"] = [p] if any(p is member for member in group["params"]) else []
        try:
            super().step()
        finally:
            for group, parameters in zip(self.param_groups, whole, strict=True):
                group["params"] = parameters

    def synchronize(self):
        """Does nothing: `step` waits."""

    @contextmanager
    def skip_synchronize(self):
        """Not possible with Adasum: AssertionError."""
        raise AssertionError(
            "Skipping synchronization is not supported when using Adasum optimizer."
        )
        yield

    def _before_unscaling(self) -> None:
        raise NotImplementedError(
            "Adasum makes the optimizer's steps during backward(), with gradients that GradScaler"
            " has not divided yet. Use op=Average, or train in bfloat16 without a GradScaler."
        )

    def step(self, closure=None):
        """Waits for the combined changes of all parameters and adds them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for p in self._requires_update:
            if self._handles.get(p, (None, None))[0] is None:
                self._handles[p] = self._send_step_of(p)
        with torch.no_grad():
            for p, (handle, context) in self._handles.items():
                change = self._compression.decompress(synchronize(handle), context)
                p.copy_(self._starting_models[p].add_(change))
                self._allreduce_delay[p] = self.backward_passes_per_step
        self._handles.clear()
        return loss

    def zero_grad(self, *args, **kwargs):
        """Drops the gradients; AssertionError between `backward()` and `step()`."""
        if any(handle is not None for handle, _ in self._handles.values()):
            raise AssertionError(
                "optimizer.zero_grad() was called after loss.backward() but before"
                " optimizer.step(). This is prohibited as the step was made already."
            )
        self._handles.clear()
        self.set_backward_passes_per_step(self.backward_passes_per_step)
        return super().zero_grad(*args, **kwargs)


keep_out(globals())
