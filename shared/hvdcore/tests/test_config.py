"""Configurations: files and flags together, every problem at once, and back again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from hvdcore.config import Config, dump_json, dump_toml, load_config
from hvdcore.errors import UserError
from hvdcore.run.checkpoint_fields import CheckpointFields


class Optimizer(Config):
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.1, ge=0, le=1)


class Train(Config):
    data: str
    epochs: int = Field(1, ge=1)
    model: Literal["small", "large"] = "small"
    output_dir: Path = Path("runs")
    max_steps: int | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    optimizer: Optimizer = Optimizer()

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> Train:
        if self.max_steps == 13:
            raise ValueError("max_steps: 13 is unlucky; give another number")
        return self


def problems_of(file: Path | None, flags: dict[str, Any] | None = None) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        load_config(Train, file, flags)
    return caught.value.problems


def test_defaults_then_file_then_flags(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        'data = "books"\nepochs = 3\nmodel = "large"\n[optimizer]\nlearning-rate = 0.5\n'
    )
    flags = {"epochs": 7, "model": None, "weight_decay": 0.0, "optimizer.learning_rate": None}
    config = load_config(Train, file, flags)
    assert config == Train(
        data="books",
        epochs=7,
        model="large",
        optimizer=Optimizer(learning_rate=0.5, weight_decay=0.0),
    )


def test_frozen() -> None:
    config = load_config(Train, None, {"data": "x"})
    with pytest.raises(ValidationError, match="frozen"):
        config.epochs = 2


def test_every_problem_at_once_with_field_source_value_and_fix(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('epoch = 3\nmodel = "huge"\n[optimizer]\nlearnin_rate = 1\nweight_decay = 2\n')
    problems = problems_of(file, {"epochs": 0, "learning_rate": "fast", "max_steps": "1.5"})
    assert sorted(problems) == sorted(
        [
            "data: missing; give --data, or data in the --config file",
            "epochs: got 0 from --epochs; give 1 or more",
            f"model: got 'huge' in {file}; give 'small' or 'large'",
            "max_steps: got '1.5' from --max-steps; give a whole number",
            "optimizer.learning_rate: got 'fast' from --learning-rate; give a number",
            f"optimizer.weight_decay: got 2 in {file}; give 1 or less",
            f"optimizer.learnin_rate: no such field in {file}; did you mean"
            " optimizer.learning_rate?",
            f"epoch: no such field in {file}; did you mean epochs?",
        ]
    )


def test_a_list_of_the_wrong_length_names_the_field() -> None:
    (problem,) = problems_of(None, {"data": "x", "betas": [0.9]})
    assert problem.startswith("betas: ")
    assert "[0]" not in problem


def test_a_field_like_no_other_gets_the_list() -> None:
    (problem,) = problems_of(None, {"data": "x", "zzzzzz": 1})
    assert "zzzzzz: no such field from --zzzzzz; fields are betas, data, epochs," in problem


def test_a_check_across_fields_names_the_field_itself() -> None:
    assert problems_of(None, {"data": "x", "max_steps": 13}) == (
        "max_steps: 13 is unlucky; give another number",
    )


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(UserError) as caught:
        load_config(CheckpointFields, None, {"mirror": "s3://user:secret@bucket/run"})
    assert "got 's3://user:***@bucket/run' from --mirror; leave the password" in str(caught.value)


def test_infinite_numbers_are_refused() -> None:
    (problem,) = problems_of(None, {"data": "x", "learning_rate": float("inf")})
    assert problem == "optimizer.learning_rate: got inf from --learning-rate; give a finite number"


@pytest.mark.parametrize(
    ("name", "contents", "expected"),
    [
        ("c.toml", b"epochs = = 3\n", "not valid TOML"),
        ("c.json", b"{,}", "not valid JSON"),
        ("c.json", b"[1]", "holds no fields"),
        ("c.toml", b"\xff\xfe\x00", "not UTF-8 text"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, contents: bytes, expected: str) -> None:
    file = tmp_path / name
    file.write_bytes(contents)
    problems = problems_of(file, {"epochs": 0})
    assert problems[0].startswith(f"config: {file}: {expected}")
    # The flags are checked all the same, but not for what the file may have held.
    assert problems[1:] == ("epochs: got 0 from --epochs; give 1 or more",)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "none.toml", {"data": "x"}) == (
        f"config: {tmp_path / 'none.toml'}: no such file; check the path",
    )
    assert "a directory; give a file, such as" in problems_of(tmp_path, {"data": "x"})[0]


def test_a_value_where_a_group_belongs(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('data = "x"\noptimizer = 3\n')
    (problem,) = problems_of(file)
    assert problem.startswith(f"optimizer: got 3 in {file}; ")


@pytest.mark.parametrize("kind", ["json", "toml"])
def test_fed_back_equal(tmp_path: Path, kind: str) -> None:
    config = load_config(Train, None, {"data": 'a "b"; é', "betas": [0.1, 0.2], "epochs": 4})
    file = tmp_path / f"config.{kind}"
    file.write_text(dump_json(config) if kind == "json" else dump_toml(config), encoding="utf-8")
    assert load_config(Train, file) == config
    assert load_config(Train, file, {"epochs": 5}).epochs == 5


def test_json_is_strict_and_complete() -> None:
    values = json.loads(dump_json(load_config(Train, None, {"data": "x"})))
    assert values["max_steps"] is None
    assert values["optimizer"] == {"learning_rate": 0.001, "weight_decay": 0.1}
    assert values["output_dir"] == "runs"


def test_toml_cannot_hide_a_none() -> None:
    class Limits(Config):
        limit: int | None = 3

    with pytest.raises(ValueError, match="dump_json"):
        dump_toml(Limits(limit=None))
    assert dump_toml(Limits(limit=4)) == "limit = 4\n"


def test_giant_numbers_and_endless_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('data = "x"\nepochs = 99999999999999999999\n')
    (problem,) = problems_of(file)
    assert problem == (
        f"epochs: got 99999999999999999999 in {file}; give 9223372036854775807 or less"
    )
    assert load_config(Train, None, {"data": "x", "epochs": 2**63 - 1}).epochs == 2**63 - 1
    assert problems_of(Path("/dev/zero")) == (
        "config: /dev/zero: more than 10 MB; give a TOML or JSON file of fields",
    )
