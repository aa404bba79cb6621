"""What a model costs: floating-point operations, their share of the hardware's peak, and memory.

Counted are the multiplications and additions of the matrix products and of the short convolutions;
everything else is small. A backward pass counts as two forward passes (Chowdhery et al. 2022, PaLM,
appendix B). For models of `transformers` PyTorch counts the products while they run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hvdcore.errors import UserError
from textgen.model.language_model import LanguageModel, device_of
from textgen.model.transformer import Transformer

if TYPE_CHECKING:
    from hvdcore.torch import PeakFlops
    from textgen.model.config import ModelConfig

__all__ = [
    "Utilization",
    "check_memory",
    "counted_flops_per_token",
    "forward_flops_per_token",
    "memory_bytes",
    "train_flops",
    "train_flops_per_token",
]

_BYTES_PER_PARAMETER = 8
"""A float32 weight and its gradient: the minimum that training needs on each rank."""

_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")


def forward_flops_per_token(config: ModelConfig, length: int) -> int:
    """FLOPs of the forward pass for each token of a sequence of `length` tokens.

    Every query counts against all `length` keys, those behind the causal mask included, as in PaLM.
    Embedding lookups count for nothing; the logits are a matrix product.
    """
    dim, kv_dim = config.embed_dim, config.num_kv_heads * config.head_dim
    projections = 2 * dim * (dim + 2 * kv_dim + dim)
    scores_and_values = 2 * 2 * length * dim
    convolution = 2 * 4 * dim * dim + 2 * dim * config.conv_kernel
    mixers = config.num_attention_layers * (projections + scores_and_values)
    mixers += config.num_conv_layers * convolution
    swiglu = 2 * 3 * dim * config.mlp_dim
    return mixers + config.num_layers * swiglu + 2 * dim * config.vocab_size


def train_flops_per_token(config: ModelConfig, length: int) -> int:
    """FLOPs of a training step for each token, forward and backward."""
    return 3 * forward_flops_per_token(config, length)


@dataclass(frozen=True)
class Utilization:
    """Model FLOP utilization: the share of the hardware's peak that a speed amounts to (PaLM)."""

    flops_per_token: int
    """Of a training step."""
    peak: PeakFlops
    """Of all ranks together."""

    def of(self, tokens_per_second: float) -> float:
        """The model FLOP utilization, 0 to 1, for the tokens per second of all ranks."""
        return tokens_per_second * self.flops_per_token / self.peak.per_second

    def to_json(self, tokens_per_second: float | None) -> dict[str, Any]:
        """The fields of report.json."""
        return {
            "train_flops_per_token": self.flops_per_token,
            "peak_flops_per_second": self.peak.per_second,
            "peak_flops_source": self.peak.source,
            "model_flop_utilization": tokens_per_second and self.of(tokens_per_second),
        }


def train_flops(model: LanguageModel, length: int) -> int:
    """FLOPs of a training step for each token of sequences of `length`, forward and backward."""
    if isinstance(model, Transformer):
        return train_flops_per_token(model.config, length)
    return counted_flops_per_token(model, length)


def counted_flops_per_token(model: LanguageModel, length: int) -> int:
    """As `train_flops`, by PyTorch's FLOP counter; gradients of frozen weights do not count.

    Two short sequences are enough: the cost of a token is linear in the length, as it attends to
    that many keys.
    """
    longer = min(16, length)
    shorter = longer // 2
    low, high = (_counted(model, n) / n for n in (shorter, longer))
    return round(low + (high - low) / (longer - shorter) * (length - shorter))


def _counted(model: LanguageModel, length: int) -> int:
    tokens = torch.zeros(1, length, dtype=torch.int64, device=device_of(model))
    trained = [p for p in model.parameters() if p.requires_grad]
    counter = FlopCounterMode(display=False)
    # The counter knows the plain attention kernel on every device.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        torch.autograd.grad(model.loss(tokens, tokens), trained, allow_unused=True)
    return int(counter.get_total_flops())


def check_memory(num_parameters: int, num_ranks: int, available: int | None = None) -> None:
    """Refuse a model whose weights and gradients alone exceed the memory of this machine.

    Otherwise the kernel would kill the run, or another process, once the memory is used up.

    Args:
        num_ranks: ranks on this machine, each with a copy of the model.
        available: bytes; None for the memory of the machine or the container.

    Raises:
        UserError: it does not fit.
    """
    needed = num_parameters * num_ranks * _BYTES_PER_PARAMETER
    available = memory_bytes() if available is None else available
    if needed > available:
        ranks = "this rank" if num_ranks == 1 else f"the {num_ranks} ranks of this machine"
        raise UserError(
            f"model: {num_parameters:,} parameters and their gradients take {_gigabytes(needed)} "
            f"on {ranks}, which has {_gigabytes(available)}; lower --embed-dim, --mlp-dim, "
            "--num-layers or --vocab-size"
        )


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory of the machine, or of the container if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int((cgroup / name).read_text()))
    return min(limits)


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
