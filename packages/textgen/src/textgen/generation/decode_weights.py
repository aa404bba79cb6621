"""A model's weights rearranged for the decode step: fewer, larger products, nothing to rescale."""

from __future__ import annotations

import torch
from torch import Tensor

from textgen.generation.kv_cache import pair_order
from textgen.generation.row_product import RowProduct
from textgen.model.layers import Attention, Layer, RMSNorm
from textgen.model.short_conv import ShortConv
from textgen.model.transformer import Transformer

__all__ = ["AttentionWeights", "ConvWeights", "DecodeWeights", "LayerWeights"]


class AttentionWeights:
    """Queries, keys and values in one product, the scale of the scores folded in."""

    def __init__(self, attention: Attention, norm: Tensor) -> None:
        head_dim = attention.head_dim
        order = pair_order(head_dim).to(attention.q_proj.weight.device)
        queries = _pairs(attention.q_proj.weight.float(), head_dim, order)
        keys = _pairs(attention.k_proj.weight.float(), head_dim, order)
        self.qk_norm: Tensor | None = None
        if isinstance(attention.q_norm, RMSNorm) and isinstance(attention.k_norm, RMSNorm):
            # RMSNorm is sqrt(Dh) x / |x|; on the queries the scale of the scores cancels it.
            num_heads, num_kv_heads = len(queries) // head_dim, len(keys) // head_dim
            on_queries = attention.q_norm.weight.float()[order].expand(num_heads, -1)
            on_keys = attention.k_norm.weight.float()[order] * head_dim**0.5
            self.qk_norm = torch.cat((on_queries, on_keys.expand(num_kv_heads, -1)))
        else:
            queries = queries * head_dim**-0.5  # the scale of the attention scores
        qkv = torch.cat((queries, keys, attention.v_proj.weight.float()))
        self.qkv = RowProduct(_folded(qkv, norm))
        self.output = RowProduct(attention.o_proj.weight.float())


class ConvWeights:
    """A short convolution's gates and value in one product."""

    def __init__(self, conv: ShortConv, norm: Tensor) -> None:
        inputs = (conv.in_gate_proj.weight, conv.out_gate_proj.weight, conv.value_proj.weight)
        self.inputs = RowProduct(_folded(torch.cat(inputs).float(), norm))
        self.taps = conv.taps.detach()[:, 0].float().t().contiguous()  # [K, D]
        self.output = RowProduct(conv.o_proj.weight.float())


class LayerWeights:
    """One layer's matrices, rearranged; float32."""

    def __init__(self, layer: Layer) -> None:
        norm, mlp = layer.input_layernorm.weight, layer.mlp
        self.mixer: AttentionWeights | ConvWeights
        if layer.attends:
            self.mixer = AttentionWeights(layer.self_attn, norm)
        else:
            self.mixer = ConvWeights(layer.conv, norm)
        gate_up = torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)).float()
        self.gate_up = RowProduct(_folded(gate_up, layer.post_attention_layernorm.weight))
        self.down = RowProduct(mlp.down_proj.weight.float())


class DecodeWeights:
    """A model's weights as `DecodeStep` wants them: a float32 copy, which does not follow the
    model's further training."""

    @torch.inference_mode()
    def __init__(self, model: Transformer) -> None:
        self.config = model.config
        decoder = model.model
        self.embedding = decoder.embed_tokens.weight.detach().float()
        self.layers = [LayerWeights(layer) for layer in decoder.layers]
        self.head = RowProduct(_folded(model.lm_head.weight.float(), decoder.norm.weight))
        half = self.config.head_dim // 2
        cos, sin = decoder.cos[:, :half].float(), decoder.sin[:, :half].float()
        self.rotations = torch.stack((cos, sin), dim=-1).flatten(1)  # [context_length, Dh]


def _pairs(weight: Tensor, head_dim: int, order: Tensor) -> Tensor:
    return weight.view(-1, head_dim, weight.shape[1])[:, order].flatten(0, 1)


def _folded(weight: Tensor, norm: Tensor) -> Tensor:
    """weight [O, D] that takes x / |x| in place of RMSNorm(x), which is sqrt(D) x / |x| norm."""
    return weight * (norm.float() * weight.shape[1] ** 0.5)
