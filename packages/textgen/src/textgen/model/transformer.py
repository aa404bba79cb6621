"""The decoder-only transformer: tokens in, logits or loss out.

The parts, their order and the parameters' names are those of Llama in `transformers` (Qwen3 with
`qk_norm`), so a state dict of one loads into the other unchanged. With short convolutions it is
LFM2, which has names of its own: `textgen.pretrained.hf_weights`.
"""

from __future__ import annotations

from torch import Tensor, nn

from textgen.model.config import ModelConfig
from textgen.model.language_model import LanguageModel
from textgen.model.layers import Layer, RMSNorm, causal_mask, rotary_tables
from textgen.model.token_cache import TokenCache

__all__ = ["Decoder", "ModelConfig", "TokenCache", "Transformer"]


class Decoder(nn.Module):
    """Embedding, layers and final norm: tokens [B, T] -> hidden states [B, T, D]."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.embed_dim, config.norm_eps)
        cos, sin = rotary_tables(config.context_length, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(
        self, tokens: Tensor, cache: TokenCache | None, start: int, mask: Tensor | None
    ) -> Tensor:
        length = tokens.shape[1]
        assert start + length <= len(self.cos), "more tokens than context_length"
        if mask is None and start > 0 and length > 1:
            mask = causal_mask(length, start, tokens.device)
        x = self.embed_tokens(tokens)
        rotary = (self.cos[start : start + length], self.sin[start : start + length])
        for layer in self.layers:
            x = layer(x, rotary, mask, cache, start)
        normed: Tensor = self.norm(x)
        return normed


class Transformer(LanguageModel):
    """A decoder-only language model, initialised from torch's global random state."""

    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self.reset_parameters()

    def tables(self) -> tuple[nn.Module, ...]:
        """The token embedding and the output projection."""
        return self.model.embed_tokens, self.lm_head

    def reset_parameters(self) -> None:
        """Draw new weights: matrices N(0, 1 / fan_in), embeddings N(0, 0.02^2), convolutions
        uniform within 1 / sqrt(kernel), and the projections that write to the residual stream
        zero, so that training starts from the identity and from uniform-like logits."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
            elif name.endswith("conv.taps"):
                bound = parameter.shape[-1] ** -0.5
                nn.init.uniform_(parameter, -bound, bound)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)
            elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def forward(
        self,
        tokens: Tensor,
        cache: TokenCache | None = None,
        start: int = 0,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] of the token after each of tokens [B, T] (integers).

        Args:
            cache: what the layers keep of the positions before `start`; the new is stored in it.
            start: position of tokens[:, 0]; above 0 only with a cache.
            mask: bool, broadcast to [B, H, T, start + T], True where a query may look; None is
                causal. Positions are relative under the rotation, so a left-padded batch needs
                nothing but its mask where every layer attends; a convolution knows no mask.
        """
        logits: Tensor = self.lm_head(self.model(tokens, cache, start, mask))
        return logits
