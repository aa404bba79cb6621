"""No install takes our names from the public index, where they may be somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from build import main
from wheel_check import check_wheel, read_requirements

ROOT = Path(__file__).resolve().parents[3]
OURS = {"textgen": "0.1.0+hvd1", "hvdcore": "0.1.0+hvd1", "horovod": "0.28.1+hvd1"}
Resolve = Callable[..., dict[str, tuple[str, str]]]


def only_ours(found: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {name: value for name, value in found.items() if name in OURS}


@pytest.mark.parametrize(
    "arguments",
    [
        ["-r", "{wheels}/textgen.txt"],
        ["--find-links", "{wheels}", "{wheels}/textgen-0.1.0+hvd1-py3-none-any.whl"],
        ["--find-links", "{wheels}", "textgen==0.1.0+hvd1"],
    ],
    ids=["requirements file", "path", "pin"],
)
def test_the_wheel_folder_installs_ours(
    resolve: Resolve, wheel_folder: Path, arguments: list[str], tmp_path: Path
) -> None:
    filled = [argument.format(wheels=wheel_folder) for argument in arguments]
    found = resolve(*filled, cwd=tmp_path)
    assert {name: version for name, (version, _) in only_ours(found).items()} == OURS
    assert all(url.startswith(wheel_folder.as_uri()) for _, url in only_ours(found).values())
    assert "torch" in found


def test_the_checkout_installs_ours(resolve: Resolve) -> None:
    found = only_ours(resolve(ROOT / "packages" / "textgen"))
    assert set(found) == set(OURS)
    assert all(url.startswith(ROOT.as_uri()) for _, url in found.values())


def test_an_extra_brings_what_it_names(resolve: Resolve, wheel_folder: Path) -> None:
    wheels = ["--find-links", str(wheel_folder), "textgen[tune]==0.1.0+hvd1"]
    for found in (resolve(f"{ROOT / 'packages' / 'textgen'}[tune]"), resolve(*wheels)):
        assert set(only_ours(found)) == set(OURS)
        assert "optuna" in found


@pytest.mark.parametrize("name", sorted(OURS))
def test_control_a_range_takes_the_impostor(
    resolve: Resolve, wheel_folder: Path, public_index: str, name: str
) -> None:
    found = resolve("--find-links", wheel_folder, f"{name}>=0.1")
    assert found[name][0] == "99.0"
    assert found[name][1].startswith(public_index)


def test_the_wheels_keep_third_party_ranges(wheel_folder: Path) -> None:
    wheels = {path.name.partition("-")[0]: path for path in wheel_folder.glob("*.whl")}
    textgen = read_requirements(wheels["textgen"])
    assert "hvdcore==0.1.0+hvd1" in textgen
    assert "torch>=2.4" in [requirement.replace(" ", "") for requirement in textgen]
    assert "horovod==0.28.1+hvd1" in read_requirements(wheels["hvdcore"])
    for wheel in wheels.values():
        check_wheel(wheel, ROOT)


def test_an_unknown_package_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: no package nothing; there are ")
