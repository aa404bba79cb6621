"""A command line as one word that no shell reads: how it travels to the ranks of all hosts.

horovodrun and mpirun hand the command through shells, local and remote. The command travels as
one word of letters, digits, '-' and '_', in which no shell finds anything to do.
"""

from __future__ import annotations

import base64
import json

from hvdcore.errors import UserError

__all__ = ["decode_command", "encode_command"]

# Linux takes no single argument above 128 KiB, and horovodrun makes one of everything.
_MAX_CHARACTERS = 96 * 1024


def encode_command(command: list[str]) -> str:
    """One shell-proof word for a list of arguments, bytes that are no UTF-8 included.

    Raises:
        UserError: the command is too long for a command line.
    """
    word = base64.urlsafe_b64encode(json.dumps(command).encode("ascii")).decode("ascii")
    if len(word) > _MAX_CHARACTERS:
        raise UserError("command: too long for a command line; put the values in a --config file")
    return word.rstrip("=")


def decode_command(word: str) -> list[str]:
    """The arguments that `encode_command` was given."""
    raw = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
    command: list[str] = json.loads(raw)
    return command
