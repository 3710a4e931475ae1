"""Sphinx: ``sphinx-build -W docs docs/_build`` writes the site, notebooks executed.

The reference (api/) and the notebooks (notebooks/) are written here from the code and from the
folder of that name beside docs; git ignores both.
"""

import re
import shutil
import sys
from pathlib import Path

from sphinx.util.nodes import make_refnode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import api_pages  # noqa: E402
import signatures  # noqa: E402

import sbo_jax  # noqa: E402

project = "sbo_jax"
author = copyright = "The sbo_jax authors"
release = sbo_jax.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"sbo_jax {release}"
default_role = "py:obj"  # `Residual` in a docstring is a link

autodoc_default_options = {"members": True, "special-members": "__call__"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_preprocess_types = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # a notebook runs again when its cells have changed
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True


def _copy_notebooks() -> None:
    target = HERE / "notebooks"
    target.mkdir(exist_ok=True)
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        copy = target / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)


def _link_to_copies(app, docname, source):
    """Pages link to the notebooks where a repository has them, beside docs."""
    source[0] = source[0].replace("](../notebooks/", "](notebooks/")


def _link_across_rooms(app, env, node, contnode):
    """Resolve `Residual` in the docstring of any room, where one room alone has that name."""
    name = node["reftarget"].removeprefix("sbo_jax.")
    owners = [room for room, names in api_pages.described().items() if name in names]
    if node.get("refdomain") != "py" or len(owners) != 1:
        return None
    (room,) = owners
    return make_refnode(app.builder, node["refdoc"], f"api/{room}", f"{room}.{name}", contnode)


def _choose_member(app, what, name, value, skip, options):
    """Show ``__call__`` even without a docstring; hide activations that a field holds."""
    module = getattr(value, "__module__", None) or "sbo_jax"
    if type(value).__name__ == "_tuplegetter" or not module.startswith("sbo_jax"):
        return True
    return False if name == "__call__" else None


def _tidy_signature(app, what, name, value, options, signature, returns):
    """Of a class, that of ``__init__``, with its defaults as the source has them."""
    if what == "class" and not issubclass(value, Exception):
        signature = signatures.of_class(value)
    return signature and _tidy(signature), returns and _tidy(returns)


def _tidy(text):
    """The name that JAX documents for its arrays."""
    return re.sub(r"~?(jax\.)?jaxlib\._jax\.Array", "Array", text)


def setup(app):
    """Write what the site reads from elsewhere, before Sphinx looks for pages."""
    api_pages.write(HERE / "api")
    _copy_notebooks()
    app.connect("source-read", _link_to_copies)
    app.connect("missing-reference", _link_across_rooms)
    app.connect("autodoc-skip-member", _choose_member)
    app.connect("autodoc-process-signature", _tidy_signature)
