"""What the ranks of the network benchmark train."""

from __future__ import annotations

import torch

from textgen.model.config import ModelConfig
from textgen.model.transformer import Transformer
from textgen.training.optimizer import OptimizerConfig

BATCH = {"large": (8, 128), "small": (96, 64)}
"""Sequences of a rank and their length."""
VOCAB_SIZE = {"large": 4096, "small": 128}
CLIP_NORM = 1.0
SETTINGS = OptimizerConfig.of("adamw")


def new_model(name: str) -> Transformer:
    """'large': 12.2 million parameters, whose sums matter on a wire. 'small': 0.8 million."""
    torch.manual_seed(0)
    layers, heads, dim, mlp = (6, 6, 384, 1024) if name == "large" else (4, 4, 128, 352)
    config = ModelConfig(
        vocab_size=VOCAB_SIZE[name], context_length=BATCH[name][1], num_layers=layers,
        num_heads=heads, num_kv_heads=heads, embed_dim=dim, mlp_dim=mlp,
    )  # fmt: skip
    return Transformer(config)
