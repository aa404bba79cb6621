"""The targets of the benchmarks, and the table that says which are met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ALLREDUCE_AT_MOST = 0.8
CORPUS_AT_LEAST = 0.8
GENERATION_AT_LEAST = 3.0
TRAINING_AT_LEAST = {
    "speed_against_ddp": 1.2,
    "speed_against_ddp_our_environment": None,
    "speed_against_one_process": 1.0,
    "weak_scaling_efficiency": 0.95,
}
KERAS_AT_LEAST = {
    "speed_against_mwms": ("two_ranks", "mwms", 1.2),
    "speed_against_one_process": ("two_ranks", "one_process", 1.2),
    "weak_scaling_efficiency": ("two_ranks", "one_rank", 0.95),
    "weak_scaling_efficiency_large": ("two_ranks_large", "one_rank_large", 0.95),
    "weak_scaling_apart": ("apart", "one_rank", None),
    "weak_scaling_apart_large": ("apart_large", "one_rank_large", None),
    "input_against_model": ("one_rank", "input", 5.0),
}
FINETUNE_AT_LEAST = {
    "speed_against_trainer": ("trainer", 1.2),
    "speed_against_trainer_our_environment": ("trainer_our_environment", None),
}
FINETUNE_MEMORY_AT_MOST = 1.0
NETWORK_AGAINST_DDP_AT_MOST = {"unshaped": 0.9, "1 Gbit/s": 0.8, "200 Mbit/s": 0.7}
"""Ratios of step times, with the same dtype sent, for the large model on two hosts."""
NETWORK_AGAINST_LIMIT_AT_MOST = 1.1
NETWORK_OURS = ("ours_gloo", "ours_mpi")
NETWORK_PEERS = ("ddp_our_environment", "fsdp", "horovod_gloo")


@dataclass(frozen=True)
class Row:
    """A figure and what it should be; without a target it only informs."""

    title: str
    value: float
    remark: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        too_low = self.at_least is not None and self.value < self.at_least
        return not too_low and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        target = f">= {self.at_least:g}" if self.at_least is not None else ""
        target = f"<= {self.at_most:g}" if self.at_most is not None else target
        verdict = ("met" if self.met else "MISSED") if target else ""
        line = f"{self.title:46} {self.value:6.2f}  {target:7} {verdict:6}  {self.remark}"
        return line.rstrip()


def table(results: dict[str, Any]) -> tuple[list[str], bool]:
    """The lines to print, and whether all targets are met."""
    rows = [
        *_allreduce(results.get("allreduce", {})),
        *_training(results.get("training", {})),
        *_generation(results.get("generation", [])),
        *(row for work in ("images", "news") for row in _keras(work, results.get(work, {}))),
        *_finetune(results.get("finetune", {})),
        *_corpus(results.get("corpus", {})),
        *_network(results.get("network", {})),
        *_keras_network(results.get("keras_network", {})),
    ]
    return [str(row) for row in rows], all(row.met for row in rows)


def _allreduce(found: dict[str, Any]) -> Iterator[Row]:
    for size, figures in found.items():
        remark = f"ours {figures['ours_ms']:.2f} ms, DDP's gloo {figures['ddp_ms']:.2f} ms"
        title = f"allreduce {size}: time against DDP's"
        yield Row(title, figures["ratio"], remark, at_most=ALLREDUCE_AT_MOST)


def _training(found: dict[str, Any]) -> Iterator[Row]:
    for sequences, figures in found.items():
        milliseconds, faults = figures["ms_a_step"], figures["page_faults_a_step"]
        other = dict(zip(TRAINING_AT_LEAST, list(milliseconds)[1:], strict=True))
        for name, at_least in TRAINING_AT_LEAST.items():
            job = other[name]
            remark = f"two ranks {milliseconds['two_ranks']:.1f} ms a step, "
            remark += f"{job.replace('_', ' ')} {milliseconds[job]:.1f} ms"
            if faults[job] > 100:
                remark += f" and {faults[job]:.0f} page faults"
            title = f"training {sequences} x 64: {name.replace('_', ' ')}"
            yield Row(title, figures[name], remark, at_least=at_least)


def _generation(found: list[dict[str, Any]]) -> Iterator[Row]:
    for figures in found:
        remark = f"ours {figures['textgen_ms']:.3f} ms a token, "
        remark += f"transformers {figures['transformers_ms']:.3f} ms"
        title = f"generation, batch {figures['batch_size']}: speed"
        yield Row(title, figures["ratio"], remark, at_least=GENERATION_AT_LEAST)


def _keras(work: str, found: dict[str, Any]) -> Iterator[Row]:
    if not found:
        return
    milliseconds = found["ms_a_step"]
    for name, (ours, other, at_least) in KERAS_AT_LEAST.items():
        remark = f"{ours.replace('_', ' ')} {milliseconds[ours]:.1f} ms a step, "
        remark += f"{other.replace('_', ' ')} {milliseconds[other]:.1f} ms"
        yield Row(f"{work}: {name.replace('_', ' ')}", found[name], remark, at_least=at_least)


def _finetune(found: dict[str, Any]) -> Iterator[Row]:
    if not found:
        return
    milliseconds, memory = found["ms_a_step"], found["peak_memory_mb"]
    for name, (job, at_least) in FINETUNE_AT_LEAST.items():
        remark = f"two ranks {milliseconds['two_ranks']:.1f} ms a step, "
        remark += f"{job.replace('_', ' ')} {milliseconds[job]:.1f} ms"
        yield Row(f"finetune: {name.replace('_', ' ')}", found[name], remark, at_least=at_least)
    remark = f"two ranks {memory['two_ranks']:.0f} MB at most, trainer {memory['trainer']:.0f} MB"
    title, value = "finetune: peak memory against trainer", found["memory_against_trainer"]
    yield Row(title, value, remark, at_most=FINETUNE_MEMORY_AT_MOST)


def _corpus(found: dict[str, Any]) -> Iterator[Row]:
    if not found:
        return
    for kind, at_least in (("", CORPUS_AT_LEAST), ("_processor", None)):
        remark = f"ours {found[f'ours{kind}']:.1f} MB/s, tokenizers {found[f'bare{kind}']:.1f} MB/s"
        title = f"corpus, {found['megabytes']} MB: speed{kind.replace('_', ' by ')}"
        yield Row(title, found[f"ratio{kind}"], remark, at_least=at_least)


def _network(found: dict[str, Any]) -> Iterator[Row]:
    for hosts, by_link in found.items():
        if hosts == "skipped":
            continue
        rows = _several_ranks if " of " in hosts else _link
        for link, figures in by_link.items():
            yield from rows(hosts, link, figures)


def _several_ranks(hosts: str, link: str, figures: dict[str, Any]) -> Iterator[Row]:
    milliseconds, megabytes = figures["ms_a_step"], figures["mb_a_step"]
    for job in milliseconds:
        other = f"{job}_straight"
        if other in milliseconds:
            for kind, found in (("time", milliseconds), ("bytes", megabytes)):
                unit = "ms" if kind == "time" else "MB"
                remark = f"{found[job]:.1f} {unit} a step, straight {found[other]:.1f}"
                title = f"{hosts}, {link}: {job}, {kind} against straight"
                yield Row(title, found[job] / found[other], remark)


def _link(hosts: str, link: str, figures: dict[str, Any]) -> Iterator[Row]:
    milliseconds, against_ddp = figures["ms_a_step"], figures["against_ddp"]
    counts = hosts == "2 hosts, large"
    for job in NETWORK_OURS:
        for suffix in ("", "_16_bit"):
            ours, ddp = milliseconds[job + suffix], milliseconds["ddp" + suffix]
            ratio = against_ddp[job + suffix]
            remark = f"{ours:.0f} ms a step, DDP {ddp:.0f}"
            title = f"{hosts}, {link}: {job}{suffix} against DDP"
            at_most = NETWORK_AGAINST_DDP_AT_MOST.get(link) if counts else None
            yield Row(title, ratio, remark, at_most=at_most)
            limit = figures["limit_ms_a_step"][job + suffix]
            title = f"{hosts}, {link}: {job}{suffix} against the limit"
            at_most = NETWORK_AGAINST_LIMIT_AT_MOST if counts else None
            yield Row(title, ours / limit, f"the limit is {limit:.0f} ms", at_most=at_most)
    for peer in NETWORK_PEERS:
        title = f"{hosts}, {link}: {peer} against DDP"
        yield Row(title, against_ddp[peer], f"{milliseconds[peer]:.0f} ms a step")


def _keras_network(found: dict[str, Any]) -> Iterator[Row]:
    for work, by_link in found.items():
        if work == "skipped":
            continue
        for link, figures in by_link.items():
            milliseconds = figures["ms_a_step"]
            for job, ratio in figures["against_mwms"].items():
                if job != "mwms":
                    title = f"{work} on 2 hosts, {link}: {job} against MWMS"
                    remark = f"{milliseconds[job]:.0f} ms a step, MWMS {milliseconds['mwms']:.0f}"
                    yield Row(title, ratio, remark)
