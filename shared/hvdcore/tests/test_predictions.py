"""The forms of answers, written out by hand."""

from __future__ import annotations

import json

from hvdcore.classifier.predictions import FORMS, Prediction


def test_the_forms_of_predictions_by_hand() -> None:
    answers = [Prediction("a, b.png", (0.25, 0.75)), Prediction("x", skipped="zero bytes")]
    assert "".join(FORMS["csv"](answers, ("sea", "ice"), "file")) == (
        "file,class,probability,sea,ice,skipped\n"
        '"a, b.png",ice,0.750000,0.250000,0.750000,\n'
        "x,,,,,zero bytes\n"
    )
    assert json.loads("".join(FORMS["json"](answers, ("sea", "ice"), "file"))) == [
        {
            "file": "a, b.png", "class": "ice", "probability": 0.75,
            "probabilities": {"sea": 0.25, "ice": 0.75},
        },
        {"file": "x", "skipped": "zero bytes"},
    ]  # fmt: skip
    lines = "".join(FORMS["jsonl"](answers, ("sea", "ice"), "text")).splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a, b.png", "x"]
