from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvdcore.errors import UserError
from hvdcore.launch.hosts.remote_shell import decode_command, encode_command

# What Linux takes as an argument: any bytes but NUL, which Python shows with lone surrogates.
arguments = st.lists(st.binary(max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b""))))


@given(arguments)
def test_every_argument_arrives_and_no_shell_finds_anything_to_do(command: list[str]) -> None:
    word = encode_command(command)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", word)
    assert [os.fsencode(a) for a in decode_command(word)] == [os.fsencode(a) for a in command]


def test_a_command_that_fits_no_command_line() -> None:
    with pytest.raises(UserError, match="too long for a command line"):
        encode_command(["x" * 200_000])
