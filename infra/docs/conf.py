"""Sphinx's settings for the site: `nox -s docs` builds it, without a network."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
warnings.filterwarnings("ignore", category=DeprecationWarning)

project = "Horovod for today's frameworks"
author = "The contributors"
release = "0.1.0"
html_title = "hvdcore"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "pages.generated",
]
exclude_patterns = ["README.md", "examples/README.md", "_build", "jupyter_execute"]
nitpicky = True
# What Sphinx cannot look up without a network: the types of other projects, and type variables.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|pathlib|typing|types|np|numpy|torch|tf|tensorflow|keras|typer|optuna"
               r"|abc|logging|npt|pydantic|pydantic_core|annotated_types|subprocess|datetime|argparse|transformers|tokenizers"
               r"|threading|jax|ray|re)(\..*)?"),
    (r"py:.*", r"(Path|Any|Callable|Iterator|Iterable|Mapping|MutableMapping|Sequence|Literal|Self"
               r"|TypeVar|ParamSpec|Generator|Collection|Popen|NDArray|Tensor|Module|ndarray"
               r"|Console|optional|array|callable|function|ValueError|RuntimeError)"),
    (r"py:.*", r".*\b(T|P|R|S|Model|Output|Indices|Summed|Doc|BaseModel|pattern)"),
    (r"py:.*", r"(dict|list|tuple)\[\w+|\d\.\d"),  # pieces of an annotation that Sphinx cuts up
    (r"py:class", r"URL"),  # a metavar in an annotation
    # Types that a signature names and that a user never makes.
    (r"py:.*", r"hvdcore\.(run\.report\.(Table|Section)|launch\.(job\.job\.JobSettings"
               r"|elastic\.membership\.Membership)|classifier\.(prepared\.Tally"
               r"|keras\.pretraining\.PretrainingCheckpoints))"),
    (r"py:.*", r"(news_cls|image_cls)\.data\.(dataset|sources?|labels|staging|row_report)\..*"),
    (r"py:.*", r"textgen\.(model\.(config\.LoraFields|causal_lm\.CausalLM)"
               r"|generation\.decode_weights\.DecodeWeights)"),
]  # fmt: skip

# Notebooks show the outputs that they were saved with; a test runs them.
nb_execution_mode = "off"
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block", "attrs_inline", "fieldlist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

templates_path: list[str] = []
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
smartquotes = False  # `--option` stays as it is typed
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5cad", "color-brand-content": "#0b5cad"},
    "dark_css_variables": {"color-brand-primary": "#6cb6ff", "color-brand-content": "#6cb6ff"},
}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
