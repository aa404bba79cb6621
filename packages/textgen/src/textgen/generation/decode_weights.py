"""A model's weights rearranged for a decode step: fewer, larger products, scales folded in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from textgen.generation.kv_cache import pair_order
from textgen.generation.products import Product, product_of
from textgen.model.transformer import Attention, Layer, RMSNorm, ShortConv, Transformer

__all__ = [
    "AttentionWeights",
    "ConvWeights",
    "DecodeWeights",
    "LayerWeights",
]

MakeProduct = Callable[[Tensor], Product]


class AttentionWeights:
    """Queries, keys and values as one product, with the scale of the scores folded in."""

    def __init__(self, attention: Attention, norm: Tensor, product: MakeProduct) -> None:
        head_dim = attention.head_dim
        order = pair_order(head_dim).to(attention.q_proj.weight.device)
        queries = _pairs(attention.q_proj.weight.float(), head_dim, order)
        keys = _pairs(attention.k_proj.weight.float(), head_dim, order)
        self.qk_norm: Tensor | None = None
        if isinstance(attention.q_norm, RMSNorm) and isinstance(attention.k_norm, RMSNorm):
            # RMSNorm is sqrt(Dh) x / |x|; the scale of the scores cancels it for the queries.
            num_heads, num_kv_heads = len(queries) // head_dim, len(keys) // head_dim
            on_queries = attention.q_norm.weight.float()[order].expand(num_heads, -1)
            on_keys = attention.k_norm.weight.float()[order] * head_dim**0.5
            self.qk_norm = torch.cat((on_queries, on_keys.expand(num_kv_heads, -1)))
        else:
            queries = queries * head_dim**-0.5  # the scale of the attention scores
        qkv = torch.cat((queries, keys, attention.v_proj.weight.float()))
        self.qkv = product(_folded(qkv, norm))
        self.output = product(attention.o_proj.weight.float())


class ConvWeights:
    """The gates and the value of a short convolution as one product."""

    def __init__(self, conv: ShortConv, norm: Tensor, product: MakeProduct) -> None:
        inputs = (conv.in_gate_proj.weight, conv.out_gate_proj.weight, conv.value_proj.weight)
        self.inputs = product(_folded(torch.cat(inputs).float(), norm))
        self.taps = conv.taps.detach()[:, 0].float().t().contiguous()  # [K, D]
        self.output = product(conv.o_proj.weight.float())


class LayerWeights:
    """The matrices of a layer, rearranged, in float32."""

    def __init__(self, layer: Layer, product: MakeProduct) -> None:
        norm, mlp = layer.input_layernorm.weight, layer.mlp
        self.mixer: AttentionWeights | ConvWeights
        if layer.attends:
            self.mixer = AttentionWeights(layer.self_attn, norm, product)
        else:
            self.mixer = ConvWeights(layer.conv, norm, product)
        gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).float()
        self.gate_up = product(_folded(gate_up, layer.post_attention_layernorm.weight))
        self.down = product(mlp.down_proj.weight.float())


class DecodeWeights:
    """The weights for a `DecodeStep`: a copy, which does not change with the model.

    Args:
        weight_dtype: of the matrices, `float32` or `int8`; all else is float32.
    """

    @torch.inference_mode()
    def __init__(self, model: Transformer, weight_dtype: str = "float32") -> None:
        self.config = model.config
        product = product_of(weight_dtype)
        decoder = model.model
        self.embedding = decoder.embed_tokens.weight.detach().float()
        self.layers = [LayerWeights(layer, product) for layer in decoder.layers]
        self.head = product(_folded(model.lm_head.weight.float(), decoder.norm.weight))
        half = self.config.head_dim // 2
        cos, sin = decoder.cos[:, :half].float(), decoder.sin[:, :half].float()
        self.rotations = torch.stack((cos, sin), dim=-1).flatten(1)  # [context_length, Dh]


def _pairs(weight: Tensor, head_dim: int, order: Tensor) -> Tensor:
    return weight.view(-1, head_dim, weight.shape[1])[:, order].flatten(0, 1)


def _folded(weight: Tensor, norm: Tensor) -> Tensor:
    """weight [O, D] for the input x / |x| in place of RMSNorm(x) = sqrt(D) x / |x| * norm."""
    return weight * (norm.float() * weight.shape[1] ** 0.5)
