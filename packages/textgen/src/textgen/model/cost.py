"""The arithmetic that a model asks for, and how much of the hardware's a run uses.

Multiplications and additions of the matrix products and of the short convolutions; all else is
small. A backward pass is two forward passes (Chowdhery et al. 2022, PaLM, appendix B).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvdcore.torch import PeakFlops
    from textgen.model.config import ModelConfig

__all__ = ["Utilization", "forward_flops_per_token", "train_flops_per_token"]


def forward_flops_per_token(config: ModelConfig, length: int) -> int:
    """FLOPs of the forward pass for each token of a sequence of `length` tokens.

    Every query is counted against all `length` keys, those that the causal mask hides included, as
    PaLM counts. Looking an embedding up costs nothing; the logits are a product.
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
    """Turns a speed into model FLOP utilisation: the share of the hardware's peak (PaLM)."""

    flops_per_token: int
    """Of a training step."""
    peak: PeakFlops
    """Of all ranks together."""

    def of(self, tokens_per_second: float) -> float:
        """The model FLOP utilisation, 0 to 1, at a speed over all ranks."""
        return tokens_per_second * self.flops_per_token / self.peak.per_second

    def to_json(self, tokens_per_second: float | None) -> dict[str, Any]:
        """The fields of report.json."""
        return {
            "train_flops_per_token": self.flops_per_token,
            "peak_flops_per_second": self.peak.per_second,
            "peak_flops_source": self.peak.source,
            "model_flop_utilization": tokens_per_second and self.of(tokens_per_second),
        }
