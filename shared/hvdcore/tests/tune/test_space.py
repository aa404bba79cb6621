"""Spaces: read from a file, checked against the configuration's bounds, compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from hvdcore.config import Config
from hvdcore.errors import UserError
from hvdcore.tune.space import (
    Categorical,
    Float,
    Int,
    Space,
    check_space,
    read_space,
    space_as_json,
)


class Settings(Config):
    rate: float = Field(0.5, gt=0.0, le=1.0)
    decay: float | None = None
    layers: int | None = Field(None, ge=1)
    kind: str = "a"


def read(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "space.toml"
    file.write_text(text, encoding="utf-8")
    return read_space(file, Settings)


def problems_of(space: Space, **flags: Any) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        check_space(space, Settings, None, flags)
    return caught.value.problems


def test_a_file_says_all_kinds(tmp_path: Path) -> None:
    text = "[rate]\nlow = 0.001\nhigh = 1\nlog = true\n[decay]\nlow = 0\nhigh = 1\n"
    text += "[layers]\nlow = 2\nhigh = 8\nstep = 2\n[kind]\nchoices = ['a', 'b']\n"
    # Int ends of a field that is no whole number are numbers like others.
    assert read(tmp_path, text) == {
        "rate": Float(0.001, 1.0, log=True),
        "decay": Float(0.0, 1.0),
        "layers": Int(2, 8, step=2),
        "kind": Categorical(("a", "b")),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[rate]\nlow = 1", "space: rate in {file}: low or high is missing"),
        ("rate = 3", "space: rate in {file}: give a table with low and high"),
        ("[rate]\nlow = 1\nhigh = 2\nstep = 1", "space: rate in {file}: step is for whole numbers"),
        ("[layers]\nlow = 1.5\nhigh = 2", "space: layers in {file}: got 1.5; give a whole number"),
        ("[kind]\nchoices = []", "space: kind in {file}: choices is a list of one value or more"),
        ("[rate\n", "space: {file}: not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text)
    (line,) = caught.value.problems
    assert line.startswith(problem.format(file=tmp_path / "space.toml"))


def test_a_space_lies_within_the_configuration() -> None:
    check_space({"rate": Float(0.1, 1.0), "layers": Int(1, 3)}, Settings, None, {})
    assert problems_of({"rate": Float(0.0, 2.0)}) == (
        "space: rate: got 0.0; give a number above 0",
        "space: rate: got 2.0; give 1 or less",
    )
    (line,) = problems_of({"layer": Int(1, 2)})
    assert line == "space: layer: no such field; did you mean layers?"


def test_ends_that_cannot_be() -> None:
    assert problems_of({"rate": Float(0.9, 0.1)}) == ("space: rate: low 0.9 is above high 0.1",)
    assert "log needs a low above 0" in problems_of({"decay": Float(0.0, 1.0, log=True)})[0]
    assert "step 0" in problems_of({"layers": Int(1, 3, step=0)})[0]
    assert "1 with log" in problems_of({"layers": Int(1, 3, step=2, log=True)})[0]
    assert problems_of({}) == (
        "space: nothing is left to search; leave a flag out, or give --space FILE",
    )


def test_equal_spaces_are_told_from_others() -> None:
    first = space_as_json({"rate": Float(0.1, 1.0), "kind": Categorical(("a", "b"))})
    assert space_as_json({"kind": Categorical(("a", "b")), "rate": Float(0.1, 1.0)}) == first
    assert list(first) == ["kind", "rate"]
    assert space_as_json({"kind": Categorical(("a", "b")), "rate": Float(0.1, 0.9)}) != first
