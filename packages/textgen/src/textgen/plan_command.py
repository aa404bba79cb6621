"""The command ``plan``: what a training would take of memory, as a table, before it runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hvdcore.run.report import Table, print_table
from hvdcore.runtime.memory import free_memory_bytes, resident_bytes

if TYPE_CHECKING:
    from textgen.config import TrainConfig
    from textgen.training.memory import MemoryPlan, RunMemory

__all__ = ["advice", "plan_memory"]

MIB = 1 << 20
HEAP = "holes in the heap, by the allocator"
FRAMEWORK = "Python and PyTorch, measured here"
COMPILE = "--compile: counted as if not compiled, which was 50 MB too little on a processor"
_ADVICE = {
    "parameters": "take a smaller model (--embed-dim, --mlp-dim, --num-layers)",
    "gradients": "take a smaller model (--embed-dim, --mlp-dim, --num-layers)",
    "optimizer state": "take more ranks, which share it, or --optimizer muon, which keeps half of"
    " AdamW's",
    "activations": "lower --per-rank-batch-size (the global batch stays) or --context-length",
    "logits and loss": "lower --per-rank-batch-size (the global batch stays) or --vocab-size",
    "work space of the update": "take more ranks, which share the update, or a smaller model",
    "gradient norm in float64": "take more ranks, which share it, or a smaller model",
    "communication": "--gradient-dtype bfloat16 sends half the bytes",
    "checkpoint copy": "it is rank 0's alone: take a smaller model, or a host with more memory"
    " for rank 0",
    HEAP: "lower --per-rank-batch-size; or preload an allocator such as jemalloc",
    FRAMEWORK: "nothing of the model: it is there with any",
}
"""What makes each term smaller."""


def plan_memory(config: TrainConfig, size: int, ranks_per_host: int | None, as_json: bool) -> int:
    """Print what one rank of `size` takes of memory at most; the exit code.

    Raises:
        UserError: the model or the tokenizer does not exist or is not valid.
    """
    local_size = min(size, ranks_per_host or size)
    framework = framework_bytes()  # before counting loads what training does not
    memory = run_memory(config, size, local_size)
    wanted = config.per_rank_batch_size
    if wanted == "auto":
        from textgen.training.micro_batch import largest_that_fits, nothing_fits

        available = (free_memory_bytes() + resident_bytes()) // local_size - framework
        wanted = largest_that_fits(memory, available)
        if not wanted:
            raise nothing_fits(memory, available)
    plan = memory.plan(wanted)
    if as_json:
        print(json.dumps(to_json(plan, framework), indent=2))
    else:
        print_plan(plan, framework, local_size)
        if config.compile:
            print(COMPILE)
    return 0


def run_memory(config: TrainConfig, size: int, local_size: int) -> RunMemory:
    """The memory of the run that the configuration describes, of no rank yet."""
    from textgen.training.memory import RunMemory
    from textgen.training.optimizer import optimizer_config

    build, is_fine_tuning = _builder(config)
    settings = optimizer_config(config, is_fine_tuning=is_fine_tuning)
    return RunMemory(build, config, settings, size=size, local_size=local_size)


def _builder(config: TrainConfig) -> tuple[Any, bool]:
    """What makes the model without memory, and whether transformers has it."""
    from hvdcore.torch.live_bytes import fake_copy
    from textgen.model.causal_lm import CausalLM, build_gpt2
    from textgen.model.config import Gpt2Shape
    from textgen.model.transformer import Transformer
    from textgen.pretrained.load import resolve_model
    from textgen.tokenizer.load import load_tokenizer
    from textgen.training.init_model import build_pretrained, model_config

    if config.init_from is not None:
        found = resolve_model(config.init_from)
        tokenizer = load_tokenizer(config.tokenizer) if config.tokenizer else found.tokenizer
        model = build_pretrained(config, tokenizer, found)
        return lambda fake: fake_copy(model, fake), isinstance(model, CausalLM)
    shape = model_config(config, _vocab_size(config))
    if isinstance(shape, Gpt2Shape):  # transformers converts the weights, which fake ones refuse
        gpt2 = build_gpt2(shape, 0)
        return lambda fake: fake_copy(gpt2, fake), False

    def build(fake: Any) -> Transformer:
        with fake:
            return Transformer(shape)

    return build, False


def _vocab_size(config: TrainConfig) -> int:
    from textgen.tokenizer.load import load_tokenizer

    if config.tokenizer_name == "bpe":
        return config.vocab_size  # a small corpus may give it fewer tokens
    return load_tokenizer(config.tokenizer_name).vocab_size


def framework_bytes() -> int:
    """What this process takes with everything loaded that training loads, and no model to speak of.

    It is measured, in the process that asks, as it depends on the versions and on the machine.
    """
    import torch

    import hvdcore.torch
    import textgen.training.train  # noqa: F401

    hvdcore.torch.init()
    layer = torch.nn.Linear(64, 64)
    layer(torch.zeros(64, 64)).square().sum().backward()
    torch.optim.SGD(layer.parameters()).step()  # the first optimizer loads torch._dynamo
    return resident_bytes()


def to_json(plan: MemoryPlan, framework: int) -> dict[str, Any]:
    """The plan in bytes."""
    return {
        "rank": plan.rank,
        "per_rank_batch_size": plan.rows,
        "phase": plan.peak.name,
        "terms": dict(plan.peak.terms),
        "framework": framework,
        "heap": plan.heap,
        "peak": plan.bytes + framework,
        "phases": {phase.name: phase.bytes for phase in plan.phases},
    }


def print_plan(plan: MemoryPlan, framework: int, local_size: int) -> None:
    """The terms at the peak, the other phases, what dominates, and whether it fits here."""
    terms = {**plan.peak.terms, HEAP: plan.heap, FRAMEWORK: framework}
    total = sum(terms.values())
    rows = [[name, _mib(count), f"{count / total:.0%}"] for name, count in terms.items()]
    print_table(
        Table(["", "MiB", "share"], [*rows, [f"peak of rank {plan.rank}", _mib(total), ""]]),
        title=f"{plan.peak.name}, {plan.rows} sequences per forward pass",
    )
    others = sorted(plan.phases, key=lambda phase: -phase.bytes)[1:]
    print(
        "other phases: "
        + ", ".join(f"{phase.name} {_mib(phase.bytes + framework)}" for phase in others)
    )
    print(advice(plan, framework))
    print(_fits(total, local_size))


def advice(plan: MemoryPlan, framework: int = 0) -> str:
    """What takes the most at the peak, and what to change."""
    terms = {**plan.peak.terms, HEAP: plan.heap, FRAMEWORK: framework}
    largest = max(terms, key=lambda name: terms[name])
    change = _ADVICE[largest]
    if plan.peak.name == "evaluation" and largest in ("activations", "logits and loss"):
        change = "lower --eval-batch-size"
    share = terms[largest] / sum(terms.values())
    return f"{largest}: {share:.0%} of the peak; {change}"


def _fits(total: int, local_size: int) -> str:
    free = free_memory_bytes() + resident_bytes()
    needed = total * local_size
    verdict = "fits" if needed <= free else "does not fit"
    ranks = "1 rank" if local_size == 1 else f"{local_size} ranks"
    return f"this machine: {ranks} a host need {_mib(needed)} MiB, {_mib(free)} are free: {verdict}"


def _mib(count: int) -> str:
    return f"{count / MIB:,.0f}"
