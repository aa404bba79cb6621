"""The directive `generated`: Markdown that a function of this folder makes from the source.

    ```{generated} command_line textgen
    ```

calls `pages.command_line.page("textgen")` and shows the Markdown that it returns.
"""

from __future__ import annotations

import importlib
from typing import Any

from docutils import nodes
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util.docutils import SphinxDirective


class Generated(SphinxDirective):
    """Markdown of `pages.NAME.page(*ARGUMENTS)`, sections included."""

    required_arguments = 1
    optional_arguments = 5

    def run(self) -> list[nodes.Node]:
        """The parsed nodes."""
        name, *arguments = self.arguments
        text = importlib.import_module(f"pages.{name}").page(*arguments)
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Docstring(GoogleDocstring):
    """A docstring of an attribute or property is text, where Napoleon reads `type: text`."""

    def _parse(self) -> None:
        if self._what in ("attribute", "data", "property"):
            self._what = "function"
        super()._parse()


def read_docstring(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Google's sections to reStructuredText, in place of Napoleon's own reader."""
    docstring = Docstring(lines[:], app.config, app, what, name, obj, options)
    lines[:] = docstring.lines()


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("generated", Generated)
    for listener in app.events.listeners.get("autodoc-process-docstring", ())[:]:
        if listener.handler.__module__ == "sphinx.ext.napoleon":
            app.disconnect(listener.id)
    app.connect("autodoc-process-docstring", read_docstring)
    return {"parallel_read_safe": True}
