"""Which optimizer a configuration means: Muon for a new cnn, and in earlier runs what they had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvdcore.config import dump_json, load_config
from hvdcore.errors import UserError
from hvdcore.run.checkpoint import require_same_run
from image_cls.config import TrainConfig

EARLIER = Path(__file__).parent / "fixtures" / "earlier_run" / "run" / "config.json"


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [("cnn", None, True), ("cnn", "muon", True), ("cnn", "adamw", False), ("mlp", None, False)],
)
def test_muon_is_for_convolutions(model: str, given: str | None, expected: bool) -> None:
    config = TrainConfig.model_validate({"model": model, "optimizer": given})
    assert config.uses_muon is expected
    assert config.resolved(900).optimizer == ("muon" if expected else "adamw")
    assert config.resolved(900).uses_muon is expected


def test_a_model_without_trained_convolutions_is_refused() -> None:
    with pytest.raises(UserError, match="optimizer: mlp trains no convolutions; give adamw"):
        load_config(TrainConfig, None, {"model": "mlp", "optimizer": "muon"})


def test_the_configuration_of_an_earlier_run_keeps_adamw(tmp_path: Path) -> None:
    fields = {**json.loads(EARLIER.read_text(encoding="utf-8")), "model": "cnn"}
    assert "optimizer" not in fields
    path = tmp_path / "config.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert load_config(TrainConfig, path).optimizer == "adamw"
    assert load_config(TrainConfig, path, {"optimizer": "muon"}).optimizer == "muon"


def test_control_a_file_of_a_few_fields_does_not(tmp_path: Path) -> None:
    (tmp_path / "few.toml").write_text('model = "cnn"\nepochs = 3\n', encoding="utf-8")
    assert load_config(TrainConfig, tmp_path / "few.toml").uses_muon
    (tmp_path / "config.json").write_text(dump_json(TrainConfig()), encoding="utf-8")
    assert load_config(TrainConfig, tmp_path / "config.json").uses_muon


def test_a_checkpoint_that_does_not_say_is_adamws() -> None:
    require_same_run({"optimizer": "adamw"}, {})
    with pytest.raises(UserError, match="optimizer: the checkpoint was written with 'adamw'"):
        require_same_run({"optimizer": "muon"}, {})
    with pytest.raises(UserError, match="this run asks for 'adamw'"):
        require_same_run({"optimizer": "adamw"}, {"optimizer": "muon"})
