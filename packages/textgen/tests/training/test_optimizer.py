"""Muon with AdamW: against exact values, `torch.optim.AdamW`, and itself on subsets."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import hvdcore.torch
from hvdcore.torch import ShardedOptimizer
from textgen.config import TrainConfig
from textgen.model.transformer import ModelConfig, Transformer
from textgen.training.optimizer import (
    MuonAdamW,
    OptimizerConfig,
    build_optimizer,
    muon_updates,
    optimizer_config,
    orthogonalize,
    update_cost,
)

CONFIG = ModelConfig(61, 16, 2, 4, 2, 32, 40)


def model_and_batch() -> tuple[Transformer, Tensor]:
    torch.manual_seed(0)
    return Transformer(CONFIG), torch.randint(61, (8, 17))


def backward(model: Transformer, batch: Tensor) -> float:
    model.zero_grad()
    loss = model.loss(batch[:, :-1], batch[:, 1:], "mean")
    loss.backward()
    return loss.item()


def test_orthogonalize_keeps_the_singular_vectors_and_evens_the_values() -> None:
    torch.manual_seed(0)
    left, right = torch.linalg.qr(torch.randn(2, 24, 24, dtype=torch.float64))[0]
    values = torch.linspace(1.0, 0.03, 16, dtype=torch.float64)
    matrix = left[:16, :16] @ torch.diag(values) @ right[:16]
    left = torch.linalg.svd(matrix)[0]
    result = orthogonalize(matrix[None])[0]
    evened = torch.linalg.svdvals(result)
    assert evened.min() > 0.6
    assert evened.max() < 1.3
    # The same left and right vectors: the product with the matrix stays diagonal between them.
    middle = left.T @ result @ matrix.T @ left
    assert (middle - middle.diag().diag()).abs().max() < 1e-6


def test_orthogonalize_in_bfloat16_evens_the_values_too() -> None:
    """As on a GPU. A float32 matrix whose values are 1 to 8 would fail as it is: the control."""
    matrix = torch.diag(torch.arange(1.0, 9.0))
    result = orthogonalize(matrix[None], dtype=torch.bfloat16)[0]
    assert result.dtype == torch.bfloat16
    values = torch.linalg.svdvals(result.float())
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.5
    assert not 0.5 < float(torch.linalg.svdvals(matrix).max()) < 1.5


def test_an_update_does_not_depend_on_what_it_is_batched_with() -> None:
    torch.manual_seed(0)
    shapes = [(32, 32), (16, 32), (40, 32), (32, 40), (32, 32)]
    gradients = [torch.randn(shape) for shape in shapes]
    together = muon_updates(gradients, [torch.zeros(shape) for shape in shapes], 0.95)
    for gradient, update in zip(gradients, together, strict=True):
        alone = muon_updates([gradient], [torch.zeros_like(gradient)], 0.95)[0]
        torch.testing.assert_close(alone, update, atol=1e-5, rtol=1e-4)
        transposed = muon_updates([gradient.T], [torch.zeros_like(gradient.T)], 0.95)[0]
        assert transposed.shape == gradient.T.shape


def test_shards_of_the_parameters_update_as_all_together() -> None:
    model, batch = model_and_batch()
    twin = copy.deepcopy(model)
    whole = build_optimizer(model.named_parameters(), OptimizerConfig())
    named = list(twin.named_parameters())
    shards = [build_optimizer(named[rank::3], OptimizerConfig()) for rank in range(3)]
    for _ in range(3):
        backward(model, batch)
        whole.step()
        backward(twin, batch)
        for shard in shards:
            shard.step()
    for (name, ours), (_, theirs) in zip(named, model.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3, msg=name)


def test_the_flags_reach_the_optimizer() -> None:
    flags = {"learning_rate": 0.5, "weight_decay": 0.25, "momentum": 0.75}
    settings = optimizer_config(TrainConfig(**flags))
    assert {name: getattr(settings, name) for name in flags} == flags
    silent = optimizer_config(TrainConfig())
    assert silent == OptimizerConfig()


def test_no_parameters_is_an_optimizer_too() -> None:
    optimizer = build_optimizer([], OptimizerConfig())
    optimizer.step()
    assert [group["name"] for group in optimizer.param_groups] == [
        "matrices",
        "embeddings",
        "norms",
    ]


def test_each_parameter_is_in_its_group() -> None:
    model, _ = model_and_batch()
    names = {parameter: name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model.named_parameters(), OptimizerConfig())
    matrices, embeddings, norms = (
        [names[parameter] for parameter in group["params"]] for group in optimizer.param_groups
    )
    assert len(matrices) == 2 * 7
    assert embeddings == ["model.embed_tokens.weight"]
    assert all("norm" in name for name in norms)
    assert len(matrices) + len(embeddings) + len(norms) == len(names)


def test_adamw_is_torchs() -> None:
    model, batch = model_and_batch()
    twin = copy.deepcopy(model)
    ours = build_optimizer(
        model.named_parameters(),
        OptimizerConfig.of("adamw", learning_rate=0.01, weight_decay=0.1),
    )
    decayed = [p for p in twin.parameters() if p.ndim == 2 and p is not twin.lm_head.weight]
    others = [p for p in twin.parameters() if all(p is not q for q in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))
    for _ in range(3):
        backward(model, batch)
        ours.step()
        backward(twin, batch)
        theirs.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    model, batch = model_and_batch()
    config = OptimizerConfig.of(name)  # type: ignore[arg-type]
    optimizer = build_optimizer(model.named_parameters(), config)
    take_steps(model, optimizer, batch, 2)
    twin = copy.deepcopy(model)
    restored = build_optimizer(twin.named_parameters(), config)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take_steps(model, optimizer, batch, 2)
    take_steps(twin, restored, batch, 2)
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
    for state in optimizer.state.values():
        assert all(isinstance(value, Tensor) for value in state.values())


def take_steps(model: Transformer, optimizer: MuonAdamW, batch: Tensor, steps: int) -> None:
    for _ in range(steps):
        backward(model, batch)
        optimizer.step()


def test_the_schedule_scales_the_rate_of_every_group() -> None:
    hvdcore.torch.init()
    model, batch = model_and_batch()
    config = OptimizerConfig(learning_rate=0.04, embedding_learning_rate=0.02)
    optimizer = ShardedOptimizer(
        model, lambda named: build_optimizer(named, config), clip_norm=1.0, cost=update_cost(config)
    )
    optimizer.scale_learning_rate(0.5)
    optimizer.scale_learning_rate(0.25)
    assert [group["lr"] for group in optimizer.param_groups[:2]] == [0.01, 0.005]
    before = copy.deepcopy(model.state_dict())
    optimizer.scale_learning_rate(0.0)
    optimizer.zero_grad()
    model.loss(batch[:, :-1], batch[:, 1:], "mean").backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_it_learns_a_batch_by_heart(name: str) -> None:
    model, batch = model_and_batch()
    optimizer = build_optimizer(
        model.named_parameters(),
        OptimizerConfig.of(name, learning_rate=0.02),  # type: ignore[arg-type]
    )
    first = backward(model, batch)
    take_steps(model, optimizer, batch, 60)
    assert backward(model, batch) < 0.1 * first


def test_matrices_cost_more_than_tables_under_muon() -> None:
    cost = update_cost(OptimizerConfig())
    table, matrix = torch.empty(64, 64), torch.empty(64, 64)
    assert cost("mlp.up_proj.weight", matrix) > cost("model.embed_tokens.weight", table)
    flat = update_cost(OptimizerConfig.of("adamw"))
    assert flat("mlp.up_proj.weight", matrix) == flat("model.embed_tokens.weight", table)
