"""Muon for matrices and AdamW for all other parameters, in one `torch.optim.Optimizer`.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) replaces the momentum of a
matrix by the nearest (semi-)orthogonal matrix; many matrices are orthogonalised at once.

The learning rate of a group is its `initial_lr` times the schedule's fraction, which
`ShardedOptimizer.scale_learning_rate` sets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from textgen.training import foreach

if TYPE_CHECKING:
    from textgen.config import TrainConfig

# Quintic Newton-Schulz iterations: the odd polynomial a x + b x^3 + c x^5 of the singular values.
COEFFICIENTS = ((3.4445, -4.7750, 2.0315),) * 5

ADAMW_LEARNING_RATE = 3e-3
ADAMW_WEIGHT_DECAY = 0.1
FINE_TUNING_LEARNING_RATE = 5e-5
"""Of all weights, in fine-tuning a pretrained model."""
LORA_LEARNING_RATE = 2e-4

OWN_TABLES = frozenset({"model.embed_tokens.weight", "lm_head.weight"})
"""`Transformer.table_names`."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of the optimizer. Learning rates are peaks; the schedule scales them."""

    name: Literal["muon", "adamw"] = "muon"
    """'muon': Muon for the matrices of the layers, AdamW for the rest. 'adamw': AdamW for all."""
    learning_rate: float = 0.012
    """Of matrices. Muon's update is scaled to the size of Adam's, so one rate suits both."""
    embedding_learning_rate: float = 0.01
    """Of the embeddings of tokens and positions, and of the output projection."""
    norm_learning_rate: float = 0.01
    """Of the weights of norms, biases and the taps of convolutions."""
    weight_decay: float = 0.1
    """Decoupled, of matrices only; multiplied by the current learning rate."""
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    momentum: float = 0.95
    """Nesterov momentum of Muon."""

    @classmethod
    def of(cls, name: Literal["muon", "adamw"], **changes: float) -> OptimizerConfig:
        """The defaults of the optimizer `name`, with `changes`.

        With 'adamw' the `learning_rate` is that of all parameters.
        """
        if name == "muon":
            return cls(name=name, **changes)
        rate = changes.setdefault("learning_rate", ADAMW_LEARNING_RATE)
        changes.setdefault("embedding_learning_rate", rate)
        changes.setdefault("norm_learning_rate", rate)
        changes.setdefault("weight_decay", ADAMW_WEIGHT_DECAY)
        return cls(name=name, **changes)


def optimizer_config(config: TrainConfig, *, is_fine_tuning: bool = False) -> OptimizerConfig:
    """The settings of the optimizer, with its own defaults where the configuration has none.

    Args:
        is_fine_tuning: of a model of transformers: AdamW by default, and one low learning rate
            for all weights.
    """
    chosen = {
        name: value
        for name, value in (
            ("learning_rate", config.learning_rate),
            ("weight_decay", config.weight_decay),
            ("momentum", config.momentum),
        )
        if value is not None
    }
    if is_fine_tuning:
        default_rate = LORA_LEARNING_RATE if config.lora_rank else FINE_TUNING_LEARNING_RATE
        rate = chosen.setdefault("learning_rate", default_rate)
        chosen |= {"embedding_learning_rate": rate, "norm_learning_rate": rate}
    default: Literal["muon", "adamw"] = "adamw" if is_fine_tuning else "muon"
    return OptimizerConfig.of(config.optimizer or default, **chosen)


def update_cost(
    config: OptimizerConfig, tables: Collection[str] = OWN_TABLES
) -> Callable[[str, Tensor], float]:
    """(name, parameter) -> the cost of its update, in any unit, to balance the work of ranks by."""
    from hvdcore.torch.hardware import elementwise_cost, newton_schulz_cost  # loads Horovod

    def cost(name: str, parameter: Tensor) -> float:
        if config.name == "muon" and is_matrix(name, parameter, tables):
            return newton_schulz_cost(parameter.shape, len(COEFFICIENTS))
        return elementwise_cost(parameter.shape)

    return cost


def is_elementwise(
    config: OptimizerConfig, tables: Collection[str] = OWN_TABLES
) -> Callable[[str, Tensor], bool]:
    """(name, parameter) -> whether ranks may share its rows: Muon needs whole matrices."""
    return lambda name, parameter: (
        not (config.name == "muon" and is_matrix(name, parameter, tables))
    )


def is_matrix(name: str, parameter: Tensor, tables: Collection[str] = OWN_TABLES) -> bool:
    """Whether Muon applies to it: a matrix of the layers, not an embedding or output projection."""
    return parameter.ndim == 2 and name not in tables


