"""The one error that a user of the build can meet."""

from __future__ import annotations


class BuildError(Exception):
    """The wheel cannot be built; the message is one line that names the cause and the fix."""
