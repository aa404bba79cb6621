"""Owns the two flat buffers that a model's parameters and gradients become views of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hvdcore.torch.layout import Layout, Slot


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
