"""The benchmark's ratios and verdicts, on times whose ratios are known."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hvdcore")
BENCH = Path(__file__).parents[2] / "infra" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a module of the benchmark, which is a folder of scripts."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module
    for name in ("allreduce", "corpus", "finetune", "jobs", "keras_jobs", "table", "training"):
        sys.modules.pop(name, None)


def test_allreduce_ratio_is_of_medians(bench: Any) -> None:
    found = bench("allreduce").summary(ours=[0.001, 0.002, 0.9], ddp=[0.004, 0.004, 0.001])
    assert found == {"ours_ms": 2.0, "ddp_ms": 4.0, "ratio": 0.5}


def test_training_ratios_are_medians_over_rounds(bench: Any) -> None:
    two_ranks = [0.1, 0.1, 0.2]
    found = bench("training").ratios(
        {
            "two_ranks": two_ranks,
            "ddp": [0.12, 0.15, 0.9],
            "ddp_our_environment": [0.1, 0.2, 0.2],
            "one_process": [0.09, 0.1, 0.1],
            "one_rank": [0.095, 0.2, 0.19],
        }
    )
    assert found == pytest.approx(
        {
            "speed_against_ddp": 1.5,
            "speed_against_ddp_our_environment": 1.0,
            "speed_against_one_process": 0.9,
            "weak_scaling_efficiency": 0.95,
        }
    )


def test_ratios_of_the_keras_trainers_are_medians_over_rounds(bench: Any) -> None:
    seconds = {
        "two_ranks": [0.1, 0.1, 0.2],
        "mwms": [0.12, 0.15, 0.9],
        "one_process": [0.09, 0.1, 0.1],
        "one_rank": [0.095, 0.2, 0.19],
        "input": [0.0095, 0.01, 0.019],
        "two_ranks_large": [0.5, 0.4, 0.4],
        "one_rank_large": [0.5, 0.39, 0.36],
        "apart": [0.095, 0.25, 0.2],
        "apart_large": [0.5, 0.39, 0.3],
    }
    found = bench("keras_jobs").ratios(seconds)
    assert found == pytest.approx(
        {
            "speed_against_mwms": 1.5,
            "speed_against_one_process": 0.9,
            "weak_scaling_efficiency": 0.95,
            "weak_scaling_efficiency_large": 0.975,
            "weak_scaling_apart": 0.95,
            "weak_scaling_apart_large": 1.0,
            "input_against_model": 10.0,
        }
    )
    times = dict.fromkeys(seconds, 5.0)
    lines, all_met = bench("table").table({"news": {"ms_a_step": times, **found}})
    assert not all_met
    assert [("MISSED" in line) for line in lines] == [False, True, *5 * [False]]


def test_finetuning_is_measured_by_speed_and_memory(bench: Any) -> None:
    seconds = {
        "two_ranks": [1.0, 1.0, 2.0],
        "trainer": [1.1, 1.3, 9.0],
        "trainer_our_environment": [1.0, 1.1, 2.4],
    }
    memory = {"two_ranks": 900.0, "trainer": 800.0, "trainer_our_environment": 850.0}
    found = bench("finetune").ratios(seconds, memory)
    assert found == pytest.approx(
        {
            "speed_against_trainer": 1.3,
            "speed_against_trainer_our_environment": 1.1,
            "memory_against_trainer": 1.125,
        }
    )
    times = {"two_ranks": 1000.0, "trainer": 1300.0, "trainer_our_environment": 1100.0}
    whole = {"finetune": {"ms_a_step": times, "peak_memory_mb": memory, **found}}
    lines, all_met = bench("table").table(whole)
    assert not all_met
    assert [("MISSED" in line, "met" in line.split()) for line in lines] == [
        (False, True),
        (False, False),  # informs alone
        (True, False),
    ]
    assert lines[2].endswith("two ranks 900 MB at most, trainer 800 MB")


@pytest.mark.parametrize(("ratio", "met"), [(0.8, True), (0.81, False)])
def test_a_missed_target_is_said(bench: Any, ratio: float, met: bool) -> None:
    figures = {"ours_ms": 8.0, "ddp_ms": 10.0, "ratio": ratio}
    lines, all_met = bench("table").table({"allreduce": {"4 KB": figures}})
    assert all_met is met
    assert ("MISSED" in lines[0]) is not met
    assert "ours 8.00 ms, DDP's gloo 10.00 ms" in lines[0]


def test_corpus_ratios_are_of_the_best_rounds(bench: Any) -> None:
    ours = [(100.0, 180.0), (125.0, 160.0)]
    bare = [(64_000_000, 8.0, 16.0), (64_000_000, 16.0, 12.8)]
    found = bench("corpus").summary(1_000_000_000, ours, bare)
    assert found == pytest.approx(
        {
            "megabytes": 1000,
            "ours": 10.0, "bare": 8.0, "ratio": 1.25,
            "ours_processor": 6.25, "bare_processor": 5.0, "ratio_processor": 1.25,
        }
    )  # fmt: skip
    lines, met = bench("table").table({"corpus": found})
    assert met
    assert lines[0].startswith("corpus, 1000 MB: speed ")
    assert not bench("table").table({"corpus": found | {"ratio": 0.79}})[1]
