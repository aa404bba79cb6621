"""Options by groups: a command gets what its groups name, in their order, once."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from hvdcore.options import takes

Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all.")]
Name = Annotated[str | None, typer.Option("--name", help="Whose.")]
Place = Annotated[str, typer.Argument(metavar="PLACE")]
GROUP = {"name": Name, "seed": (Seed, 3)}

app = typer.Typer(add_completion=False)


@app.command()
@takes(GROUP)
def show(place: Place, **flags: Any) -> None:
    """Show what was given."""
    print(place, flags)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    return result.exit_code, result.output


def test_what_is_not_given_has_its_default() -> None:
    assert run("here") == (0, "here {'name': None, 'seed': 3}\n")


def test_what_is_given_is_read_as_its_type() -> None:
    assert run("here", "--seed", "7", "--name", "a b") == (0, "here {'name': 'a b', 'seed': 7}\n")


def test_bounds_of_an_option_hold() -> None:
    code, output = run("here", "--seed", "-1")
    assert code == 2
    assert "--seed" in output


def test_help_lists_them_in_their_order() -> None:
    code, output = run("--help")
    assert code == 0
    assert output.index("PLACE") < output.index("--name") < output.index("--seed")
    assert "[default: 3]" in output


def test_the_signature_names_them() -> None:
    assert list(inspect.signature(show).parameters) == ["place", "name", "seed"]


@pytest.mark.parametrize("groups", [(GROUP, {"seed": Seed}), ({"place": Name},)])
def test_an_option_given_twice_is_the_developers_mistake(groups: Any) -> None:
    def command(place: Place, **flags: Any) -> None: ...

    with pytest.raises(ValueError, match=r"command: options given twice: (seed|place)"):
        takes(*groups)(command)
