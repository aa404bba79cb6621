"""A model's weights rearranged for the decode step: fewer, larger products with scales folded in.

For a few rows, products with a fixed matrix are most of the time of a decode step on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from textgen.generation.kv_cache import pair_order
from textgen.model.transformer import Attention, Layer, RMSNorm, ShortConv, Transformer

__all__ = [
    "AttentionWeights",
    "ConvWeights",
    "DecodeWeights",
    "LayerWeights",
    "RowProduct",
]

PANEL_COLUMNS = 16
PANEL_MIN_WEIGHTS = 1 << 17
PANEL_MAX_ROWS = 24


class RowProduct:
    """x [B, I] -> x @ weight.T [B, O], for one weight [O, I] and any small B.

    For 2 to 24 rows a general matrix product spends more time packing the weight, at every call of
    MKL, than multiplying with it. A batched product with panels of 16 columns, packed once, takes
    about half the time at 384 x 1152 and 8 rows. Below 128 K weights, which fit in the L2 cache, it
    is not faster.
    """

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight
        self._matrix: Tensor | None = None
        self._panels: Tensor | None = None

    def bound(self, x: Tensor, out: Tensor, *, add: bool = False) -> Callable[[], object]:
        """A function that computes out [B, O] from x [B, I], or adds to it, at every call."""
        if self._use_panels(x):
            return self._bound_panels(x, out, add)
        if self._matrix is None:
            rows, columns = self._weight.shape
            # A vector product is fastest along the longer side.
            tall = rows >= columns
            self._matrix = self._weight.t().contiguous() if tall else self._weight.t()
        if add:
            return partial(out.addmm_, x, self._matrix)
        return partial(torch.mm, x, self._matrix, out=out)

    def _use_panels(self, x: Tensor) -> bool:
        fits = self._weight.shape[0] % PANEL_COLUMNS == 0
        large = self._weight.numel() >= PANEL_MIN_WEIGHTS
        return fits and large and 2 <= len(x) <= PANEL_MAX_ROWS and x.device.type == "cpu"

    def _bound_panels(self, x: Tensor, out: Tensor, add: bool) -> Callable[[], object]:
        if self._panels is None:
            cut = self._weight.view(-1, PANEL_COLUMNS, self._weight.shape[1])
            self._panels = cut.transpose(1, 2).contiguous()  # [O / 16, I, 16]
        panels = self._panels
        spread = x.expand(len(panels), *x.shape)
        product = torch.empty(len(panels), len(x), PANEL_COLUMNS)
        target = out.view(len(x), len(panels), PANEL_COLUMNS).transpose(0, 1)
        finish = target.add_ if add else target.copy_

        def run() -> None:
            torch.bmm(spread, panels, out=product)
            finish(product)

        return run


class AttentionWeights:
    """Queries, keys and values as one product, with the scale of the scores folded in."""

    def __init__(self, attention: Attention, norm: Tensor) -> None:
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
        self.qkv = RowProduct(_folded(qkv, norm))
        self.output = RowProduct(attention.o_proj.weight.float())


class ConvWeights:
    """The gates and the value of a short convolution as one product."""

    def __init__(self, conv: ShortConv, norm: Tensor) -> None:
        inputs = (conv.in_gate_proj.weight, conv.out_gate_proj.weight, conv.value_proj.weight)
        self.inputs = RowProduct(_folded(torch.cat(inputs).float(), norm))
        self.taps = conv.taps.detach()[:, 0].float().t().contiguous()  # [K, D]
        self.output = RowProduct(conv.o_proj.weight.float())


class LayerWeights:
    """The matrices of a layer, rearranged, in float32."""

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
    """The weights for a `DecodeStep`: a float32 copy, which does not change with the model."""

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
    """weight [O, D] for the input x / |x| in place of RMSNorm(x) = sqrt(D) x / |x| * norm."""
    return weight * (norm.float() * weight.shape[1] ** 0.5)
