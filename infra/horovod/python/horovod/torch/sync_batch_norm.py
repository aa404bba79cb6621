"""Batch normalization over the batches of all ranks."""

from __future__ import annotations

from horovod.torch.compiled import keep_out
from horovod.torch.mpi_ops import Sum, allgather, allreduce, size

import torch
import torch.nn.functional as F
from torch.autograd.function import Function
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """`torch.nn.BatchNorm` whose statistics in training are those of all ranks' batches together.

    Arguments as in `torch.nn.BatchNorm2d`; the input is (N, C, ...), of any N, which may differ
    between ranks. All ranks must call it. The gradients of weight and bias are this rank's own;
    `DistributedOptimizer` combines them.
    """

    def _check_input_dim(self, input):
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")

    def forward(self, input):
        self._check_input_dim(input)
        uses_batch = self.training or not self.track_running_stats
        momentum = self._momentum_of_this_batch()
        if not uses_batch or size() == 1:
            return self._run_bn(input, uses_batch, momentum)
        running = self.running_mean is not None and self.training
        output, mean, variance, count = _SyncBatchNorm.apply(
            input, self.weight, self.bias, self.eps
        )
        if running:
            self._update_running(mean, variance, count, momentum)
        return output

    def _momentum_of_this_batch(self) -> float:
        """The weight of this batch in the running statistics; 1/batches if momentum is None."""
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        return momentum

    def _run_bn(self, input, uses_batch: bool, momentum: float):
        running = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if running else None,
            self.running_var if running else None,
            self.weight,
            self.bias,
            uses_batch,
            momentum,
            self.eps,
        )

    @torch.no_grad()
    def _update_running(self, mean, variance, count, momentum: float) -> None:
        # As torch: the running variance is that of a sample, divided by n - 1.
        unbiased = variance * (count / (count - 1).clamp(min=1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)

    @classmethod
    def convert_sync_batchnorm(cls, module: torch.nn.Module) -> torch.nn.Module:
        """The module with each `torch.nn.BatchNorm*d` in it replaced by one of these.

        Parameters and statistics are taken over, so an optimizer made before stays right. A module
        that is a batch normalization itself is returned replaced.
        """
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            module = cls._converted(module)
        for name, child in module.named_children():
            setattr(module, name, cls.convert_sync_batchnorm(child))
        return module

    @classmethod
    def _converted(cls, module: _BatchNorm) -> SyncBatchNorm:
        options = (module.eps, module.momentum, module.affine, module.track_running_stats)
        new = cls(module.num_features, *options)
        if module.affine:
            new.weight, new.bias = module.weight, module.bias
        new.running_mean, new.running_var = module.running_mean, module.running_var
        new.num_batches_tracked = module.num_batches_tracked
        new.training = module.training
        return new


def _channels(values: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
    """One value per channel, shaped to be combined with the input."""
    return values.view(1, -1, *[1] * (input.dim() - 2))


class _SyncBatchNorm(Function):
    """Normalizes by the mean and variance over all ranks; gives these and the count too."""

    @staticmethod
    def forward(ctx, input, weight, bias, eps):
        values = input.to(_wide(input.dtype))
        dims = [0, *range(2, input.dim())]
        count = input.numel() // input.size(1)
        mean = values.mean(dims) if count else values.new_zeros(input.size(1))
        squares = (values - _channels(mean, input)).square().sum(dims)
        own = torch.stack([mean, squares, torch.full_like(mean, count)])
        of_ranks = allgather(own.unsqueeze(0), name="sync_batch_norm.statistics")
        mean, variance, total = _combined(of_ranks)
        inverse = (variance + eps).rsqrt()
        normalized = (values - _channels(mean, input)) * _channels(inverse, input)
        ctx.save_for_backward(normalized, weight, inverse, total)
        ctx.dims = dims
        ctx.mark_non_differentiable(mean, variance, total)
        output = normalized
        if weight is not None:
            output = output * _channels(weight, input) + _channels(bias, input)
        return output.to(input.dtype), mean, variance, total

    @staticmethod
    def backward(ctx, grad_output, *_of_statistics):
        normalized, weight, inverse, total = ctx.saved_tensors
        gradient = grad_output.to(normalized.dtype)
        sums = torch.stack([gradient.sum(ctx.dims), (gradient * normalized).sum(ctx.dims)])
        grad_bias, grad_weight = sums
        grad_input = None
        if ctx.needs_input_grad[0]:
            over_ranks = allreduce(sums, op=Sum, name="sync_batch_norm.gradients") / total
            centered = gradient - _channels(over_ranks[0], gradient)
            centered = centered - normalized * _channels(over_ranks[1], gradient)
            scale = inverse if weight is None else inverse * weight
            grad_input = (centered * _channels(scale, gradient)).to(grad_output.dtype)
        if weight is None:
            return grad_input, None, None, None
        return grad_input, grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None


def _combined(of_ranks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, variance and count of all ranks, from (rank, (mean, squares, count), channel).

    The squares are about each rank's own mean (Chan et al. 1979), so nothing cancels.
    """
    means, squares, counts = of_ranks.unbind(1)
    total = counts.sum(0)
    mean = (means * counts).sum(0) / total
    between = (counts * (means - mean).square()).sum(0)
    return mean, (squares.sum(0) + between) / total, total


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype is torch.float64 else torch.float32


keep_out(globals())
