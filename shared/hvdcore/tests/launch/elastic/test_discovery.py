"""Real scripts, right and wrong: each is answered or refused in bounded time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvdcore.errors import UserError
from hvdcore.launch.elastic.discovery import HostScript


def script(folder: Path, body: str) -> HostScript:
    path = folder / "discover"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return HostScript(path, seconds=2.0)


def test_hosts_a_line(tmp_path: Path) -> None:
    assert script(tmp_path, "echo a:2; echo; echo b").ask().slots == {"a": 2, "b": 1}
    assert script(tmp_path, "true").ask().slots == {}


def test_slots_of_hosts_without_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = script(tmp_path, "echo a; echo b:1")
    for value, slots in (("3", 3), ("cores", 1), ("", 1)):
        monkeypatch.setenv("OMPI_MCA_orte_set_default_slots", value)
        assert found.ask().slots == {"a": slots, "b": 1}


def test_a_script_behind_a_link_that_moves_is_asked_where_the_link_points(tmp_path: Path) -> None:
    for version in ("first", "second"):
        (tmp_path / version).mkdir()
        script(tmp_path / version, f"echo {version}")
    link = tmp_path / "discover"
    link.symlink_to("data/discover")
    (tmp_path / "data").symlink_to("first")
    found = HostScript(link)
    assert found.ask().slots == {"first": 1}
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").rename(tmp_path / "data")
    (tmp_path / "first" / "discover").unlink()
    assert found.ask().slots == {"second": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo no cluster >&2; exit 3", "failed with exit code 3 (no cluster)"),
        ("exit 3", "failed with exit code 3 (and says nothing)"),
        (
            "echo '<html>busy</html>'",
            "printed '<html>busy</html>', not one host per line (name:slots)",
        ),
        ("echo a:2; sleep 1000 & sleep 1000", "gave no answer within 2 s"),
    ],
)
def test_a_script_that_is_wrong(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        script(tmp_path, body).ask()
    assert str(caught.value) == f"--host-discovery-script: {tmp_path / 'discover'} {message}"


def test_what_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a:2\n", "utf-8")
    for name in ("none", "text"):
        with pytest.raises(UserError, match="not a program; give one, and chmod"):
            HostScript(tmp_path / name)
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "text").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(UserError, match="cannot be started"):
        HostScript(tmp_path / "text").ask()
