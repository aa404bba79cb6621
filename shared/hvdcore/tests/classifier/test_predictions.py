"""The output formats of predictions, written out by hand."""

from __future__ import annotations

import json

from hvdcore.classifier.predictions import FORMATS, Prediction


def test_the_formats_by_hand() -> None:
    answers = [Prediction("a, b.png", (0.25, 0.75)), Prediction("x", skipped="zero bytes")]
    assert "".join(FORMATS["csv"](answers, ("sea", "ice"), "file")) == (
        "file,class,probability,sea,ice,skipped\n"
        '"a, b.png",ice,0.750000,0.250000,0.750000,\n'
        "x,,,,,zero bytes\n"
    )
    assert json.loads("".join(FORMATS["json"](answers, ("sea", "ice"), "file"))) == [
        {
            "file": "a, b.png", "class": "ice", "probability": 0.75,
            "probabilities": {"sea": 0.25, "ice": 0.75},
        },
        {"file": "x", "skipped": "zero bytes"},
    ]  # fmt: skip
    lines = "".join(FORMATS["jsonl"](answers, ("sea", "ice"), "text")).splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a, b.png", "x"]
