"""How Sphinx builds the site: the Markdown pages as they stand, and the reference from the docstrings."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import reference_pages  # noqa: E402 - beside this file

import ebl_autonomy  # noqa: E402

project = "ebl_autonomy"
release = version = ebl_autonomy.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build"]
default_role = "py:obj"  # `name` in a docstring: a link if there is such an object, code if not

# The only warning of this kind is that a word in a type, such as "name", is the name of several attributes.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "ebl_autonomy"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

nb_execution_mode = "off"  # the outputs that the notebook stores; the tests run it

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

numpydoc_show_class_members = False  # autodoc shows them, each under its own name
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"exclude-members": "model_config"}  # of pydantic
autodoc_type_aliases = {"FloatArray": "FloatArray"}
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

README_LINKS = {
    "(docs/": "(",
    "(decisions)": "(decisions/index.md)",
    "(examples)": "(examples.md)",
    "(CHANGELOG.md)": "(changelog.md)",
}
"""Where the links of README.md lead from a page in docs/."""


def include_readme(app: Any, docname: str, source: list[str]) -> None:
    """The front page is README.md, followed by the contents."""
    if docname == "index":
        text = (ROOT / "README.md").read_text()
        for ours, here in README_LINKS.items():
            text = text.replace(ours, here)
        source[0] = source[0].replace("<!-- README.md -->", text)
    elif docname == "install":
        source[0] = source[0].replace("(../CHANGELOG.md)", "(changelog.md)")


def plain_aliases(
    app: Any, what: str, name: str, obj: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Type aliases by their names, as the code has them: autodoc resolves some, and shows placeholders for others."""

    def plain(text: str | None) -> str | None:
        if text is None:
            return None
        text = text.replace("ndarray[tuple[Any, ...], dtype[float64]]", "FloatArray")
        return re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text)

    return plain(signature), plain(returns)


def setup(app: Any) -> None:
    reference_pages.write(HERE / "reference")
    app.connect("source-read", include_readme)
    app.connect("autodoc-process-signature", plain_aliases)
