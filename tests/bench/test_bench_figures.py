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
    for name in ("allreduce", "corpus", "images", "jobs", "table", "training"):
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


def test_image_ratios_are_medians_over_rounds(bench: Any) -> None:
    found = bench("images").ratios(
        {
            "two_ranks": [0.1, 0.1, 0.2],
            "mwms": [0.12, 0.15, 0.9],
            "one_process": [0.09, 0.1, 0.1],
            "one_rank": [0.095, 0.2, 0.19],
            "input": [0.0095, 0.01, 0.019],
        }
    )
    assert found == pytest.approx(
        {
            "speed_against_mwms": 1.5,
            "speed_against_one_process": 0.9,
            "weak_scaling_efficiency": 0.95,
            "input_against_model": 10.0,
        }
    )
    times = dict.fromkeys(("two_ranks", "mwms", "one_process", "one_rank", "input"), 5.0)
    lines, all_met = bench("table").table({"images": {"ms_a_step": times, **found}})
    assert not all_met
    assert [("MISSED" in line) for line in lines] == [False, True, False, False]


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