def build_optimizer(
    named_parameters: Iterable[tuple[str, Tensor]],
    config: OptimizerConfig,
    tables: Collection[str] = OWN_TABLES,
) -> MuonAdamW:
    """An optimizer of these parameters, any subset of a model's, possibly empty.

    It always has the three groups matrices, embeddings and norms.

    Args:
        tables: names of the model's tables (`LanguageModel.table_names`).
    """
    matrices: list[Tensor] = []
    embeddings: list[Tensor] = []
    norms: list[Tensor] = []
    for name, parameter in named_parameters:
        if is_matrix(name, parameter, tables):
            matrices.append(parameter)
        else:
            (embeddings if name in tables else norms).append(parameter)
    algorithm = "muon" if config.name == "muon" else "adamw"
    decay = config.weight_decay
    groups = [
        _group("matrices", matrices, algorithm, config.learning_rate, decay),
        _group("embeddings", embeddings, "adamw", config.embedding_learning_rate, 0.0),
        _group("norms", norms, "adamw", config.norm_learning_rate, 0.0),
    ]
    return MuonAdamW(groups, config)


def _group(
    name: str, params: list[Tensor], algorithm: str, learning_rate: float, decay: float
) -> dict[str, Any]:
    rates = {"lr": learning_rate, "initial_lr": learning_rate, "weight_decay": decay}
    return {"name": name, "params": params, "algorithm": algorithm, **rates}


def _gradients(params: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in params if parameter.grad is not None]


class MuonAdamW(torch.optim.Optimizer):
    """Each group has its `algorithm`, 'muon' or 'adamw'.

    State of each parameter, tensors only: `momentum` (Muon), or `step`, `exp_avg`, `exp_avg_sq`.
    """

    def __init__(self, groups: list[dict[str, Any]], config: OptimizerConfig) -> None:
        self.config = config
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            if group["algorithm"] == "muon":
                self._muon_step(params, group)
            else:
                self._adamw_step(params, group)

    def _muon_step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        momenta = []
        for parameter in params:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momenta.append(state["momentum"])
        updates = muon_updates(_gradients(params), momenta, self.config.momentum)
        if group["weight_decay"]:
            foreach.mul_(params, 1 - group["lr"] * group["weight_decay"])
        foreach.add_(params, updates, alpha=-group["lr"])

    def _adamw_step(self, params: list[Tensor], group: dict[str, Any]) -> None:
        fused = params[0].is_cuda  # one kernel, which wants the step counts on the GPU too
        counts_on = params[0].device if fused else torch.device("cpu")
        for parameter in params:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] = state["step"].to(counts_on)
        states = [self.state[parameter] for parameter in params]
        adamw(
            params,
            _gradients(params),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=not fused,
            fused=fused,
            amsgrad=False,
            beta1=self.config.beta1,
            beta2=self.config.beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=self.config.epsilon,
            maximize=False,
        )


def orthogonalize(
    matrices: Tensor,
    coefficients: Sequence[tuple[float, float, float]] = COEFFICIENTS,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Matrices [N, rows <= columns] with all singular values brought close to 1.

    Args:
        dtype: of the products and the result; the matrices' own without it.
    """
    x: Tensor = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    x = x.to(dtype or x.dtype)
    for a, b, c in coefficients:
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x


def muon_updates(gradients: list[Tensor], momenta: list[Tensor], momentum: float) -> list[Tensor]:
    """Update `momenta` in place by `gradients`; return the updates, to be scaled and subtracted.

    Each update has root mean square 0.2, as AdamW's has (Liu et al. 2025, arXiv 2502.16982), so
    that a learning rate means the same for both. Matrices of the same shape, or transposed, are
    orthogonalised together; other matrices change the update of one by rounding at most.
    """
    foreach.lerp_(momenta, gradients, 1 - momentum)
    lookahead = foreach.lerp(gradients, momenta, momentum)  # Nesterov
    by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, gradient in enumerate(gradients):
        rows, columns = sorted(gradient.shape)
        by_shape[rows, columns].append(index)
    updates = list(lookahead)
    for (_, columns), indices in by_shape.items():
        wide = [_wide(lookahead[index]) for index in indices]
        scale = 0.2 * columns**0.5
        stack = torch.stack(wide)
        # On a GPU in bfloat16, as Jordan et al. do: float32 has no tensor cores.
        dtype = torch.bfloat16 if stack.is_cuda else None
        results = orthogonalize(stack, dtype=dtype).to(stack.dtype).mul_(scale)
        for index, result in zip(indices, results, strict=True):
            updates[index] = result if updates[index].shape == result.shape else result.mT
    return updates


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
